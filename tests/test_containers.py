"""Dockerfile and compose.yml by what they promise; `deploy/replay.py` carries the steps out."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from deploy.replay import ignored, instructions
from tests.running import ROOT

STEPS = instructions((ROOT / "Dockerfile").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yml").read_text())
OURS = ["setup", "web", "worker", "embedder", "agent"]
COMPILERS = re.compile(r"\b(gcc|g\+\+|clang|build-essential|\w+-dev)\b")


def test_the_image_is_not_roots_and_holds_no_compiler() -> None:
    last = max(number for number, (word, _) in enumerate(STEPS) if word == "FROM")
    assert [rest for word, rest in STEPS[last:] if word == "USER"] == ["10001:10001"]
    assert not [rest for _, rest in STEPS if COMPILERS.search(rest)]


def test_every_package_is_checked_by_its_hash() -> None:
    installs = [rest for word, rest in STEPS if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    assert all("--require-hashes" in rest and "--only-binary :all:" in rest for rest in installs)


@pytest.mark.parametrize("name", OURS)
def test_a_part_of_ours_may_do_little(name: str) -> None:
    part = COMPOSE["services"][name]
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert part["image"] == "switchboard"


def test_nothing_but_the_web_server_can_be_reached_and_that_from_this_machine() -> None:
    published = {name: part["ports"] for name, part in COMPOSE["services"].items() if "ports" in part}
    assert published == {"web": ["${PUBLISH:-127.0.0.1}:${PORT:-8080}:${PORT:-8080}"]}


def test_no_password_stands_in_it() -> None:
    text = (ROOT / "compose.yml").read_text()
    assert "PASSWORD" not in text
    assert "ADMIN_KEY: ${ADMIN_KEY:-}" in text


def test_every_setting_it_names_is_one_of_the_readme() -> None:
    known = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert set(COMPOSE["x-settings"]) - known == set()


@pytest.mark.parametrize(
    "path", ["data/secret_key", ".git/config", ".venv/bin/python", "tests/test_admin.py", "a/__pycache__/x"]
)
def test_what_is_private_or_not_needed_stays_out_of_the_image(path: str) -> None:
    assert ignored(path, (ROOT / ".dockerignore").read_text().split())


def test_the_code_goes_into_the_image() -> None:
    patterns = (ROOT / ".dockerignore").read_text().split()
    for path in ("manage.py", "project/settings.py", "docs/relay.md", "static/css/base.css", "deploy/healthy.py"):
        assert (ROOT / path).exists()
        assert not ignored(path, patterns)
