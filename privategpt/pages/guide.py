"""The first steps of a new installation, for who runs it. Each step is done when the database says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from accounts.models import User
from privategpt.llm.relay_status import was_agent_here
from privategpt.models import Message, Source
from privategpt.pages.agents import own_address
from privategpt.pages.shell import keep_choice

if TYPE_CHECKING:
    from privategpt.pages.shell import UserRequest

COOKIE = "guide"


@dataclass(frozen=True, slots=True)
class Guide:
    """Which steps are done, and what the commands in them say."""

    has_asked: bool
    has_sources: bool
    has_writer: bool
    has_people: bool
    address: str
    may_invite: bool

    @property
    def is_over(self) -> bool:
        return self.has_asked and self.has_sources and self.has_writer and self.has_people


def guide_for(request: HttpRequest, user: User) -> Guide | None:
    """None for who does not run the system, who hid it, and when nothing is left to do."""
    if not user.has_role("system") or request.COOKIES.get(COOKIE) == "off":
        return None
    guide = Guide(
        has_asked=Message.objects.exists(),
        has_sources=Source.objects.kept().exclude(creator=None).exists(),  # the manual has no creator
        has_writer="openai" in settings.LLM_BACKENDS or was_agent_here(),
        has_people=User.objects.filter(is_active=True).exclude(email=None).exclude(pk=user.pk).exists(),
        address=own_address(request),
        may_invite=user.is_staff and user.has_perm("accounts.add_user"),
    )
    return None if guide.is_over else guide


@require_POST
@login_required
def hide(request: UserRequest) -> HttpResponse:
    """In this browser; what is to be done stays in the manual."""
    response = redirect("home")
    keep_choice(request, response, COOKIE, "off")
    return response
