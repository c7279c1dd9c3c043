"""Redis before the start: whether it answers. Later on it may come and go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from privategpt.serving.firststart import BadSetting
from privategpt.serving.patience import Away, patiently

if TYPE_CHECKING:
    from redis import Redis

WITHIN = 3.0  # seconds
CHANNELS = ("switchboard:start", "switchboard-start")  # as the relay's and the channel layer's names begin
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in the words of OpenSSL


def check(url: str) -> None:
    """Does nothing when no Redis is set, and waits a little for one that is away. Raises BadSetting when it does not
    answer; the password is not repeated."""
    if not url:
        return
    try:
        patiently(lambda: _check(url))
    except Away as reason:
        raise BadSetting(
            f"{str(reason).rstrip('.')}; start it, correct REDIS_URL, "
            "or take REDIS_URL away to run with one web process."
        ) from None


def _check(url: str) -> None:
    """Raises BadSetting, Away."""
    import redis  # only where one is set: it takes a tenth of the start

    if missing := [path for path in _files(url) if not os.access(path, os.R_OK)]:
        raise BadSetting(
            f"The file {missing[0]}, which REDIS_URL names, cannot be read; correct the path or its rights."
        )
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=WITHIN, socket_timeout=WITHIN) as client:
            _try_out(client)
    except redis.AuthenticationError:
        raise BadSetting(
            f"Redis at {_where(url)} refuses the user or the password in REDIS_URL; correct them."
        ) from None
    except redis.exceptions.NoPermissionError as error:
        raise BadSetting(
            f"Redis at {_where(url)} does not let the user in REDIS_URL do what is needed ({_reason(error)}); "
            "docs/scaling.md names the rights."
        ) from None
    except (redis.RedisError, OSError, ValueError) as error:
        if UNTRUSTED in str(error):
            raise BadSetting(
                f"Redis at {_where(url)} shows a certificate that is not trusted ({_reason(error)}); name its "
                "authority's file in REDIS_URL (rediss://...?ssl_ca_certs=/PATH), and the host as the certificate does."
            ) from None
        raise Away(f"No Redis answers at {_where(url)} ({_reason(error)}).") from None


def _try_out(client: Redis) -> None:
    """What the server does with it later on, where a right that lacks would look like silence. Raises RedisError."""
    client.ping()
    with client.pubsub() as ear:  # type: ignore[no-untyped-call]
        for channel in CHANNELS:
            ear.execute_command("SUBSCRIBE", channel)
            ear.parse_response()
            client.publish(channel, b"")


def _files(url: str) -> list[str]:
    """Certificates and keys that the URL names."""
    options = dict(parse_qsl(urlsplit(url).query))
    return [options[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in options]


def _where(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
