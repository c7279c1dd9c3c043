"""How the whole stands: parts, work that waits, space, backup, failures. For administrators and for `/metrics`."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import disk_usage

from django.conf import settings
from django.db.models import Count, F, Min, Q, Sum
from django.utils import timezone

from privategpt.models import Message, Source
from privategpt.operations import backup, schedule
from privategpt.serving import firststart, parts
from privategpt.serving.parts import BROKEN, DOWN, SILENT, UNREACHABLE, Part

LATELY = timedelta(hours=1)  # answers that failed are counted so far back
EMBEDDER = "The embedder"
WORDS = {DOWN: "down and starts again", SILENT: "silent", UNREACHABLE: "not to be reached"}
UNFINISHED = (Source.State.CREATION, Source.State.PROCESSING)


@dataclass(frozen=True, slots=True)
class Work:
    """What the database knows."""

    sources: int  # that are not finished
    passages: int  # of theirs that have no vector yet
    oldest: float  # seconds since the oldest of them was touched; 0: there is none
    failed_sources: int
    answers: int  # of the last hour
    failed_answers: int
    backup_at: float | None  # of the last scheduled one on any machine, in seconds since 1970; None: there is none
    backup_error: str  # of the last try, where some are scheduled; "": it succeeded


@dataclass(frozen=True, slots=True)
class Place:
    """What the machine knows."""

    parts: list[Part]
    disk_free: int | None  # bytes; None: unknown
    disk_size: int | None
    backup_at: float | None  # of the last one that was made here, in seconds since 1970; None: there is none


def work() -> Work:
    """Three queries: what is not finished, the last hour, and the row of the scheduled backups."""
    now = timezone.now()
    open_ = Q(state__in=UNFINISHED)
    found = Source.objects.kept().aggregate(
        sources=Count("pk", filter=open_),
        passages=Sum(F("passages_total") - F("passages_done"), filter=open_),
        oldest=Min("updated_at", filter=open_),
        failed=Count("pk", filter=Q(state=Source.State.ERROR)),
    )
    answers = Message.objects.filter(created_at__gte=now - LATELY).aggregate(
        all=Count("pk"), failed=Count("pk", filter=Q(state=Message.State.FAILED))
    )
    backups = schedule.state()
    return Work(
        found["sources"],
        max(0, found["passages"] or 0),
        _age(found["oldest"], now),
        found["failed"],
        answers["all"],
        answers["failed"],
        backups.made_at.timestamp() if backups and backups.made_at else None,
        backups.error if backups and settings.BACKUP_EVERY else "",
    )


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def place() -> Place:
    """A few looks at the file system."""
    folder = Path(settings.DATA_DIR)
    free = size = made = None
    with suppress(OSError):
        size, _, free = disk_usage(folder)
    with suppress(OSError):
        made = backup.last_made()
    return Place(known_parts(), free, size, made)


def backup_age(place: Place | None, work: Work | None) -> float | None:
    """Seconds since the last backup, whoever made it; None: nobody knows of one."""
    known = [found.backup_at for found in (place, work) if found and found.backup_at is not None]
    return max(0.0, time.time() - max(known)) if known else None


def old_backup() -> float:
    """Seconds from which on the last backup is an old one."""
    return max(2 * 24, 2 * settings.BACKUP_EVERY) * 3600.0


def known_parts() -> list[Part]:
    """Those of every supervisor; and the embedder where another container runs it, as far as it can be reached."""
    found: list[Part] = []
    with suppress(OSError):
        found = parts.known(Path(settings.DATA_DIR))
    if settings.EMBEDDER and not any(part.name == EMBEDDER for part in found):
        found.append(Part(EMBEDDER, parts.UP if _embedder_is_reached() else UNREACHABLE))
    return found


def broken() -> list[Part]:
    """Parts that should do their work and do not."""
    return [part for part in known_parts() if part.state in BROKEN]


def not_ready() -> str:
    """Why this server does not take questions yet; "" when it does."""
    return "The first start is under way." if firststart.is_under_way() else ""


def details() -> list[str]:
    """What is missing while it takes questions all the same."""
    return [f"{part.name} is {WORDS[part.state]}." for part in broken()]


def _embedder_is_reached() -> bool:
    from privategpt.retrieval.embedders import EmbedderUnavailable
    from privategpt.retrieval.embedding_process import is_reachable, socket_path

    try:
        return is_reachable(socket_path(Path(settings.DATA_DIR)))
    except EmbedderUnavailable:
        return False
