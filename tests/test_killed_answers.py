"""An answer whose process was killed: known as lost as soon as anybody of the same machine looks, and asked again."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from privategpt import claims, rundir
from privategpt.models import LOST, Chat, Message
from tests.patience import PATIENCE
from tests.running import manage, settled, until
from tests.socket_server import Web
from tests.wire_agent import Asked, WireAgent, echo

LOGIN = {"email": "ada@example.com", "password": "a long enough password"}
STATES = "SELECT state, error FROM privategpt_message ORDER BY position"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    data = settled(tmp_path)
    done = manage(data, "setup", ADMIN_EMAIL=LOGIN["email"], ADMIN_PASSWORD=LOGIN["password"])
    assert done.returncode == 0, done.stderr
    with Web(data, LLM_BACKEND="relay") as web:
        yield web


def client(web: Web) -> httpx.Client:
    found = httpx.Client(base_url=f"http://{web.address}", trust_env=False, timeout=PATIENCE)
    token = found.post("/api/v1/login", json=LOGIN).json()["data"]["token"]
    found.headers["Authorization"] = f"Bearer {token}"
    return found


def halfway(agent: WireAgent, asked: Asked) -> None:
    agent.say(asked.frame, "ChatGptDelta", "The half")


def test_whoever_comes_after_the_killed_one_says_that_the_answer_is_lost(web: Web) -> None:
    """Fault 10: not only when its lease has run out."""
    ada = client(web)
    register = f"ws://{web.address}/client/register"

    def ask() -> None:
        with suppress(httpx.HTTPError):
            ada.post("/api/v1/chats", json={"question": "Why?"})

    asking = threading.Thread(target=ask)
    with WireAgent(register, halfway, declares='{"stream": true}') as agent:
        asking.start()
        agent.was_asked()
        until(lambda: bool(web.sql(STATES)), "it is written down")
        web.kill()
    asking.join(PATIENCE)
    until(lambda: _is_ready(web), "the next one serves")
    assert web.sql(STATES) == [("failed", LOST)]
    (chat,) = web.sql("SELECT id FROM privategpt_chat")
    with WireAgent(register, echo):
        again = ada.patch(f"/api/v1/chats/{uuid.UUID(str(chat[0]))}", json={"question": "Why then?"})
    assert again.status_code == 200, again.text
    assert len(list((web.data / rundir.NAME).glob(f"{claims.PREFIX}*"))) == 1


def _is_ready(web: Web) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://{web.address}/ready", trust_env=False, timeout=PATIENCE).status_code == 200
    return False


@pytest.mark.django_db
def test_only_answers_of_processes_that_ended_are_lost(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOOK", 0.0)
    ended, of_elsewhere = uuid.uuid4(), uuid.uuid4()
    note = rundir.place(Path(settings.DATA_DIR)) / f"{claims.PREFIX}{ended}"
    note.touch()
    chat = Chat.objects.create(owner=alice)
    until_then = timezone.now() + timedelta(seconds=10)
    for position, process in enumerate([ended, of_elsewhere, claims.own(), None]):
        Message.objects.create(
            chat=chat, position=position, question="Why?", claimed_by=process, claimed_until=until_then
        )
    claims.fail_lost()
    states = list(Message.objects.order_by("position").values_list("state", flat=True))
    assert states == ["failed", "waiting", "waiting", "waiting"]
    assert not note.exists()
