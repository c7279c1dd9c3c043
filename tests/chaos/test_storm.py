"""kill -9 of every part in the middle of asks, uploads and streams: nothing is lost and nobody gets another's answer.

Each run keeps a ledger of what was promised and compares it with the rows. `pytest -m chaos` runs this leg alone."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.chaos.house import House
from tests.chaos.ledger import Client, Ledger, at_once
from tests.patience import PATIENCE
from tests.postgres import Postgres
from tests.redis_server import Redis, a_redis
from tests.running import until

pytestmark = pytest.mark.chaos

ASKS = 2_000
ASKERS, UPLOADERS, CHATTERS = 10, 2, 3
UPLOADS, CHATS = 60, 60  # in all
AWAY = 1.5  # seconds that Redis and PostgreSQL are gone
Event = tuple[float, Callable[[], None]]


@pytest.fixture
def redis() -> Iterator[Redis]:
    yield from a_redis()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="switchboard-storm-"))  # pytest's own are for this user alone
    server = Postgres(folder / "data")
    yield server
    server.end()
    shutil.rmtree(folder)


def storm(house: House, events: list[Event]) -> Ledger:
    """Everybody works, and each event strikes when its share of all work is done."""
    ledger = Ledger()
    token = house.token()
    keys = [house.asker() for _ in range(ASKERS)]
    url = house.server.url

    def asks(number: int) -> None:
        client = Client(url, keys[number], ledger)
        for turn in range(ASKS // ASKERS):
            client.ask(f"question {turn} of asker {number}")

    def uploads(number: int) -> None:
        client = Client(url, token, ledger)
        for turn in range(UPLOADS // UPLOADERS):
            client.upload(f"Source {number}-{turn}", f"# Pump {number}-{turn}\n\nPump {turn} is oiled weekly.\n" * 20)

    def chats(number: int) -> None:
        client = Client(url, token, ledger)
        for turn in range(CHATS // CHATTERS):
            client.chat(f"chat {turn} of {number}")

    threads = [
        *at_once(ASKERS, asks, ledger),
        *at_once(UPLOADERS, uploads, ledger),
        *at_once(CHATTERS, chats, ledger),
    ]
    all_work = ASKS + UPLOADS + CHATS
    for share, strike in events:
        _until_answered(ledger, share * all_work, threads)
        strike()
    end = time.monotonic() + 2 * PATIENCE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert not [thread for thread in threads if thread.is_alive()], ledger.refusals
    return ledger


def _until_answered(ledger: Ledger, count: float, threads: list[threading.Thread]) -> None:
    end = time.monotonic() + PATIENCE
    while ledger.answered < count and any(thread.is_alive() for thread in threads):
        assert time.monotonic() < end, f"{ledger.answered} of {count}: {ledger.refusals} {ledger.faults[:3]}"
        time.sleep(0.01)


def compare(house: House, ledger: Ledger) -> None:
    """The ledger against the rows."""
    assert ledger.faults == []
    assert len(ledger.asks) == ASKS
    assert {question: answer["content"] for question, answer in ledger.asks.items()} == {
        question: f"echo: {question}" for question in ledger.asks
    }, "an answer of somebody else's question"
    _compare_conversations(house, ledger)
    assert len(ledger.sources) == UPLOADS
    stored = {str(UUID(str(key))): content for key, content in house.rows("SELECT id, content FROM privategpt_source")}
    assert {key: stored.get(key) for key in ledger.sources} == ledger.sources
    assert Counter(stored.values())[next(iter(ledger.sources.values()))] == 1, "stored twice"
    assert len(ledger.messages) == CHATS
    _compare_messages(house, ledger)


def _compare_conversations(house: House, ledger: Ledger) -> None:
    """Each conversation that somebody was given is there, and belongs to one user alone."""
    given = {answer["conversation_id"]: ledger.owners[question] for question, answer in ledger.asks.items()}
    assert len(given) == ASKS, "two asks share a conversation"
    owners: dict[str, str] = {}
    for conversation, owner in house.rows("SELECT conversation_id, owner_id FROM relay_conversation"):
        owners[str(conversation)] = str(owner)
    assert set(given) - set(owners) == set(), "a conversation was lost"
    pairs = {(token, owners[conversation]) for conversation, token in given.items()}
    assert len(pairs) == ASKERS, "a conversation belongs to somebody else"


def _compare_messages(house: House, ledger: Ledger) -> None:
    """No answer is under way for ever, what was shown is kept, and what is complete is whole."""
    statement = "SELECT id, state, question, answer FROM privategpt_message"
    final = {"complete", "failed", "stopped"}
    until(lambda: {row[1] for row in house.rows(statement)} <= final, "every answer has ended")
    rows = {str(UUID(str(row[0]))): row[1:] for row in house.rows(statement)}
    for message, (_, shown) in ledger.messages.items():
        state, question, answer = rows[message]
        if state == "complete":
            assert answer == shown == f"echo: {question}"
        else:  # the pieces of the last moment are shown before they are saved
            assert f"echo: {question}".startswith(answer)
    states = Counter(rows[message][0] for message in ledger.messages)
    # A process that dies takes the answers it was making: they say so, and their question stays.
    assert states["complete"] >= CHATS * 0.6, states


def test_on_one_machine_with_sqlite(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        for _ in range(3):
            house.add_agents(2)
        house.until_connected(6)
        ledger = storm(
            house,
            [
                (0.15, lambda: house.kill("--only web")),
                (0.30, lambda: house.kill_agents(0)),
                (0.40, lambda: house.kill("manage.py worker")),
                (0.50, lambda: house.pause_agents(1)),
                (0.65, lambda: house.wake_agents(1)),
                (0.80, lambda: house.kill("--only web")),
            ],
        )
        compare(house, ledger)
        assert "Traceback" not in house.server.complaints


def test_on_several_processes_with_postgresql_and_redis(tmp_path: Path, postgres: Postgres, redis: Redis) -> None:
    def restart(store: Postgres | Redis) -> Callable[[], None]:
        def strike() -> None:
            store.kill()
            back = threading.Event()
            back.wait(AWAY)
            store.start()

        return strike

    with House(tmp_path, postgres, redis) as house:
        for _ in range(3):
            house.add_agents(2)
        house.until_connected(6)
        ledger = storm(
            house,
            [
                (0.10, lambda: house.kill("--only web")),
                (0.25, lambda: house.kill_agents(0)),
                (0.35, restart(redis)),
                (0.50, lambda: house.kill("manage.py worker")),
                (0.60, restart(postgres)),
                (0.75, lambda: house.pause_agents(1)),
                (0.85, lambda: house.wake_agents(1)),
                (0.90, lambda: house.kill("--only web")),
            ],
        )
        compare(house, ledger)


def test_a_thousand_agents_come_back_within_a_minute_and_asks_go_on(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        house.add_agents(1_000)
        house.until_connected(1_000)
        ledger = Ledger()
        client = Client(house.server.url, house.asker(), ledger)
        house.kill("--only web")
        began = time.monotonic()
        client.ask("Are you there again?")
        house.until_connected(1_000)
        assert time.monotonic() - began < 60
        client.ask("All of you?")
        assert ledger.faults == []
        assert [answer["content"] for answer in ledger.asks.values()] == [
            "echo: Are you there again?",
            "echo: All of you?",
        ]
