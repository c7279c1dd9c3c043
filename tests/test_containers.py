"""Dockerfile and compose.yml by what they promise; `deploy/replay.py` carries the steps out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from deploy.healthy import QUESTION
from deploy.replay import ignored, instructions
from privategpt.retrieval.embedding_process import Ask
from privategpt.worker import Worker
from tests.embedding import FakeEmbedding
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
    assert part["image"].startswith("switchboard:")


def test_no_image_is_whatever_is_newest() -> None:
    images = [part["image"] for part in COMPOSE["services"].values()]
    images += [rest.split()[0] for word, rest in STEPS if word == "FROM"]
    assert [image for image in images if not re.search(r":.*\d+\.\d+", image)] == []


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_container_has_an_end_of_its_log_and_memory(name: str) -> None:
    part = COMPOSE["services"][name]
    assert part["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert part["mem_limit"]


@pytest.mark.parametrize("name", ["worker", "embedder", "agent"])
def test_each_part_says_whether_it_is_at_work(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"] == ["CMD", "python", "deploy/healthy.py", name]


def test_the_agents_network_outlives_the_web_server() -> None:
    services = COMPOSE["services"]
    assert services["web"]["network_mode"] == services["agent"]["network_mode"] == "service:place"
    assert services["place"]["entrypoint"] == ["sleep", "infinity"]


def test_the_server_of_the_images_first_start_is_not_taken_for_the_real_one() -> None:
    (_, check) = COMPOSE["services"]["database"]["healthcheck"]["test"]
    assert check.startswith("grep -qx postgres /proc/1/comm && pg_isready")
    assert "--patience" in COMPOSE["services"]["setup"]["command"]


def test_the_processes_do_not_want_more_connections_than_there_are() -> None:
    most = next(int(word.split("=")[1]) for word in COMPOSE["services"]["database"]["command"] if "max_conn" in word)
    pool = int(COMPOSE["x-settings"]["DATABASE_POOL"].split(":-")[1].rstrip("}"))
    assert (5 + 3) * pool < most, "five web processes, the worker, the embedder, and whoever looks after it"


def test_the_workers_health_is_its_sign_of_life(tmp_path: Path) -> None:
    check = [sys.executable, str(ROOT / "deploy/healthy.py"), "worker"]
    settings = {"DATA_DIR": str(tmp_path)}
    assert subprocess.run(check, env=settings, check=False, capture_output=True).returncode == 1
    Worker(FakeEmbedding(), alive=tmp_path / "worker.alive").sign()
    assert subprocess.run(check, env=settings, check=False).returncode == 0
    os.utime(tmp_path / "worker.alive", (0, 0))
    late = subprocess.run(check, env=settings, check=False, capture_output=True)
    assert (late.returncode, b"silent" in late.stderr) == (1, True)


def test_the_embedders_health_is_that_it_embeds(tmp_path: Path) -> None:
    check = [sys.executable, str(ROOT / "deploy/healthy.py"), "embedder"]
    assert subprocess.run(check, env={"DATA_DIR": str(tmp_path)}, check=False, capture_output=True).returncode == 1
    assert msgspec.msgpack.decode(QUESTION, type=Ask) == Ask("question", ["x"])


def test_nothing_but_the_web_server_can_be_reached_and_that_from_this_machine() -> None:
    published = {name: part["ports"] for name, part in COMPOSE["services"].items() if "ports" in part}
    assert published == {"place": ["${PUBLISH:-127.0.0.1}:${PORT:-8080}:${PORT:-8080}"]}


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
