"""An OpenAI-compatible endpoint that says the same words to everybody, at once.

`python -m bench.scripted_upstream PORT`"""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from bench.bare import SERVER_OPTIONS

PIECES = 20


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One server-sent event, with the keys that hosted endpoints send."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return b"data: " + json.dumps({**head, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


REPLY = [
    chunk({"role": "assistant", "content": ""}),
    *(chunk({"content": f"word{number} "}) for number in range(PIECES)),
    chunk({}, "stop"),
    b"data: [DONE]\n\n",
]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Any path is the one path; GET is for the health check."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for piece in REPLY if scope["method"] == "POST" else []:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **SERVER_OPTIONS)
