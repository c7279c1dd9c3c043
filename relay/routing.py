"""Where agents dial in. The token in the path lets agents in that cannot set a header."""

from typing import Any

from django.urls import path

from relay.consumers import AgentConsumer

agent_socket: Any = AgentConsumer.as_asgi()  # Channels routes sockets by Django's `path`, whose type says views only

websocket_urlpatterns: list[Any] = [
    path("client/register", agent_socket),
    path("agent/<str:token>/client/register", agent_socket),
]
