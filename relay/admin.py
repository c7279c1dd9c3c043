"""The admin site's pages for agents, live, and for conversations. No question or answer is shown anywhere."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Case, IntegerField, OuterRef, QuerySet, Subquery, Value, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_audit import AuditedAdmin
from relay import exchange
from relay.models import Agent, Conversation
from relay.watch import POLICY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.dispatch import Dispatcher
    from relay.pool import Agent as Connected

DONE = {
    "rest": _("Within a second: rest %(n)d."),
    "wake": _("Within a second: wake %(n)d."),
    "disconnect": _("Within a second: disconnect %(n)d."),
}
SEEN_LATELY = timedelta(seconds=15)  # three of the clock's rounds that note down who is there


def connected() -> dict[str, Connected]:
    """The agents that this process holds; another thread's, to be read only."""
    relay = exchange.peek()
    agents = list(relay.dispatcher.pool.agents.items()) if relay else []
    return {agent_id: agent for agent_id, agent in agents if not agent.node}


@admin.register(Agent)
class AgentAdmin(AuditedAdmin[Agent]):
    """Figures come from memory where this process holds the agent, else from the row.

    Wishes go into the row; the relay's clock reads them every second, in whichever process.
    """

    list_display = (
        "shown_name",
        "shown_model",
        "address",
        "is_connected",
        "in_flight",
        "shown_served",
        "shown_failed",
        "shown_seen",
        "rest_state",
        "token",
    )
    list_select_related = ("token",)
    list_filter = ("is_resting",)
    search_fields = ("id", "name", "model", "address", "token__name")
    fields = ("id", *list_display, "connected_at", "is_resting")
    actions = ("rest", "wake", "disconnect")
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Agents dial in."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> list[str]:
        return [name for name in self.fields if name != "is_resting"]

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-is_here", "-seen_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        here = When(pk__in=list(connected()), then=Value(1))
        return Agent.objects.annotate(is_here=Case(here, default=Value(0), output_field=IntegerField()))

    def delete_some(self, request: HttpRequest, some: list[Any]) -> None:
        """Without its row nobody could send an agent away, so it goes along."""
        ids = [agent.pk for agent in some]
        transaction.on_commit(lambda: hang_up(ids))
        super().delete_some(request, some)

    # -- columns --------------------------------------------------------------------------------

    @admin.display(description=_("name"), ordering="name")
    def shown_name(self, row: Agent) -> str:
        live = connected().get(row.pk)
        return (live.said.name if live else row.name) or row.pk

    @admin.display(description=_("model"), ordering="model")
    def shown_model(self, row: Agent) -> str:
        live = connected().get(row.pk)
        return live.said.model if live else row.model

    @admin.display(description=_("connected"), boolean=True, ordering="is_here")
    def is_connected(self, row: Agent) -> bool | None:
        """Unknown: seen a moment ago, but not held here; it has just left, or another process holds it."""
        if row.pk in connected():
            return True
        return None if timezone.now() - row.seen_at < SEEN_LATELY else False

    @admin.display(description=_("in flight"))
    def in_flight(self, row: Agent) -> str:
        live = connected().get(row.pk)
        return gettext("%(n)d of %(most)d") % {"n": live.load, "most": live.said.concurrency} if live else "-"

    @admin.display(description=_("served"), ordering="served")
    def shown_served(self, row: Agent) -> int:
        """The row has the sum, seconds behind; memory has what came since this connect, at once."""
        live = connected().get(row.pk)
        return max(row.served, live.served) if live else row.served

    @admin.display(description=_("failed"), ordering="failed")
    def shown_failed(self, row: Agent) -> int:
        live = connected().get(row.pk)
        return max(row.failed, live.failed) if live else row.failed

    @admin.display(description=_("last seen"), ordering="seen_at")
    def shown_seen(self, row: Agent) -> datetime:
        live = connected().get(row.pk)
        return timezone.now() - timedelta(seconds=time.monotonic() - live.heard) if live else row.seen_at

    @admin.display(description=_("rests"), ordering="is_resting")
    def rest_state(self, row: Agent) -> str:
        if row.is_resting:
            return gettext("by an administrator")
        live = connected().get(row.pk)
        return gettext("after failures") if live and live.rests_until > time.monotonic() else ""

    # -- actions --------------------------------------------------------------------------------

    @admin.action(permissions=["change"], description=_("Rest: no new asks"))
    def rest(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self._wish(request, queryset, "rest", is_resting=True)

    @admin.action(permissions=["change"], description=_("Wake: asks again"))
    def wake(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self._wish(request, queryset, "wake", is_resting=False)

    @admin.action(permissions=["change"], description=_("Disconnect: it may dial in again"))
    def disconnect(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self._wish(request, queryset, "disconnect", must_hang_up=True)

    def _wish(self, request: HttpRequest, queryset: QuerySet[Agent], verb: str, **wish: bool) -> None:
        agents = list(queryset)
        Agent.objects.filter(pk__in=[agent.pk for agent in agents]).update(**wish)
        for agent in agents:
            self.record(request, verb, agent)
        self.message_user(request, DONE[verb] % {"n": len(agents)})


@admin.register(Conversation)
class ConversationAdmin(AuditedAdmin[Conversation]):
    """Whose, with which agent, how old. To be read, or deleted: its owner can then not go on with it."""

    list_display = ("shown_owner", "shown_agent", "age", "unused_for")
    list_select_related = ("owner",)
    search_fields = ("owner__email", "owner__name", "agent_id")
    fields = ("conversation_id", "shown_owner", "shown_agent", "created_at", "used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Conversation | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        names = Agent.objects.filter(pk=OuterRef("agent_id")).values("name")
        return super().get_queryset(request).annotate(agent_name=Subquery(names[:1]))

    @admin.display(description=_("owner"), ordering="owner__email")
    def shown_owner(self, row: Conversation) -> str:
        return str(row.owner or gettext("the admin key"))

    @admin.display(description=_("agent"), ordering="agent_id")
    def shown_agent(self, row: Conversation) -> str:
        return getattr(row, "agent_name", "") or row.agent_id

    @admin.display(description=_("age"), ordering="-created_at")
    def age(self, row: Conversation) -> str:
        return timesince(row.created_at)

    @admin.display(description=_("unused for"), ordering="-used_at")
    def unused_for(self, row: Conversation) -> str:
        return timesince(row.used_at)

    def delete_some(self, request: HttpRequest, some: list[Any]) -> None:
        """Memory must not forget before the rows are gone: it would learn them anew."""
        owners = {str(row.owner_id or "") for row in some}
        transaction.on_commit(lambda: forget(owners))
        super().delete_some(request, some)


# -- the relay's memory belongs to its loop, so what changes it is done there -----------------------


def forget(owners: Iterable[str]) -> None:
    """Has the relay drop these owners' conversations from memory, in this process and in the others."""
    if relay := exchange.peek():
        for owner in owners:
            relay.loop.call_soon_threadsafe(relay.forget, owner)


def hang_up(agent_ids: Iterable[str]) -> None:
    """Has the relay of this process close these agents' sockets."""
    if relay := exchange.peek():
        relay.loop.call_soon_threadsafe(_hang_up, relay.dispatcher, list(agent_ids))


def _hang_up(dispatcher: Dispatcher, agent_ids: list[str]) -> None:
    for agent_id in agent_ids:
        if agent := dispatcher.pool.agents.get(agent_id):
            dispatcher.left(agent)
            agent.hang_up(POLICY)
