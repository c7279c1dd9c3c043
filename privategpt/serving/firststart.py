"""What the first start gives away once: the first administrator's password and the admin key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Token, User
from privategpt import rundir

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that looks like another
LENGTH = 16  # of them: 93 bits
BUILT_IN = "built-in agent, issued by serve"  # the name of its token


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
            user = User.objects.create_superuser(settings.ADMIN_EMAIL, password)
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
        _marker().touch(mode=0o600)


def done() -> None:
    """The administrator can sign in, and whatever else a first start makes is there."""
    _marker().unlink(missing_ok=True)


def is_under_way() -> bool:
    """Whether the first start on this data folder has not done all yet."""
    return _marker().exists()


def _marker() -> Path:
    return rundir.place(Path(settings.DATA_DIR)) / "first_start"


def agent_key() -> str:
    """A new key of the built-in agent's token. The token stays the same, and with it the agent's connection id."""
    token = Token.objects.live().filter(kind=Token.Kind.AGENT, name=BUILT_IN).first()
    return token.renew() if token else Token.objects.issue(Token.Kind.AGENT, name=BUILT_IN)[1]


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
