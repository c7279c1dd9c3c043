"""Who answers and how busy they are, for everybody who is signed in; and how to connect more."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from privategpt.llm.relay_status import AgentStatus, status
from privategpt.pages.shell import UserRequest

MOST_JACKS = 8  # an agent with more lines shows its numbers alone
# What a state is called where no line is to be given, and its jack.
STATES = {
    "silent": (_("Silent"), "off"),
    "cooling": (_("Cooling down"), "bad"),
    "resting": (_("At rest"), "off"),
}


@require_safe
@login_required
def agents(request: UserRequest) -> HttpResponse:
    """Anew every few seconds by htmx, which takes the lines out of the same page."""
    found = status()
    shown = {
        "here": "agents",
        "rows": [_row(agent) for agent in found.agents],
        "waiting": found.waiting,
        "busy": sum(agent.busy for agent in found.agents),
        "lines": sum(agent.lines for agent in found.agents),
        "endpoints": _endpoints(request),
        "address": own_address(request),
        "may_connect": request.user.has_role("system"),
    }
    return render(request, "agents.html", shown)


def own_address(request: HttpRequest) -> str:
    """Where agents dial in, as this reader reaches the server."""
    return f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"


def _row(agent: AgentStatus) -> dict[str, Any]:
    words, jack = STATES.get(agent.state, ("", "on" if agent.busy >= agent.lines else "busy" if agent.busy else ""))
    lines = range(agent.lines) if agent.lines <= MOST_JACKS else ()
    return {"agent": agent, "words": words, "jack": jack, "taken": [number < agent.busy for number in lines]}


def _endpoints(request: UserRequest) -> list[dict[str, str]]:
    """Their hosts are for who runs the system; an address inside a network is nobody else's business."""
    given = settings.LLM_BACKENDS.get("openai", {}).get("CONFIG", {})
    urls = given.get("urls", [])
    may_see = request.user.has_role("system")
    return [
        {
            "name": urlsplit(url).netloc.rpartition("@")[2] if may_see else str(_("Endpoint %(n)d")) % {"n": number},
            "model": given.get("model", ""),
        }
        for number, url in enumerate(urls, 1)
    ]
