"""What the first start gives away once: the first administrator's password and the admin key."""

from __future__ import annotations

import logging
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Token, User
from privategpt import rundir
from privategpt.rundir import Lock

logger = logging.getLogger(__name__)

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that looks like another
LENGTH = 16  # of them: 93 bits
NAME = "Administrator"  # the first one's, until they give themselves another
BUILT_IN = "built-in agent, issued by serve"  # the name of its token

WEAK, FEW_LETTERS = 16, 8  # a key that is shorter, or made of fewer different characters, is soon found by trying

_held: dict[Path, Lock] = {}


@dataclass(frozen=True, slots=True)
class Administrator:
    """The first administrator as they were just made."""

    email: str
    password: str  # "" when ADMIN_PASSWORD said it


class BadSetting(Exception):
    """Says which variable, and what to do."""


def check_administrator() -> None:
    """Raises BadSetting when the first administrator could not be made."""
    if has_administrator():
        return
    try:
        validate_email(settings.ADMIN_EMAIL)
    except ValidationError:
        raise BadSetting(f"ADMIN_EMAIL is {settings.ADMIN_EMAIL!r}, which is no e-mail address.") from None
    if User.objects.filter(email=settings.ADMIN_EMAIL).exists():
        raise BadSetting(
            f"ADMIN_EMAIL {settings.ADMIN_EMAIL} belongs to somebody who is no administrator; set another."
        )
    if settings.ADMIN_PASSWORD:
        _check_password()


def _check_password() -> None:
    try:
        validate_password(settings.ADMIN_PASSWORD, User(email=settings.ADMIN_EMAIL, name=NAME))
    except ValidationError as fault:
        raise BadSetting(f"ADMIN_PASSWORD cannot be taken. {' '.join(fault.messages)}") from None


def has_administrator() -> bool:
    """Whether anybody can do everything."""
    return User.objects.filter(is_superuser=True).exists()


def first_administrator() -> Administrator | None:
    """Makes the first administrator; None when there is one."""
    if has_administrator():
        return None
    password = settings.ADMIN_PASSWORD or "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    try:
        with transaction.atomic():
            user = User.objects.create_superuser(settings.ADMIN_EMAIL, password, name=NAME)
    except IntegrityError:
        if not has_administrator():
            raise
        return None  # another start on the same database was quicker, and showed the password
    audit.record("add first administrator", user, way="command")
    return Administrator(str(user.email), "" if settings.ADMIN_PASSWORD else password)


def begin() -> None:
    """From now until `done` the server is not ready, if nobody can sign in yet."""
    if has_administrator():
        done()
    else:
        lock = _marker()
        if lock.take():
            _held[lock.path] = lock


def done() -> None:
    """The administrator can sign in, and whatever else a first start makes is there."""
    lock = _marker()
    lock.path.unlink(missing_ok=True)
    _held.pop(lock.path, lock).release()


def is_under_way() -> bool:
    """Whether the first start on this data folder has not done all yet. One that was killed when it
    had made its administrator is over."""
    lock = _marker()
    return lock.path.exists() and (lock.is_held() or not has_administrator())


def _marker() -> Lock:
    """The kernel lets go of it when the process ends that makes the first start, however it ends."""
    return Lock(rundir.place(Path(settings.DATA_DIR)) / "first_start")


def agent_key() -> str:
    """A new key of this machine's token for the built-in agent. The token stays the same, and with it the agent's
    connection id. Each machine of a house has its own: a start of one must not end the key of another."""
    name = f"{BUILT_IN} on {socket.gethostname()}"[:100]
    live = Token.objects.live().filter(kind=Token.Kind.AGENT)
    token = live.filter(name=name).first() or live.filter(name=BUILT_IN).first()  # as earlier releases named it
    if token is None:
        return Token.objects.issue(Token.Kind.AGENT, name=name)[1]
    Token.objects.filter(pk=token.pk).update(name=name)
    return token.renew()


def warn_of_weak_key(key: str) -> None:
    """Contract 1 lets the admin key be anything, so one that can be found by trying is not refused."""
    if len(key) < WEAK or len(set(key)) < FEW_LETTERS:
        logger.warning(
            "The admin key can be guessed, and it may do everything. Leave ADMIN_KEY out, and one is made at random "
            "and kept in DATA_DIR; or set a long random text."
        )


class KeyFile:
    """The admin key's file, and whether somebody has seen what is in it."""

    def __init__(self) -> None:
        self.path = Path(settings.DATA_DIR) / "admin_key"
        self._shown = Path(settings.DATA_DIR) / ".admin_key_shown"

    def is_new(self) -> bool:
        """The key has not been shown since it was made."""
        return not self._shown.exists() or self._shown.stat().st_mtime_ns < self.path.stat().st_mtime_ns

    def note_shown(self) -> None:
        """From now on only the file's path is shown."""
        self._shown.touch()
