"""Redis before the start: whether it answers. Later on it may come and go."""

from __future__ import annotations

from urllib.parse import urlsplit

from privategpt.serving.firststart import BadSetting

WITHIN = 3.0  # seconds


def check(url: str) -> None:
    """Does nothing when no Redis is set. Raises BadSetting when it does not answer; the password is not repeated."""
    if not url:
        return
    import redis  # only where one is set: it takes a tenth of the start

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=WITHIN, socket_timeout=WITHIN) as client:
            client.ping()
    except redis.AuthenticationError:
        raise BadSetting(
            f"Redis at {_where(url)} refuses the user or the password in REDIS_URL; correct them."
        ) from None
    except (redis.RedisError, OSError, ValueError) as error:
        raise BadSetting(
            f"No Redis answers at {_where(url)} ({_reason(error)}); start it, correct REDIS_URL, "
            "or take REDIS_URL away to run with one web process."
        ) from None


def _where(url: str) -> str:
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
