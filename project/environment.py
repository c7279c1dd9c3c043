"""Settings from the environment, and the secrets that the data folder keeps.

Each helper fails with one sentence that names the variable and what it may hold."""

import os
import secrets
from collections.abc import Collection
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured

ON = {"1", "on", "true", "yes"}
OFF = {"0", "off", "false", "no"}


def text(name: str, default: str = "") -> str:
    """The variable without blanks around it; an empty one counts as not set."""
    return os.environ.get(name, "").strip() or default


def switch(name: str, default: bool) -> bool:
    """Raises ImproperlyConfigured on anything but on/off, yes/no, true/false, 1/0."""
    value = text(name).lower()
    if not value:
        return default
    if value in ON | OFF:
        return value in ON
    raise ImproperlyConfigured(f"{name} is {value!r}; set it to on or off.")


def number(name: str, default: float, *, least: float = 0) -> float:
    """Raises ImproperlyConfigured on what is no number or lies under `least`."""
    value = text(name)
    try:
        found = float(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to a number.") from None
    if not least <= found < float("inf"):
        raise ImproperlyConfigured(f"{name} is {value!r}; the least is {least:g}.")
    return found


def whole(name: str, default: int, *, least: int = 0) -> int:
    """Raises ImproperlyConfigured on what is no whole number or lies under `least`."""
    value = number(name, default, least=least)
    if value != int(value):
        raise ImproperlyConfigured(f"{name} is {value:g}; set it to a whole number.")
    return int(value)


def names(name: str, default: str = "") -> list[str]:
    """A comma-separated list; blanks and empty entries fall away."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def one_of(name: str, choices: Collection[str]) -> str:
    """One of the choices, or empty. Raises ImproperlyConfigured."""
    value = text(name)
    if value and value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; known: {', '.join(choices)}.")
    return value


REDIS_SCHEMES = ("redis", "rediss", "unix")
REDIS_OPTIONS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
REDIS_SOCKET_OPTIONS = {"db", "username", "password"}


def redis_url(name: str) -> str:
    """A Redis server's URL, or empty. Raises ImproperlyConfigured; a password in it is not repeated."""
    value = text(name)
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in REDIS_SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
        is_good = is_good and (parts.scheme == "unix" or (parts.port != 0 and is_number_or_none(parts.path)))
    except ValueError:  # a port that is no number
        is_good = False
    if not is_good:
        raise ImproperlyConfigured(
            f"{name} is no Redis URL; set it to redis://HOST:6379, rediss://USER:PASSWORD@HOST:6379 or unix:///PATH "
            "(in a password, @ is written %40, and / is %2F)."
        )
    known = {"rediss": REDIS_OPTIONS, "unix": REDIS_SOCKET_OPTIONS}.get(parts.scheme, set())
    if strangers := sorted({option for option, _ in parse_qsl(parts.query, keep_blank_values=True)} - known):
        choice = f"known with {parts.scheme}://: {', '.join(sorted(known)) or 'none'}"
        raise ImproperlyConfigured(f"{name} has the option {strangers[0]}; {choice}.")
    return value


def is_number_or_none(path: str) -> bool:
    """Whether a URL's path is a database's number, or leaves it out."""
    found = path.strip("/")
    return not found or (found.isascii() and found.isdecimal())


LEAST_SECRET = 16  # characters of a secret that signs cookies and digests keys


def long_enough(name: str, value: str) -> str:
    """The secret, or empty. Raises ImproperlyConfigured when it could be found by trying, without repeating it."""
    if value and len(value) < LEAST_SECRET:
        raise ImproperlyConfigured(
            f"{name} has {len(value)} characters; the least is {LEAST_SECRET}. Set it to a long random text "
            "(`openssl rand -base64 48`), or leave it out: then one is made at random and kept in DATA_DIR."
        )
    return value


def found_secret(path: Path) -> str:
    """The secret in this file; "" when there is none. For programs that must not make one up."""
    return path.read_text().strip() if path.is_file() else ""


def kept_secret(path: Path, size: int = 24) -> tuple[str, bool]:
    """The secret in this file, made of so many random bytes when there is none; True when it is new.

    The file is created with mode 0600 and whole or not at all, so two processes
    that start at once agree on one secret. Raises ImproperlyConfigured.
    """
    try:
        new = _made(path, size)
        found = path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{error}; set DATA_DIR to a folder that can be written.") from error
    if not found:
        raise ImproperlyConfigured(f"{path} is empty; delete it and start again to get a new secret.")
    return found, new


def _made(path: Path, size: int) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(size) + "\n")
        os.link(draft, path)  # fails when the name is taken: the first one wins
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
