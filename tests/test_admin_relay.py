"""Agents, live, and conversations in the admin site. No question or answer anywhere."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import Token, User
from relay import exchange, frames
from relay.admin import connected
from relay.models import Agent, Conversation
from relay.pool import Agent as Connected
from tests.admin_site import act, administrator, page, signed_in, staff


@dataclass
class Live:
    """A relay with agents of which nobody is behind the socket; its loop runs only when told to."""

    loop: asyncio.AbstractEventLoop
    closed: list[tuple[str, int]] = field(default_factory=list)

    def join(self, agent_id: str, name: str = "", concurrency: int = 1, **figures: Any) -> Connected:
        async def send(_: str) -> None: ...

        agent = Connected(
            agent_id,
            send,
            lambda _: None,
            lambda code: self.closed.append((agent_id, code)),
            frames.Declaration(name=name, model="small", concurrency=concurrency),
            order=len(connected()) + 1,
        )
        self.relay.dispatcher.pool.join(agent)
        for figure, value in figures.items():
            setattr(agent, figure, value)
        return agent

    @property
    def relay(self) -> exchange.Exchange:
        found = exchange.peek()
        assert found
        return found

    def run(self, thing: Any = None) -> Any:
        """Lets the loop do what was put to it."""
        return self.loop.run_until_complete(thing or asyncio.sleep(0))


@pytest.fixture
def live() -> Iterator[Live]:
    async def begin() -> None:
        exchange.current()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    yield Live(loop)
    loop.run_until_complete(exchange.close())
    loop.close()


@pytest.fixture
def client(db: None) -> Client:
    return signed_in(administrator())


def row(agent_id: str, seen: timedelta = timedelta(days=1), **fields: Any) -> Agent:
    return Agent.objects.create(pk=agent_id, seen_at=timezone.now() - seen, **fields)


def columns(client: Client, agent: Agent) -> dict[str, Any]:
    """What the list shows for one agent."""
    listed = client.get(page(Agent, "changelist")).context["cl"]
    found = next(each for each in listed.queryset if each.pk == agent.pk)
    site = listed.model_admin
    return {
        name: getattr(site, name)(found) if hasattr(site, name) else getattr(found, name)
        for name in listed.list_display
        if name != "action_checkbox"
    }


# -- agents -------------------------------------------------------------------------------------


def test_an_agent_that_is_held_here_is_shown_as_it_is_now(client: Client, live: Live) -> None:
    agent = row("a1", name="old name", served=3, failed=1, address="192.0.2.9")
    live.join("a1", "Otto", 4, load=2, served=7, heard=time.monotonic() - 60)
    shown = columns(client, agent)
    assert (shown["shown_name"], shown["shown_model"], shown["address"]) == ("Otto", "small", "192.0.2.9")
    assert (shown["in_flight"], shown["shown_served"], shown["shown_failed"]) == ("2 of 4", 7, 1)
    assert shown["is_connected"] is True
    assert 59 < (timezone.now() - shown["shown_seen"]).total_seconds() < 65


def test_the_sum_of_earlier_connects_is_kept(client: Client, live: Live) -> None:
    agent = row("a1", served=1000)
    live.join("a1", served=2)
    assert columns(client, agent)["shown_served"] == 1000


@pytest.mark.parametrize(("seen", "expected"), [(timedelta(seconds=3), None), (timedelta(minutes=5), False)])
def test_an_agent_that_is_not_here_is_shown_from_its_row(
    client: Client, live: Live, seen: timedelta, expected: bool | None
) -> None:
    shown = columns(client, row("a1", seen, name="Otto", model="large", served=5))
    assert (shown["shown_name"], shown["shown_model"], shown["shown_served"]) == ("Otto", "large", 5)
    assert shown["in_flight"] == "-"
    assert shown["is_connected"] is expected


def test_the_page_works_where_no_relay_runs(client: Client) -> None:
    assert columns(client, row("a1", name="Otto"))["shown_name"] == "Otto"


def test_connected_agents_come_first(client: Client, live: Live) -> None:
    row("gone lately", timedelta(0))
    row("gone", timedelta(days=9))
    row("here", timedelta(days=2))
    live.join("here")
    listed = client.get(page(Agent, "changelist")).context["cl"].result_list
    assert [agent.pk for agent in listed] == ["here", "gone lately", "gone"]


def test_rest_says_why(client: Client, live: Live) -> None:
    tired, told = row("tired"), row("told", is_resting=True)
    live.join("tired", rests_until=time.monotonic() + 10)
    assert columns(client, tired)["rest_state"] == "after failures"
    assert columns(client, told)["rest_state"] == "by an administrator"


def test_the_credential_is_shown_by_name(client: Client) -> None:
    token, _ = Token.objects.issue(Token.Kind.AGENT, name="door")
    shown = columns(client, row("a1", token=token))
    assert str(shown["token"]) == f"agent …{token.hint} door"


def test_wishes_are_left_in_the_row_for_the_relays_clock(db: None, live: Live) -> None:
    client = signed_in(staff("system"))
    agent, other = row("a1"), row("a2")
    act(client, "rest", [agent])
    act(client, "disconnect", [agent])
    agent.refresh_from_db()
    other.refresh_from_db()
    assert (agent.is_resting, agent.must_hang_up) == (True, True)
    assert (other.is_resting, other.must_hang_up) == (False, False)
    act(client, "wake", [agent])
    agent.refresh_from_db()
    assert not agent.is_resting


def test_who_may_only_read_has_no_wishes(db: None) -> None:
    client, agent = signed_in(staff("analytics")), row("a1")
    for action in ("rest", "disconnect"):
        act(client, action, [agent])
    assert client.post(page(Agent, "change", "a1"), {"is_resting": "on"}).status_code == 403
    agent.refresh_from_db()
    assert (agent.is_resting, agent.must_hang_up) == (False, False)


def test_the_form_changes_the_rest_and_nothing_else(client: Client) -> None:
    agent = row("a1", name="Otto", served=5)
    forged = {"is_resting": "on", "name": "Eve", "served": "0", "id": "a2", "token": ""}
    assert client.post(page(Agent, "change", agent.pk), forged).status_code == 302
    agent.refresh_from_db()
    assert (agent.is_resting, agent.name, agent.served) == (True, "Otto", 5)


def test_a_deleted_agent_is_sent_away(
    client: Client, live: Live, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    agent = row("a1")
    live.join("a1")
    live.join("a2")
    with django_capture_on_commit_callbacks(execute=True):
        client.post(page(Agent, "delete", agent.pk), {"post": "yes"})
    live.run()
    assert live.closed == [("a1", 1008)]
    live.closed.clear()


def test_markup_in_an_agents_name_stays_text(client: Client, live: Live) -> None:
    row("a1")
    live.join("a1", "<script>alert(1)</script>")
    assert "<script>alert(1)" not in client.get(page(Agent, "changelist")).content.decode()


# -- conversations ------------------------------------------------------------------------------


def conversation(owner: User | None, conversation_id: str = "c1", agent_id: str = "a1") -> Conversation:
    now = timezone.now()
    return Conversation.objects.create(
        conversation_id=conversation_id,
        owner=owner,
        agent_id=agent_id,
        created_at=now - timedelta(hours=5),
        used_at=now - timedelta(hours=2),
    )


def test_the_list_shows_owner_agent_and_age_and_not_what_the_agent_wrote(alice: User) -> None:
    row("a1", name="Otto")
    conversation(alice, "what the agent chose")
    conversation(None)
    shown = signed_in(staff("system")).get(page(Conversation, "changelist")).content.decode()
    for text in ("alice@example.org", "the admin key", "Otto", "5\xa0hours", "2\xa0hours"):
        assert text in shown
    assert "what the agent chose" not in shown


def test_a_conversation_can_be_read_and_not_written(client: Client, alice: User, bob: User) -> None:
    talk = conversation(alice)
    assert client.get(page(Conversation, "change", talk.pk)).status_code == 200
    assert client.post(page(Conversation, "change", talk.pk), {"owner": str(bob.pk)}).status_code == 403
    assert client.get(page(Conversation, "add")).status_code == 403
    talk.refresh_from_db()
    assert talk.owner == alice


def test_reading_conversations_is_not_deleting_them(alice: User) -> None:
    member, talk = signed_in(staff("system")), conversation(alice)
    assert member.post(page(Conversation, "delete", talk.pk), {"post": "yes"}).status_code == 403
    act(member, "delete_selected", [talk], post="yes")
    assert Conversation.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", ["page", "action"])
def test_a_deleted_conversation_is_forgotten_by_the_relay(live: Live, by: str) -> None:
    client = signed_in(administrator())
    alice = User.objects.create_user("alice@example.org")
    bob = User.objects.create_user("bob@example.org")
    talk, other = conversation(alice), conversation(bob)
    known = live.relay.dispatcher.conversations
    for each in (talk, other):
        live.run(known.agent_of(str(each.owner_id), "c1"))
    assert not known.must_bind(str(alice.pk), "c1")
    if by == "page":
        client.post(page(Conversation, "delete", talk.pk), {"post": "yes"})
    else:
        act(client, "delete_selected", [talk], post="yes")
    live.run()
    assert known.must_bind(str(alice.pk), "c1")
    assert not known.must_bind(str(bob.pk), "c1")
