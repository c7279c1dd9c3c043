"""What people and programs do with a server all day, as a mix of deeds; the sources and chats they keep are bounded."""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from bench.corpus import Texts

SOURCES_KEPT, CHATS_KEPT, CONVERSATIONS_KEPT = 100, 60, 50
HANGS_UP = 0.03  # seconds until somebody has enough of an ask
EVENTS = {"Accept": "text/event-stream"}
PAGES = ("/", "/chats/", "/sources", "/agents", "/dashboard", "/account")
FINE, OK = "fine", 200


@dataclass(frozen=True)
class Keys:
    """Who asks: users with relay keys, the API token of one, and the cookies of a session."""

    relay: tuple[str, ...]
    api: str
    cookies: str


@dataclass
class Outcomes:
    """What came of each kind of deed: FINE, the status of a refusal, or what broke."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def troubles(self) -> list[str]:
        """Faults of the server, and kinds of deeds that never went well."""
        faults = [f"{deed}: {count} x {how}" for (deed, how), count in sorted(self.counts.items()) if _is_fault(how)]
        tried = {deed for deed, _ in self.counts}
        went_well = {deed for deed, how in self.counts if how == FINE}
        return faults + [f"{deed}: not one went well" for deed in sorted(tried - went_well)]

    def table(self) -> str:
        """A line for each kind."""
        kinds = sorted({deed for deed, _ in self.counts})
        return "\n".join(f"{kind}: {self._line(kind)}" for kind in kinds)

    def _line(self, kind: str) -> str:
        found = Counter({how: count for (deed, how), count in self.counts.items() if deed == kind})
        return ", ".join(f"{count} {how}" for how, count in found.most_common())


def _is_fault(how: str) -> bool:
    """Refusals have reasons, 503 among them; any other 5xx and a connection that breaks have none."""
    return how != FINE and (not how.isdigit() or (how.startswith("5") and how != "503"))


class Mix:
    """All deeds. Each is told once in the outcomes, whatever comes of it."""

    def __init__(self, client: httpx.AsyncClient, keys: Keys) -> None:
        self._client, self._keys = client, keys
        self._api = {"Authorization": f"Bearer {keys.api}"}
        self._texts = Texts(seed=9)
        self._conversations: deque[tuple[str, str]] = deque(maxlen=CONVERSATIONS_KEPT)  # with the key that may go on
        self._sources: deque[str] = deque()
        self._chats: deque[str] = deque()
        self.outcomes = Outcomes()
        self._deeds: dict[Callable[[], Awaitable[None]], int] = {
            self.ask: 4,
            self.ask_on: 4,
            self.hang_up: 1,
            self.upload: 2,
            self.edit: 1,
            self.chat: 2,
            self.chat_without_sources: 1,
            self.follow_up: 1,
            self.stream: 1,
            self.resume: 1,
            self.look_at_a_page: 2,
            self.look_at_a_chat: 1,
            self.read_figures: 1,
            self.list_agents: 1,
            self.fail_to_sign_in: 1,
        }

    async def any(self) -> None:
        """One deed."""
        deed = random.choices(list(self._deeds), list(self._deeds.values()))[0]
        try:
            await deed()
        except httpx.HTTPError as error:
            self._tell(deed.__name__, type(error).__name__)

    def _tell(self, deed: str, how: str) -> None:
        self.outcomes.counts[deed.replace("_", " "), how] += 1

    async def _send(self, deed: str, method: str, path: str, fine: tuple[int, ...] = (200,), **more: Any) -> Any:
        """The decoded reply; None when it was refused."""
        reply = await self._client.request(method, path, **more)
        is_fine = reply.status_code in fine
        self._tell(deed, FINE if is_fine else str(reply.status_code))
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        return reply.json() if is_fine and is_json else None

    # -- the relay ----------------------------------------------------------------------------------

    async def _ask(self, deed: str, key: str, conversation: str = "") -> None:
        body = {"content": self._texts.question()} | ({"conversation_id": conversation} if conversation else {})
        if reply := await self._send(deed, "POST", "/api/ask", json=body, headers={"Authorization": key}):
            self._conversations.append((key, reply["conversation_id"]))

    async def ask(self) -> None:
        await self._ask("ask", random.choice(self._keys.relay))

    async def ask_on(self) -> None:
        if self._conversations:
            await self._ask("ask on", *random.choice(self._conversations))

    async def hang_up(self) -> None:
        try:
            async with asyncio.timeout(random.uniform(0, HANGS_UP)):
                await self._ask("ask", random.choice(self._keys.relay))
        except TimeoutError:
            self._tell("hang up", FINE)

    # -- sources ------------------------------------------------------------------------------------

    def _source(self) -> dict[str, Any]:
        text = self._texts.text(random.randint(1, 3))
        return {"title": text.title, "content": text.content, "groups": []}

    async def upload(self) -> None:
        sent = self._source()
        if reply := await self._send("upload", "POST", "/api/v1/sources", json=sent, headers=self._api):
            self._sources.append(reply["data"]["sourceId"])
        if len(self._sources) > SOURCES_KEPT:
            gone = self._sources.popleft()
            await self._send("delete a source", "DELETE", f"/api/v1/sources/{gone}", headers=self._api)

    async def edit(self) -> None:
        if self._sources:
            path = f"/api/v1/sources/{random.choice(self._sources)}"
            await self._send("edit", "PATCH", path, json=self._source(), headers=self._api)

    # -- chats --------------------------------------------------------------------------------------

    def _question(self, *, use_public: bool = True, **more: Any) -> dict[str, Any]:
        return {"question": self._texts.question(), "usePublic": use_public, "groups": [], "language": "en", **more}

    async def _chat(self, deed: str, question: dict[str, Any]) -> None:
        if reply := await self._send(deed, "POST", "/api/v1/chats", json=question, headers=self._api):
            await self._keep(reply["data"]["chatId"])

    async def _keep(self, chat: str) -> None:
        self._chats.append(chat)
        if len(self._chats) > CHATS_KEPT:
            gone = self._chats.popleft()
            await self._send("delete a chat", "DELETE", f"/api/v1/chats/{gone}", headers=self._api)

    async def chat(self) -> None:
        await self._chat("chat", self._question())

    async def chat_without_sources(self) -> None:
        await self._chat("chat without sources", self._question(use_public=False))

    async def follow_up(self) -> None:
        if self._chats:
            path = f"/api/v1/chats/{random.choice(self._chats)}"
            await self._send("follow up", "POST", path, json=self._question(), headers=self._api)

    async def stream(self) -> None:
        chat, _ = await self._follow("stream", "POST", "/api/v1/chats", json=self._question(stream=True))
        if chat:
            await self._keep(chat)

    async def resume(self) -> None:
        """Breaks a stream off at its first words and takes it up behind them."""
        sent = self._question(stream=True)
        chat, place = await self._follow("break off", "POST", "/api/v1/chats", until="delta", json=sent)
        if place:
            await self._follow("resume", "GET", f"/api/v1/chats/{chat}", headers={"Last-Event-ID": place})
        if chat:
            await self._keep(chat)

    async def _follow(self, deed: str, method: str, path: str, *, until: str = "", **more: Any) -> tuple[str, str]:
        """Reads a stream to its end, or to the first event of this kind: its chat, and that event's number."""
        headers = {**self._api, **EVENTS, **more.pop("headers", {})}
        async with self._client.stream(method, path, headers=headers, **more) as reply:
            chat, how = "", str(reply.status_code) if reply.status_code != OK else "ended too early"
            async for event in events(reply):
                chat = chat or event.chat
                how = event.outcome or how
                if event.kind == until:
                    self._tell(deed, FINE)
                    return chat, event.number
        self._tell(deed, how)
        return chat, ""

    # -- the rest -----------------------------------------------------------------------------------

    async def look_at_a_page(self) -> None:
        await self._send("page", "GET", random.choice(PAGES), headers={"Cookie": self._keys.cookies})

    async def look_at_a_chat(self) -> None:
        if self._chats:
            path = f"/chats/{random.choice(self._chats)}/"
            await self._send("chat page", "GET", path, headers={"Cookie": self._keys.cookies})

    async def read_figures(self) -> None:
        await self._send("metrics", "GET", "/metrics")

    async def list_agents(self) -> None:
        await self._send("connections", "GET", "/api/connections")

    async def fail_to_sign_in(self) -> None:
        """Refused, and after many of them locked out."""
        body = {"email": f"{uuid4().hex[:4]}@example.org", "password": "guessed"}
        await self._send("failed sign-in", "POST", "/api/v1/login", (401, 403, 422, 429), json=body)


@dataclass
class Event:
    """A server-sent event as far as it has been read."""

    kind: str = ""
    number: str = ""
    data: str = ""

    def read(self, line: str) -> None:
        name, _, value = line.partition(": ")
        match name:
            case "event":
                self.kind = value
            case "id":
                self.number = value
            case "data":
                self.data += value

    @property
    def chat(self) -> str:
        """The chat that it belongs to, where it says so."""
        return str(json.loads(self.data).get("chatId", "")) if self.kind == "sources" else ""

    @property
    def outcome(self) -> str:
        """Empty while the stream goes on."""
        if self.kind == "error":
            return str(json.loads(self.data)["status"])
        return FINE if self.kind == "done" else ""


async def events(reply: httpx.Response) -> AsyncIterator[Event]:
    """All events of a stream; comments, which only keep it open, are none."""
    event = Event()
    async for line in reply.aiter_lines():
        if line:
            event.read(line)
            continue
        if event.kind:
            yield event
        event = Event()
