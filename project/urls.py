"""One include for each surface; contract 1 first, because it owns paths under /admin/."""

from django.contrib import admin
from django.urls import include, path

handler400 = "relay.api.views.bad_request"
handler404 = "project.missing.not_found"
handler500 = "relay.api.views.server_error"

urlpatterns = [
    path("", include("relay.api.urls")),
    path("api/v1/", include("privategpt.api.urls")),
    path("admin/", admin.site.urls),
    path("", include("privategpt.urls")),
]
