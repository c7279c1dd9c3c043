"""An OpenAI-compatible endpoint that thinks for a moment, says what time it is, and then writes word by word.

`python -m bench.timed_upstream PORT`"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from bench.bare import SERVER_OPTIONS
from bench.scripted_upstream import chunk

THINKS = 0.1  # seconds
WORDS = 100
GAP = 0.01  # seconds between two words


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Any path is the one path; GET is for the health check."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    if scope["method"] == "POST":
        await _answer(send)
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    async def say(body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})

    await asyncio.sleep(THINKS)
    await say(chunk({"content": f"at {time.time() * 1000:.0f} ms: "}))
    for number in range(WORDS):
        await asyncio.sleep(GAP)
        await say(chunk({"content": f"word{number} "}))
    await say(chunk({}, "stop") + b"data: [DONE]\n\n")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **SERVER_OPTIONS)
