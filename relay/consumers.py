"""The agent socket: lets an agent in, agrees on its id, and hands its frames to the dispatcher.

A Channels consumer that reads its socket itself: no channel layer, no dispatch by
message type, because every answer of every agent passes here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs

import msgspec
from channels.consumer import AsyncConsumer
from django.conf import settings
from django.db import DatabaseError

from relay import exchange, frames, registry
from relay.ids import fresh_id, next_request_id, request_id
from relay.loopback import is_addressed, is_loopback
from relay.pool import Agent
from relay.watch import POLICY, ping

SUPERSEDED = 4001  # websocket close code: another socket came under the same id
Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_background: set[asyncio.Task[None]] = set()


class Refused(Exception):
    """The handshake ends with this HTTP status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class AgentConsumer(AsyncConsumer):
    """One agent's socket, from the handshake to the close."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serves the socket; returns when it is closed by either side."""
        await receive()  # websocket.connect
        request_id.set(next_request_id().decode())  # of the whole socket
        relay = exchange.current()
        relay.sockets += 1  # before anything is awaited: many may knock at once
        try:
            if relay.dispatcher.draining or relay.is_leaving or relay.sockets > relay.limits.max_agents:
                raise Refused(503, "No more agents can connect now.")
            token = await credential(relay, scope)
            await send({"type": "websocket.accept"})
            await self._serve(relay, scope, receive, send, token)
        except Refused as refusal:
            await refuse(scope, send, refusal)
        except OSError:
            return  # the socket was lost while something was written
        finally:
            relay.sockets -= 1

    async def _serve(
        self, relay: exchange.Exchange, scope: Scope, receive: Receive, send: Send, token: int | None
    ) -> None:
        offered = fresh_id()
        await send({"type": "websocket.send", "text": frames.encode(offered, frames.HELLO)})
        agent = await self._introduction(relay, scope, receive, send, offered, token)
        if agent is None:
            return
        if token is not None and not await _still_holds(relay, scope):
            await send({"type": "websocket.close", "code": POLICY})
            return
        relay.joined(agent)
        heard = relay.dispatcher.heard
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                if not agent.gone:
                    heard(agent, message.get("text") or message.get("bytes") or "")
        finally:
            relay.dispatcher.left(agent)

    async def _introduction(
        self,
        relay: exchange.Exchange,
        scope: Scope,
        receive: Receive,
        send: Send,
        offered: str,
        token: int | None,
    ) -> Agent | None:
        """The agent as its first frame presents it; None when the socket is closed before that.

        An agent whose first frame is unreadable is never listed; its socket ends with the others that
        said nothing.
        """
        said = None
        try:
            async with asyncio.timeout(relay.limits.confirm_within):
                while True:
                    message = await receive()
                    if message["type"] == "websocket.disconnect":
                        return None
                    said = said or _first_frame(message)
                    if said and said is not _UNREADABLE:
                        break
        except TimeoutError:
            await send({"type": "websocket.close", "code": POLICY})
            return None
        agent_id, at_rest = await agreed_id(relay, said.id, offered, token)
        client = scope.get("client") or ("", 0)
        return Agent(
            id=agent_id,
            send=_writer(send),
            tell=lambda text: _background_send(send, {"type": "websocket.send", "text": text}),
            hang_up=lambda code: _background_send(send, {"type": "websocket.close", "code": code}),
            said=frames.declaration(said.data),
            token=token,
            address=str(client[0]),
            at_rest=at_rest,
        )


_UNREADABLE = frames.Frame()


def _first_frame(message: Message) -> frames.Frame:
    try:
        return frames.decode(message.get("text") or message.get("bytes") or "")
    except frames.BadFrame:
        return _UNREADABLE


def _writer(send: Send) -> Callable[[str], Awaitable[None]]:
    def write(text: str) -> Awaitable[None]:
        return send({"type": "websocket.send", "text": text})

    return write


def _background_send(send: Send, message: Message) -> None:
    """Writes without waiting; a socket that is lost by then needs no word any more."""

    async def write() -> None:
        try:
            await send(message)
        except (OSError, RuntimeError):  # RuntimeError: a close was sent already
            return

    _in_background(write())


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _background.add(task)  # the loop itself holds tasks only weakly
    task.add_done_callback(_background.discard)


# -- the handshake ----------------------------------------------------------------------------------


async def credential(relay: exchange.Exchange, scope: Scope) -> int | None:
    """The agent token's id; None for an agent of this machine without one. Raises Refused."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if not is_addressed([value for name, value in headers if name == b"host"]):
        raise Refused(400, "This server is not addressed by that host name.")
    shown = _shown_keys(scope, headers)
    if not shown:
        if _may_come_without(scope, headers):
            return None
        raise Refused(401, "An agent token is needed: `manage.py token --kind agent` makes one.")
    try:
        principal = await relay.agents.find(shown[0]) if len(set(shown)) == 1 else None
    except DatabaseError:
        raise Refused(503, "The database cannot be reached.") from None
    if principal is None:
        raise Refused(401, "Invalid agent token")
    return principal.token


async def _still_holds(relay: exchange.Exchange, scope: Scope) -> bool:
    """Whether the key was not taken away while its agent said who it is, which may take a minute."""
    try:
        return await credential(relay, scope) is not None
    except Refused:
        return False


def _shown_keys(scope: Scope, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    """Keys in the header, the query and the path; each place counts, so that two that disagree are seen."""
    found = [value.strip() for name, value in headers if name == b"authorization"]
    found = [value[7:].strip() if value[:7].lower() == b"bearer " else value for value in found]
    try:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refused(400, "There are too many fields in the query.") from None
    found += [value.encode("utf-8", "replace") for value in query.get("token", [])]
    in_path = scope.get("url_route", {}).get("kwargs", {}).get("token")
    return found + ([in_path.encode("utf-8", "replace")] if in_path else [])


def _may_come_without(scope: Scope, headers: list[tuple[bytes, bytes]]) -> bool:
    """From this machine, and not on behalf of some web page: any page can open a socket to loopback."""
    if not settings.AGENTS_FROM_LOOPBACK:
        return False
    client = scope.get("client")
    version = scope.get("http_version", "1.1")
    return is_loopback(client[0] if client else None, headers, http=version, pages=settings.AGENT_ORIGINS)


async def refuse(scope: Scope, send: Send, refusal: Refused) -> None:
    """Ends the handshake with a status and a JSON reason; 403 where the server program knows no other."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    body = msgspec.json.encode({"error": str(refusal)})
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"x-request-id", request_id.get().encode() or next_request_id()),
    ]
    if refusal.status == 503:
        headers.append((b"retry-after", b"5"))
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


# -- the id -----------------------------------------------------------------------------------------


async def agreed_id(relay: exchange.Exchange, claimed: str, offered: str, token: int | None) -> tuple[str, bool]:
    """The id under which the agent is listed: the claimed one if it may have it, else the offered one.

    True beside it when an administrator has put that agent to rest. An id belongs to the credential
    that used it first. The same token takes its id over at once; an agent from loopback only from a
    holder that is gone or does not answer a ping.
    """
    if claimed == offered or not registry.claimable(claimed):
        return offered, False
    # Memory is asked on both sides of the wait: a row may be on its way to the database.
    owned = relay.watch.owned_by(claimed, token)
    try:
        known = await registry.known(claimed)
    except DatabaseError:
        return offered, False  # whose it is cannot be told
    if not (owned and relay.watch.owned_by(claimed, token)) or (known and known.token != token):
        return offered, False
    agents = relay.dispatcher.pool.agents
    holder = agents.get(claimed)
    if holder and (holder.token != token or (token is None and await _lives(holder, relay.limits.claim_ping))):
        return offered, False
    if agents.get(claimed) not in (None, holder):
        return offered, False  # a third one was quicker
    if holder:
        relay.dispatcher.left(holder)
        holder.hang_up(SUPERSEDED)
    return claimed, bool(known and known.is_resting)


async def _lives(holder: Agent, within: float) -> bool:
    """Whether it says anything within so many seconds of a ping."""
    sign: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    holder.signs.append(sign)
    ping(holder, time.monotonic())
    try:
        async with asyncio.timeout(within):
            await sign
    except TimeoutError:
        return False
    return not holder.gone
