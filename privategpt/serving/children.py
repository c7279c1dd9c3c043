"""What `manage.py serve` runs: a row for each child process, in the order in which they end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.conf import settings

from privategpt.serving import firststart
from privategpt.serving.listener import SOCKET, Site
from privategpt.serving.supervisor import Child

logger = logging.getLogger(__name__)

WEB = "The web server"
AGENT = "The built-in agent"
WORKER = "The ingest worker"
EMBEDDER = "The embedder"
NO_EMBEDDER = 2  # exit status of the embedding process: its packages are missing, or the endpoint does not answer
NO_MODEL = 3  # exit status of runagent, which says itself what is missing
MANAGE = (sys.executable, str(Path(settings.BASE_DIR) / "manage.py"))
# Heaps of the C library. It makes one for each thread up to eight a core, and what one thread has freed no other uses;
# under the interpreter's lock they hardly ever want memory at the same time.
# And it gives back what lies free only above thresholds that it raises by itself up to 32 MB, so that one long text
# leaves a hole for ever. Numbers that are set stay.
HEAP = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "262144", "MALLOC_MMAP_THRESHOLD_": "262144"}
DOOR_KEYS = {"ADMIN_KEY", "METRICS_TOKEN"}
FOR_ANY = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "SHELL", "PWD"}
FOR_ANY_PROXY = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
FOR_ANY_LIBRARY = (
    *("EMBEDDINGS_", "LC_", "LD_", "PYTHON", "MALLOC_", "OMP_", "ORT_", "ONNX", "OPENBLAS_", "MKL_", "SSL_CERT_"),
    *("XDG_", "COVERAGE_", "CUDA_", "NVIDIA_"),
)
CLOSING = 10.0  # seconds of the web server after its drain, for sockets and the last writes


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes of which part there are."""

    web: int = 1
    workers: int = 1
    only: str = ""  # one of PARTS; empty: all


PARTS = ("web", "worker", "agent", "embedder")


def children(site: Site, descriptor: int, admin_key: str, crew: Crew) -> list[Child]:
    """The table. Secrets go by environment: arguments stand in the list of processes."""
    environment = {name: value for name, value in os.environ.items() if name != "ADMIN_PASSWORD"}
    environment = {**HEAP, **environment}
    environment |= {"HOST": site.host, "PORT": str(site.port)} | ({"ADMIN_KEY": admin_key} if admin_key else {})
    rows: list[Child] = []
    if crew.only in {"", "web"}:
        rows += [_web(environment, descriptor, name) for name in names(WEB, crew.web)]
    # After the web server: asks under way need them until the drain is over.
    if crew.only in {"", "worker"}:
        rows += [_worker(_without_keys(environment), name) for name in names(WORKER, crew.workers)]
    if crew.only == "embedder" or (not crew.only and settings.EMBEDDER):
        rows += _embedder(environment)
    if crew.only == "agent" or (not crew.only and settings.BUILTIN_AGENT):
        rows.append(_agent(site, _without_keys(environment)))
    return rows


def names(part: str, count: int) -> list[str]:
    """Numbered when there are several."""
    return [part] if count == 1 else [f"{part} {number}" for number in range(1, count + 1)]


def _web(environment: Mapping[str, str], descriptor: int, name: str) -> Child:
    return Child(
        name,
        (*MANAGE, "serve", "--only", "web"),
        {**environment, SOCKET: str(descriptor)},
        grace=settings.DRAIN_SECONDS + CLOSING,
        descriptors=(descriptor,),
        group=WEB,
        is_renewable=True,
        has_pulse=True,
    )


def _worker(environment: Mapping[str, str], name: str) -> Child:
    return Child(name, (*MANAGE, "worker"), environment, group=WORKER, has_pulse=True)


def _embedder(environment: Mapping[str, str]) -> list[Child]:
    """The one process that holds the model. It knows nothing of Django, so it has to be told where our code is."""
    from privategpt.retrieval.embedders import EmbedderUnavailable  # with numpy, which a supervisor has no use for
    from privategpt.retrieval.embedding_process import is_reachable, socket_path

    try:
        path = socket_path(settings.DATA_DIR)
    except EmbedderUnavailable as reason:
        logger.warning("There is no embedder: %s", reason)
        return []
    code = os.pathsep.join(part for part in (str(settings.BASE_DIR), environment.get("PYTHONPATH", "")) if part)
    # A missing package stays missing; an endpoint that does not answer may come back.
    is_final = not environment.get("EMBEDDINGS_URL", "").strip()
    program = (sys.executable, "-m", "privategpt.retrieval.embedding_process", str(path))
    final = {NO_EMBEDDER: "There is no embedder: sources are found by their words alone."} if is_final else {}
    told = {**_of_programs(environment), "PYTHONPATH": code}
    return [Child(EMBEDDER, program, told, final=final, has_pulse=True, reached=partial(is_reachable, path))]


def _without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """For parts of ours that answer nobody: what opens the server's doors is none of their business."""
    return {name: value for name, value in environment.items() if name not in DOOR_KEYS}


def _of_programs(environment: Mapping[str, str]) -> dict[str, str]:
    """For the one that is no part of Django: what any program may need, and its own settings."""
    return {
        name: value
        for name, value in environment.items()
        if name in FOR_ANY or name.lower() in FOR_ANY_PROXY or name.startswith(FOR_ANY_LIBRARY)
    }


def _agent(site: Site, environment: Mapping[str, str]) -> Child:
    needs_token = not (settings.AGENTS_FROM_LOOPBACK and site.is_local)
    return Child(
        AGENT,
        (
            *(*MANAGE, "runagent", "--name", "built-in"),
            *("--url", f"ws://{site.address}/client/register"),
            *("--state", str(Path(settings.DATA_DIR) / "built_in_agent")),
        ),
        {**environment, "AGENT_TOKEN": firststart.agent_key() if needs_token else ""},
        final={NO_MODEL},
        has_pulse=True,
    )
