"""Who is on this machine: from loopback, by loopback's name, and through nobody else.

Trust by address is given to what a program or a browser of this machine sends by itself, and to nothing more. A proxy
is not known by the headers that it adds (there are dozens of kinds) but by having added any; a page of elsewhere by
its origin, or by the name that it has made to point here."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
# What a program, a browser or a tracing library sends, and what our contracts know. Whoever sends anything else shows
# a key. A stranger can leave out what betrays them only if no proxy adds it behind them.
OF_ONE_S_OWN = frozenset(
    b"accept accept-charset accept-encoding accept-language authentication authorization b3 baggage cache-control "
    b"connection content-length content-type cookie dnt expect host http2-settings idempotency-key if-match "
    b"if-modified-since if-none-match if-range if-unmodified-since keep-alive last-event-id origin pragma priority "
    b"purpose range referer save-data sentry-trace te traceparent tracestate trailer transfer-encoding upgrade "
    b"upgrade-insecure-requests user-agent x-prometheus-scrape-timeout-seconds x-request-id x-requested-with".split()
)
OF_BROWSERS = (b"sec-", b"access-control-request-")  # no script may set those
# What `Connection` may name. A proxy that is told to drop a header drops the one that would have betrayed it.
HOPS = {b"", b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings"}
OWN_SITE = {b"none", b"same-origin"}

Headers = Iterable[tuple[bytes, bytes]]  # names in lower case


def is_loopback(address: str | None, headers: Headers, *, http: str = "1.1", pages: Collection[str] = ()) -> bool:
    """Whether a request may be trusted for its address. `pages`: origins of elsewhere that may send it as well."""
    if address not in LOOPBACK or http == "1.0":  # which proxies still speak by default, and nobody else does
        return False
    found = list(headers)
    hosts = [value for name, value in found if name == b"host"]
    origins = [value.decode("latin-1") for name, value in found if name == b"origin"]
    return (
        all(name in OF_ONE_S_OWN or name.startswith(OF_BROWSERS) for name, _ in found)
        and all(_hops(value) <= HOPS for name, value in found if name == b"connection")
        and len(hosts) == 1
        and is_loopback_name(hosts[0])
        and all(origin in pages for origin in origins)
        and (bool(origins) or all(value in OWN_SITE for name, value in found if name == b"sec-fetch-site"))
    )


def is_from_here(request: HttpRequest) -> bool:
    """The same for one of Django's requests."""
    scope: dict[str, Any] | None = getattr(request, "scope", None)
    if scope is None:
        named = ((name.lower().replace("_", "-").encode(), value) for name, value in request.headers.items())
        headers: Headers = [(name, value.encode("utf-8", "surrogateescape")) for name, value in named]
        return is_loopback(request.META.get("REMOTE_ADDR"), headers)
    return is_loopback(request.META.get("REMOTE_ADDR"), scope["headers"], http=scope.get("http_version", "1.1"))


def is_loopback_name(host: bytes) -> bool:
    """`localhost` or an address of loopback, with or without a port."""
    name, _ = split_domain_port(host.decode("latin-1"))
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def is_addressed(hosts: Collection[bytes]) -> bool:
    """Whether these values of `Host` name this server: one of ALLOWED_HOSTS, or loopback."""
    if len(hosts) != 1:
        return False
    (host,) = hosts
    name, _ = split_domain_port(host.decode("latin-1"))
    return bool(name) and (validate_host(name, settings.ALLOWED_HOSTS) or is_loopback_name(host))


def _hops(value: bytes) -> set[bytes]:
    return {part.strip().lower() for part in value.split(b",")}
