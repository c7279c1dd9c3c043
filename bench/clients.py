"""Closed-loop clients: each asks, checks the answer against its own question, and asks again."""

import asyncio
import time

import msgspec

from bench import wire
from bench.agents import MARK, Crew, response_id
from bench.load import Load, Tally


class Answer(msgspec.Struct, gc=False):
    id: str = ""
    response_id: str = ""
    conversation_id: str = ""
    content: str = ""
    error: str = ""


_answer = msgspec.json.Decoder(Answer)


class Run:
    """The clock and the counters that all clients of a run share."""

    def __init__(self, load: Load, tally: Tally, crew: Crew, number: int) -> None:
        self.load = load
        self.tally = tally
        self.deaths = crew.deaths
        self.number = number  # 32 random bits: questions of two runs never look alike
        self.since = self.until = float("inf")  # the window, on the clock of time.perf_counter
        self.left = load.asks or 1 << 62

    def more(self, now: float) -> bool:
        """Take one ask from what is left to do; False when the run is over."""
        if now >= self.until or self.left <= 0:
            return False
        self.left -= 1
        return True


class Client(wire.HttpConnection):
    """One client on one connection, with a token of its own or a shared one."""

    def __init__(self, run: Run, number: int, *, sticky: bool) -> None:
        super().__init__()
        self._run = run
        self._tally = run.tally
        self._stem = f"{run.number:08x}-{number:04x}-4000-8000-"
        self._serial = 0
        self._started = 0.0
        self.sticky = sticky
        self.conversation = ""
        self.waits: list[float] = []
        self.idle: asyncio.Future[None] | None = None  # set when the client has stopped asking
        self._single = self._late = False
        tokens = run.load.tokens
        self._token = tokens[number % len(tokens)] if tokens else ""
        self._padding = ("." * run.load.content_size)[len(self._stem) + 12 :]
        self._prepare()

    def _prepare(self) -> None:
        """Lay out the request so that only the serial number changes from ask to ask."""
        hole = "000000000000"
        conversation = f',"conversation_id":"{self.conversation}"' if self.conversation else ""
        body = f'{{"content":"{self._stem}{hole}{self._padding}"{conversation}}}'.encode()
        headers = {"Authorization": self._token} if self._token else {}
        whole = wire.request("POST", "/api/ask", self._run.load.port, headers, body)
        cut = whole.index(self._stem.encode()) + len(self._stem)
        self._before, self._after = whole[:cut], whole[cut + len(hole) :]

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, wire.HOST, self._run.load.port)

    def start(self, *, single: bool = False) -> asyncio.Future[None]:
        """Ask until the run is over (`single`: once); the future is done when no answer is awaited any more."""
        self._single = single
        self.idle = asyncio.get_running_loop().create_future()
        self._next(time.perf_counter())
        return self.idle

    def _next(self, now: float) -> None:
        if (self._single and self._started) or not self._run.more(now):
            self._started = 0.0
            if self.idle is not None and not self.idle.done():
                self.idle.set_result(None)
            return
        self._serial += 1
        self._started = now
        if self.transport is None:
            self._again = asyncio.ensure_future(self._reconnect())
        else:
            self._send(self.transport)

    def _send(self, transport: asyncio.Transport) -> None:
        transport.write(b"%b%012x%b" % (self._before, self._serial, self._after))

    async def _reconnect(self) -> None:
        try:
            await self.connect()
        except OSError:
            await asyncio.sleep(0.05)
            self._end("lost", "no connection")
            return
        if self.transport is not None:
            self._send(self.transport)

    def answered(self, status: int, body: bytes) -> None:
        if not self._started:
            self._tally.lost["an answer that nobody asked for"] += 1
            return
        try:
            answer = _answer.decode(body)
        except msgspec.MsgspecError:
            self._end("lost", f"{status} without JSON of the contract")
            return
        if status == 200:
            self._check(answer)
        elif answer.error:
            self._end("failed", f"{status} {answer.error}")
        else:
            self._end("lost", f"{status} without a reason")

    def _check(self, answer: Answer) -> None:
        now = time.perf_counter()
        key = f"{self._stem}{self._serial:012x}"
        right = (
            answer.content == f"{MARK}{key}{self._padding}"
            and answer.conversation_id == (self.conversation or key)
            and answer.response_id == response_id(key)
            and not answer.error
            and not answer.id
        )
        if not right:
            self._end("wrong", "")
            return
        run, tally = self._run, self._tally
        tally.ok += 1
        wait = now - self._started
        if run.since <= now <= run.until:
            tally.measured += 1
            self.waits.append(wait)
        if wait > tally.longest:
            tally.longest = wait
        if run.deaths and (died := run.deaths.pop(key, None)) is not None:
            tally.failovers.append(now - died)
        if self.sticky and not self.conversation:
            self.conversation = answer.conversation_id
            self._prepare()
        self._next(now)

    def _end(self, how: str, reason: str) -> None:
        """Count an ask that went wrong, and go on; a conversation with trouble is given up for a new one."""
        if not self._started:
            return
        now = time.perf_counter()
        tally = self._tally
        tally.longest = max(tally.longest, now - self._started)
        if how == "wrong":
            tally.wrong += 1
        else:
            (tally.failed if how == "failed" else tally.lost)[reason] += 1
        if self.conversation:
            self.conversation = ""
            self._prepare()
        self._next(now)

    def broken(self) -> None:
        self._end("lost", "no answer in time" if self._late else "connection closed without an answer")

    def overdue(self, now: float) -> None:
        """Give up on an answer that has not come in time."""
        self._late = bool(self._started) and now - self._started > self._run.load.timeout
        if self._late:
            self.drop()
