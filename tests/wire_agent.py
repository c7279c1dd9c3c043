"""An agent of a few lines whose every answer a test scripts, for tests of the HTTP side."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.patience import PATIENCE


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as the agent got it."""

    frame: str
    text: str  # the frame's `data`, byte for byte

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def content(self) -> str:
        return str(self.data["content"])


class WireAgent:
    """Dials in, answers pings, and does with each question what its script says."""

    def __init__(
        self, url: str, script: Script, *, declares: str = "", headers: dict[str, str] | None = None, **reach: Any
    ) -> None:
        """`reach` says how to get there, in the websocket client's own words."""
        self.script = script
        self.asked: list[Asked] = []
        self.frames: list[str] = []  # everything it was sent, hello and pings included
        self._heard = threading.Condition()
        self._open = contextlib.ExitStack()
        self._socket: ClientConnection = self._open.enter_context(
            connect(url, additional_headers=headers, proxy=None, compression=None, **reach)
        )
        self.id: str = json.loads(self._read(PATIENCE / 10))["id"]
        self.say(self.id, "Connection id", declares)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.leave()

    @property
    def is_connected(self) -> bool:
        """Until either side has closed the socket."""
        return self._thread.is_alive()

    def leave(self) -> None:
        """Closes its socket; a second call does nothing."""
        self._open.close()
        self._thread.join(PATIENCE)

    def _read(self, within: float | None = None) -> str:
        text = str(self._socket.recv(within))
        self.frames.append(text)
        return text

    def _serve(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = json.loads(self._read())
                if frame["message"] == "ping":
                    self.say(frame["id"], "pong")
                elif frame["message"] == "ChatGptRequest":
                    self._take(Asked(frame["id"], frame["data"]))

    def _take(self, asked: Asked) -> None:
        with self._heard:
            self.asked.append(asked)
            self._heard.notify_all()
        self.script(self, asked)

    def was_asked(self, times: int = 1) -> Asked:
        """Waits until it has been asked so often; the last of those questions."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.asked) >= times, PATIENCE), f"asked {len(self.asked)} times"
            return self.asked[times - 1]

    def was_told(self, message: str) -> dict[str, str]:
        """Waits for a frame of this kind."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for frame in map(json.loads, list(self.frames)):
                if frame["message"] == message:
                    return dict(frame)
            time.sleep(0.01)
        raise AssertionError(f"no {message!r} among {self.frames}")

    def say(self, frame: str, message: str, data: str = "") -> None:
        """One frame."""
        self.say_raw(json.dumps({"id": frame, "message": message, "data": data}))

    def say_raw(self, text: str) -> None:
        """What need not be a frame."""
        with contextlib.suppress(ConnectionClosed):
            self._socket.send(text)

    def answer(self, asked: Asked, content: str, **fields: Any) -> None:
        """A good answer; a new conversation gets an id of its own."""
        conversation = asked.data["conversation_id"] or str(uuid.uuid4())
        said = {"response_id": str(uuid.uuid4()), "conversation_id": conversation, "content": content} | fields
        self.say(asked.frame, "ChatGptResponse", json.dumps(said))


Script = Callable[[WireAgent, Asked], None]


def echo(agent: WireAgent, asked: Asked) -> None:
    """Answers with the question."""
    agent.answer(asked, asked.content)


def silent(agent: WireAgent, asked: Asked) -> None:
    """Leaves the answer to the test."""


def hangs_up(agent: WireAgent, asked: Asked) -> None:
    """Closes its socket instead of answering."""
    threading.Thread(target=agent.leave, daemon=True).start()


def says(message: str, data: str) -> Script:
    """Answers every question with this frame."""
    return lambda agent, asked: agent.say(asked.frame, message, data)
