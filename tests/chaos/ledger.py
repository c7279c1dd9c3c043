"""What the driver did and was told, to be compared with the rows when the storm is over.

Who gets no answer, or a refusal that invites another try, repeats with the same Idempotency-Key."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.patience import PATIENCE

AGAIN = {429, 500, 502, 503, 504}


class Lost(AssertionError):
    """Something was not answered within PATIENCE."""


@dataclass(slots=True)
class Ledger:
    """One for the whole run; threads write to it."""

    asks: dict[str, dict[str, str]] = field(default_factory=dict)  # the question to its answer
    owners: dict[str, str] = field(default_factory=dict)  # a question's Idempotency-Key to its asker's token
    sources: dict[str, str] = field(default_factory=dict)  # id to content
    messages: dict[str, tuple[str, str]] = field(default_factory=dict)  # id to its chat and what was seen of the answer
    refusals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> int:
        """How many asks, chats and uploads got their answer so far."""
        return len(self.asks) + len(self.sources) + len(self.messages)


class Client:
    """One user's program. Each thread has its own."""

    def __init__(self, url: str, token: str, ledger: Ledger) -> None:
        self.token = token
        self._ledger = ledger
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=PATIENCE
        )

    def close(self) -> None:
        self._http.close()

    def ask(self, content: str) -> None:
        """Contract 1, until it is answered. Raises Lost."""
        key = secrets.token_hex(8)
        reply = self._insist("/api/ask", {"content": content}, key, {"Authorization": self.token})
        with self._ledger.lock:
            self._ledger.asks[content] = reply | {"key": key}
            self._ledger.owners[content] = self.token

    def upload(self, title: str, content: str) -> None:
        """A source, until it is stored. Raises Lost."""
        body = {"title": title, "content": content, "groups": []}
        reply = self._insist("/api/v1/sources", body, secrets.token_hex(8))
        with self._ledger.lock:
            self._ledger.sources[reply["data"]["documentId"]] = content

    def chat(self, question: str) -> None:
        """A streamed answer, joined again after each break at the piece behind the last one. Raises Lost."""
        key, until = secrets.token_hex(8), time.monotonic() + PATIENCE
        stream = Pieces()
        while not stream.ended:
            if time.monotonic() > until:
                raise Lost(f"The stream of {question!r} did not end: {stream.text!r}")
            headers = {"Idempotency-Key": key, "Accept": "text/event-stream"}
            if stream.last:
                headers["Last-Event-ID"] = stream.last
            body = {"question": question, "groups": []}
            try:
                with self._http.stream("POST", "/api/v1/chats", json=body, headers=headers) as reply:
                    if reply.status_code != 200:
                        self._refused("chat", reply.status_code, reply.read().decode())
                        continue
                    for line in reply.iter_lines():
                        stream.take(line)
            except httpx.HTTPError as fault:
                self._broken("chat", fault)
        with self._ledger.lock:
            self._ledger.messages[stream.message] = (stream.chat, stream.text)

    def _insist(self, path: str, body: Any, key: str, more: dict[str, str] | None = None) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                reply = self._http.post(path, json=body, headers={"Idempotency-Key": key} | (more or {}))
            except httpx.HTTPError as fault:
                self._broken(path, fault)
                continue
            if reply.status_code < 300:
                found: dict[str, Any] = reply.json()
                return found
            self._refused(path, reply.status_code, reply.text)
        raise Lost(f"{path} was not answered within {PATIENCE:.0f} s; {dict(self._ledger.refusals)}")

    def _refused(self, what: str, status: int, text: str) -> None:
        with self._ledger.lock:
            self._ledger.refusals[f"{what} {status}"] += 1
            if status not in AGAIN:
                self._ledger.faults.append(f"{what} {status}: {text[:200]}")
            if "Traceback" in text:
                self._ledger.faults.append(text[:500])
        time.sleep(0.05)

    def _broken(self, what: str, fault: Exception) -> None:
        with self._ledger.lock:
            self._ledger.refusals[f"{what} {type(fault).__name__}"] += 1
        time.sleep(0.05)


class Pieces:
    """A stream of events as far as it came."""

    def __init__(self) -> None:
        self.chat = self.message = self.text = self.last = ""
        self.ended = False
        self._event = ""

    def take(self, line: str) -> None:
        """A line of the stream; other than `id`, `event` and `data` there is nothing in it."""
        name, _, value = line.partition(": ")
        if name == "event":
            self._event = value
        elif name == "id":
            self.last = value
        elif name == "data":
            self._data(json.loads(value))

    def _data(self, found: dict[str, Any]) -> None:
        match self._event:
            case "sources":
                self.chat, self.message = found["chatId"], found["messageId"]
            case "delta":
                self.text += found["text"]
            case "done" | "error":
                self.ended = True


def at_once(count: int, work: Callable[[int], None], ledger: Ledger) -> list[threading.Thread]:
    """So many threads of `work(number)`; what they raise stands in the ledger."""

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as fault:
            with ledger.lock:
                ledger.faults.append(f"{type(fault).__name__}: {fault}")

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
