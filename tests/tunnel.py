"""TLS in a thread of its own, for clients that read and write in two: an OpenSSL connection takes one at a time, and
Python before 3.13 lets both in, which now and then loses bytes and now and then ends the process."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import suppress

from tests.patience import PATIENCE

PIECE = 65_536  # bytes


def tunnel(port: int, trust: ssl.SSLContext, name: str) -> socket.socket:
    """A plain socket whose other end speaks TLS with that port of this machine, until either side closes.

    Raises OSError when nobody listens there."""
    reached = socket.create_connection(("127.0.0.1", port), PATIENCE)
    near, far = socket.socketpair()

    def run() -> None:
        with suppress(OSError):  # a side that is gone has closed the other
            asyncio.run(_carry(far, reached, trust, name))

    threading.Thread(target=run, daemon=True).start()
    return near


async def _carry(far: socket.socket, reached: socket.socket, trust: ssl.SSLContext, name: str) -> None:
    here, to_here = await asyncio.open_connection(sock=far)
    try:
        there, to_there = await asyncio.open_connection(sock=reached, ssl=trust, server_hostname=name)
    except BaseException:
        to_here.close()
        raise
    ways = [asyncio.create_task(_pump(here, to_there)), asyncio.create_task(_pump(there, to_here))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for writer in (to_here, to_there):
        writer.close()
    await asyncio.wait(ways)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()
