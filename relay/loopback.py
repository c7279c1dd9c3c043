"""Who is on this machine: from loopback, and not through a proxy that runs here."""

from collections.abc import Iterable

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
# What a proxy adds. A stranger can add these too, and only loses the trust by it.
FORWARDING = {
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
    b"cf-connecting-ip",
    b"true-client-ip",
}


def is_loopback(address: str | None, header_names: Iterable[bytes]) -> bool:
    """True for a peer on loopback whose request carries no forwarding header (names in lower case)."""
    return address in LOOPBACK and FORWARDING.isdisjoint(header_names)
