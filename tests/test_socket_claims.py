"""Who may have a connection id that is known already, and what becomes of its conversations."""

from __future__ import annotations

import asyncio

from tests.patience import PATIENCE
from tests.socket_agent import FakeAgent, echo, silent
from tests.socket_server import Door


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def open_conversation(door: Door, token: str) -> str:
    """An agent's answer opens it."""
    return str((await door.ask("first", token)).json()["conversation_id"])


async def test_the_same_token_takes_its_id_over_at_once(door: Door) -> None:
    """Attack 50 and fault 11: the old socket is closed, what it was asked goes on, conversations too."""
    alice, headers = await door.user(), bearer(door.web.agent_keys[0])
    async with door.agent(echo, kept="mine", headers=headers) as old:
        conversation = await open_conversation(door, alice)
        old.behaviour = silent
        lost = door.asking("second", alice, conversation_id=conversation)
        await old.was_asked(2)
        async with door.agent(echo, kept="mine", headers=headers, listed=False) as new:
            assert await old.closed() == 4001
            assert (await lost).json()["content"] == "echo: second"
            reply = await door.ask("third", alice, conversation_id=conversation)
            assert reply.json()["conversation_id"] == conversation
            assert [asked.content for asked in new.asked] == ["second", "third"]
            assert await door.listed() == ["mine"]


async def test_another_token_cannot_have_it_neither_now_nor_later(hasty: Door) -> None:
    """Attack 50: whether the holder is here or not; the thief gets the id of its hello."""
    door = hasty
    alice, (mine, other, _) = await door.user(), door.web.agent_keys
    async with door.agent(echo, kept="not yours", headers=bearer(mine)) as holder:
        conversation = await open_conversation(door, alice)
        async with claimant(door, other) as thief:
            assert thief.id != "not yours"
            assert holder.socket.close_code is None
    await door.until_unlisted("not yours")
    async with claimant(door, other) as thief:
        reply = await door.ask("second", alice, conversation_id=conversation)
        assert (reply.status_code, reply.json()) == (500, {"error": "Connection no longer exists"})
        assert thief.asked == []
    async with claimant(door, None) as thief:
        assert thief.id != "not yours"


async def test_an_id_is_its_tokens_from_the_first_moment(door: Door) -> None:
    """Attack 50: also before the database has heard of it."""
    mine, other, _ = door.web.agent_keys
    for number in range(5):
        await nobody_gets(door, f"brief {number}", mine, other)


async def nobody_gets(door: Door, brief: str, mine: str, other: str) -> None:
    """Once it was listed the id is its holder's, however soon it goes. A claim that ends unheard is nobody's."""
    before = set(await door.listed())
    agent = await FakeAgent.dial(door.url(), echo, kept=brief, headers=bearer(mine))
    await door.until_listed(brief)
    await agent.end()
    thief = await FakeAgent.dial(door.url(), echo, kept=brief, headers=bearer(other))
    await door.until_list(lambda found: bool(set(found) - before) and brief not in found)
    await thief.end()
    await door.until_list(lambda found: set(found) <= before)


class claimant:  # noqa: N801 - used as a context manager only
    """An agent that claims an id and is listed under whichever it gets."""

    def __init__(self, door: Door, key: str | None, claimed: str = "not yours") -> None:
        self.door = door
        self.key = key
        self.claimed = claimed

    async def __aenter__(self) -> FakeAgent:
        before = set(await self.door.listed())
        headers = bearer(self.key) if self.key else None
        self.agent = await FakeAgent.dial(self.door.url(), echo, kept=self.claimed, headers=headers)
        await self.door.until_list(lambda found: set(found) - before)
        self.agent.id = (set(await self.door.listed()) - before).pop()
        return self.agent

    async def __aexit__(self, *fault: object) -> None:
        await self.agent.end()
        await self.door.until_unlisted(self.agent.id)


async def test_from_this_machine_a_holder_that_lives_keeps_its_id(hasty: Door) -> None:
    """Attack 50: also against several claimants at once, of whom each hears the holder's sign of life."""
    alice = await hasty.user()
    async with hasty.agent(echo, kept="cookie") as holder:
        conversation = await open_conversation(hasty, alice)
        thieves = await asyncio.gather(*(FakeAgent.dial(hasty.url(), echo, kept="cookie") for _ in range(4)))
        await hasty.until_list(lambda found: len(found) == 5)
        await hasty.ask("second", alice, conversation_id=conversation)
        assert [asked.content for asked in holder.asked] == ["first", "second"]
        assert holder.socket.close_code is None
        assert all(thief.asked == [] for thief in thieves)
        for thief in thieves:
            await thief.end()


async def test_from_this_machine_a_holder_that_answers_no_ping_loses_its_id(door: Door) -> None:
    """Fault 11: a laptop that slept comes back before its old socket is given up."""
    alice = await door.user()
    async with door.agent(echo, kept="laptop", pongs=False) as gone:
        conversation = await open_conversation(door, alice)
        async with door.agent(echo, kept="laptop", listed=False) as back:
            assert await gone.closed() == 4001
            reply = await door.ask("second", alice, conversation_id=conversation)
            assert reply.status_code == 200
            assert [asked.content for asked in back.asked] == ["second"]


async def test_an_id_of_a_token_is_not_for_loopback_and_the_other_way_round(door: Door) -> None:
    key = door.web.agent_keys[0]
    async with door.agent(echo, kept="no token's"):
        pass
    await door.until_unlisted("no token's")
    async with claimant(door, key, "no token's") as other:
        assert other.id != "no token's"


async def test_an_agent_at_rest_comes_back_at_rest(door: Door) -> None:
    """What an administrator wished is not undone by a reconnect, not for a moment."""
    async with door.agent(echo, kept="tired"):
        pass
    until_there = "SELECT count(*) FROM relay_agent WHERE id = 'tired'"
    async with asyncio.timeout(PATIENCE):
        while door.web.sql(until_there) != [(1,)]:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    door.web.sql("UPDATE relay_agent SET is_resting = TRUE WHERE id = 'tired'")
    try:
        async with door.agent(echo, kept="tired") as tired, door.agent(echo) as fresh:
            for number in range(4):
                assert (await door.ask(str(number))).status_code == 200
            assert (len(tired.asked), len(fresh.asked)) == (0, 4)
    finally:
        door.web.sql("DELETE FROM relay_agent WHERE id = 'tired'")
