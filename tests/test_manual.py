"""The manual among the sources: loaded once, kept up to date, and never against an administrator's will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accounts.models import Group, User
from privategpt import ingest, manual
from privategpt.models import Source
from tests.answering import Scripted, asked, chat, db

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def docs(settings: Any, tmp_path: Path) -> Path:
    """Two pages of a manual, and an empty data folder."""
    settings.DATA_DIR, settings.BASE_DIR = tmp_path / "data", tmp_path
    folder = tmp_path / "docs"
    settings.DATA_DIR.mkdir()
    folder.mkdir()
    (tmp_path / "README.md").write_text("# Switchboard\n\nAgents dial in.")
    (folder / "agents.md").write_text("# Agents\n\nAn agent dials in over a websocket.")
    return folder


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@example.org", "a long enough password")


def titles() -> list[str]:
    return sorted(Source.objects.kept().values_list("title", flat=True))


def test_the_first_administrator_gets_the_manual(docs: Path, root: User, alice: User) -> None:
    assert manual.load() == 2
    assert titles() == ["Agents", "Switchboard"]
    assert sorted(Source.objects.visible_to(root).values_list("title", flat=True)) == titles()
    assert not Source.objects.visible_to(alice).exists()
    assert list(Group.objects.get(name="Switchboard").members.all()) == [root]


def test_nothing_is_loaded_before_there_is_an_administrator(docs: Path, alice: User) -> None:
    assert manual.load() == 0
    assert not Group.objects.exists()


def test_a_second_start_loads_nothing(docs: Path, root: User, settings: Any) -> None:
    manual.load()
    before = list(Source.objects.order_by("pk").values_list("pk", "updated_at"))
    assert manual.load() == 0
    (settings.DATA_DIR / "manual.json").unlink()  # as after a restore into another folder
    assert manual.load() == 0
    assert list(Source.objects.order_by("pk").values_list("pk", "updated_at")) == before


def test_changed_new_and_removed_pages_are_followed(docs: Path, root: User) -> None:
    manual.load()
    (docs / "agents.md").write_text("# Agents and more\n\nAn agent rings.")
    (docs / "new.md").write_text("No heading.")
    assert manual.load() == 2
    assert titles() == ["Agents and more", "Switchboard", "new.md"]
    (docs / "new.md").unlink()
    assert manual.load() == 1
    assert titles() == ["Agents and more", "Switchboard"]
    (docs / "new.md").write_text("It is back, before the rows of the former one have gone.")
    assert manual.load() == 1
    assert titles() == ["Agents and more", "Switchboard", "new.md"]


def test_what_an_administrator_deleted_stays_deleted(docs: Path, root: User) -> None:
    manual.load()
    ingest.delete(Source.objects.get(title="Agents"))
    (docs / "agents.md").write_text("# Agents\n\nChanged.")
    assert manual.load() == 0
    Group.objects.all().delete()
    assert manual.load() == 0
    assert not Group.objects.exists()


async def test_the_first_question_gets_a_cited_answer(scripted: type[Scripted], settings: Any) -> None:
    """With the real manual, and without any model."""
    settings.LLM_BACKEND = "quoting"
    root = await db(User.objects.create_superuser, "root@example.org", "a long enough password")
    note = Path(settings.DATA_DIR) / "manual.json"
    note.unlink(missing_ok=True)
    await db(manual.load)
    note.unlink()
    where = await db(Group.objects.get, name="Switchboard")
    message = await asked(await db(chat, root, where), "How does an agent dial in?")
    assert message.state == "complete"
    assert message.trace["cited"]
    assert "agent" in message.answer.lower()


def test_the_manual_has_no_pictures_of_the_pages_that_one_is_reading(docs: Path, root: User) -> None:
    (docs.parent / "README.md").write_text("# Switchboard\n\n![A chat.](docs/chat.svg)\n\nAgents dial in.")
    manual.load()
    assert Source.objects.get(title="Switchboard").content == "# Switchboard\n\nAgents dial in."
