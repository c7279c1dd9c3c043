"""Contract 2's paths. A slash behind one is no redirect, which would lose the body."""

from django.urls import path, re_path

from privategpt.api import base, chats, groups, scenarios, sessions, sources, tokens, users

ROUTES: dict[str, type[base.ApiView]] = {
    "login": sessions.Login,
    "logout": sessions.Logout,
    "chats": chats.Chats,
    "chats/flush": chats.FlushChats,
    "chats/<str:chat>": chats.OneChat,
    "sources": sources.SourcesOrList,
    "sources/groups": sources.SourcesOfGroup,
    "sources/group": sources.SourcesOfGroup,
    "sources/<str:source>": sources.OneSource,
    "groups": groups.Groups,
    "users": users.Users,
    "users/reactivate": users.Reactivate,
    "scenarios": scenarios.Scenarios,
    "scenarios/<str:scenario>": scenarios.OneScenario,
    "tokens": tokens.Tokens,
    "tokens/<str:token>": tokens.OneToken,
}


urlpatterns = [
    *(path(f"{route}{end}", view.as_view()) for route, view in ROUTES.items() for end in ("", "/")),
    path("api/v1/<path:rest>", base.DoublePrefix.as_view()),
    re_path("", base.NotFound.as_view()),
]
