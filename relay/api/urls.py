"""Contract 1's paths. They come before Django's admin, which lives under /admin/ too."""

from django.urls import path

from relay.api import views

ROUTES = {
    "client/register": views.Register,
    "api/ask": views.Ask,
    "api/connections": views.Connections,
    "admin/users": views.Users,
    "admin/users/add": views.AddUser,
    "admin/users/delete": views.DeleteUser,
    "health": views.Health,
    "ready": views.Ready,
}

urlpatterns = [
    *(path(route, view.as_view(), name=f"relay {route}") for route, view in ROUTES.items()),
    *(path(f"{route}/", views.without_slash) for route in ROUTES),
]
