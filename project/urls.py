"""One include for each surface; contract 1 first, because it owns paths under /admin/."""

from django.contrib import admin
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from privategpt.pages.signing import admin_sign_in, admin_sign_out
from project import docs
from project.metrics import Metrics

handler400 = "relay.api.views.bad_request"
handler403 = "project.missing.not_allowed"
handler404 = "project.missing.not_found"
handler500 = "project.missing.failed"

admin.autodiscover()  # before its URLs are asked for
urlpatterns = [
    path("", include("relay.api.urls")),
    path("metrics", csrf_exempt(Metrics.as_view()), name="metrics"),  # it does nothing but tell
    path("api/schema", docs.SchemaFile.as_view(), name="schema"),
    path("api/docs", docs.Docs.as_view(), name="docs"),
    path("api/v1/", include("privategpt.api.urls")),
    path("admin/login/", admin_sign_in),
    path("admin/logout/", admin_sign_out),
    path("admin/", admin.site.urls),
    path("", include("privategpt.urls")),
]
