"""`manage.py runagent`: be an agent that answers from the built-in model or an OpenAI-compatible endpoint."""

import asyncio
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from privategpt.agent import Agent, Settings
from privategpt.llm.base import Backend, BackendError
from privategpt.llm.embedded import EmbeddedBackend, available
from privategpt.llm.openai import OpenAIBackend
from privategpt.llm.openai_size import LEAST
from privategpt.orphan import end_with_parent
from privategpt.pulse import EVERY, Pulse

NO_MODEL = 3  # exit status: the built-in model's packages are missing; starting again would not help
STUCK = 60.0  # seconds in which the event loop makes a step
LAST_RESORT = 3.0  # seconds to close in an orderly way after the parent's death


class Command(BaseCommand):
    help = "Dial in to a relay and answer what it asks, from the built-in model or an OpenAI-compatible endpoint."
    requires_system_checks: list[str] = []  # nothing to check, no database to reach

    def add_arguments(self, parser: ArgumentParser) -> None:
        say = parser.add_argument
        say("--url", default="ws://127.0.0.1:8080/client/register", help="the relay; HOST:PORT is enough")
        say("--token", default=os.environ.get("AGENT_TOKEN", ""), help="agent token (better: AGENT_TOKEN)")
        say("--name", default=socket.gethostname(), help="how the relay lists this agent")
        say("--concurrency", type=int, help="answers at once (built-in model: 1; endpoint: 4)")
        say("--base-url", default="", help="an OpenAI-compatible endpoint, for instance http://127.0.0.1:11434/v1")
        say("--api-key", default=os.environ.get("AGENT_API_KEY", ""), help="its key (better: AGENT_API_KEY)")
        say("--model", default="", help="the endpoint's model")
        say(
            "--context",
            type=int,
            default=0,
            help="tokens of the endpoint's context (default: as its list of models says)",
        )
        say("--state", type=Path, metavar="FILE", help="keeps the connection id over restarts; one file per agent")

    def handle(self, **options: Any) -> None:
        end_with_parent(LAST_RESORT)
        if options["concurrency"] is not None and options["concurrency"] < 1:
            raise CommandError("--concurrency must be at least 1.")
        if options["context"] and options["context"] < LEAST:
            raise CommandError(f"--context must be at least {LEAST}.")
        try:
            backend, concurrency = _backend(options)
            agent = Agent(
                Settings(
                    options["url"],
                    options["token"].strip(),
                    options["name"],
                    options["concurrency"] or concurrency,
                    options["state"],
                ),
                backend,
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        asyncio.run(_until_told(agent, backend))


def _backend(options: dict[str, Any]) -> tuple[Backend, int]:
    """What answers, and how many at once it does well."""
    if options["base_url"]:
        if not options["model"]:
            raise CommandError("--base-url needs --model: the name of the model that is to answer.")
        key, context = options["api_key"].strip(), options["context"]
        return OpenAIBackend(options["base_url"], model=options["model"], api_key=key, context=context), 4
    missing = available()
    if missing:
        sys.stderr.write(f"{missing}\n")
        raise SystemExit(NO_MODEL)
    return EmbeddedBackend(), EmbeddedBackend.concurrency


async def _until_told(agent: Agent, backend: Backend) -> None:
    """Serve until SIGTERM, SIGINT or the parent's death; then close and leave."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    work = asyncio.create_task(_serve(agent, backend))
    told, beating = asyncio.create_task(stop.wait()), asyncio.create_task(_beats(Pulse(STUCK)))
    await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, told, beating):
        task.cancel()
    outcome, _ = await asyncio.gather(work, told, return_exceptions=True)
    await backend.aclose()
    if isinstance(outcome, BackendError):
        sys.stderr.write(f"{outcome}\n")
        raise SystemExit(NO_MODEL)
    if isinstance(outcome, Exception):
        raise outcome


async def _beats(pulse: Pulse) -> None:
    while True:
        pulse.go_on()
        await asyncio.sleep(EVERY)


async def _serve(agent: Agent, backend: Backend) -> None:
    if isinstance(backend, EmbeddedBackend):
        await backend.load()  # before the relay may ask: the first answer shall not wait for it
    await agent.run()
