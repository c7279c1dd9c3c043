"""One process's line to another: notes as a stream of bytes, cut into numbered and acknowledged parcels.

Nothing here knows what carries the parcels. What does may lose them, and then the line is broken and begun
anew: there is no sending again, since whoever asks knows best whether an ask may be repeated."""

from __future__ import annotations

import secrets
import time
from collections import deque

import msgspec

from relay import notes

PIECE = 256 << 10  # bytes of a parcel: Redis closes a subscriber that is 32 MiB behind
WINDOW = 4 << 20  # bytes under way that the other side has not acknowledged
MOST_QUEUED = 32 << 20  # bytes that wait for the window; beyond that the other side counts as stuck
LONGEST_NOTE = 64 << 20  # bytes; an agent's frame is 8 MiB at the most, unless the settings say otherwise
ACK_AFTER = 1 << 20  # received bytes after which an acknowledgement does not wait for the next parcel
HEAD = 4  # bytes of a note's length


class Broken(Exception):
    """Something was lost on this line, or it is stuck."""


class Parcel(msgspec.Struct, array_like=True, tag=1):
    """A piece of the stream, or with the number 0 a bare acknowledgement."""

    node: str  # the sender
    mine: int  # the sender's session
    yours: int
    number: int
    heard: int  # the last number that the sender has received
    data: bytes


class Greeting(msgspec.Struct, array_like=True, tag=2):
    """Begins a line. `yours` is the receiver's session as far as the sender knows it, else 0."""

    node: str
    mine: int
    yours: int


class Hello(msgspec.Struct, array_like=True, tag=3):
    """To all: a process is there, and knows nobody."""

    node: str


class Farewell(msgspec.Struct, array_like=True, tag=4):
    """To all: a process has ended."""

    node: str


class Revoked(msgspec.Struct, array_like=True, tag=5):
    """To all: these tokens have ended, forget them and say so."""

    node: str
    number: int
    tokens: list[int]


class Forgotten(msgspec.Struct, array_like=True, tag=6):
    """The answer to that."""

    node: str
    number: int


Post = Parcel | Greeting | Hello | Farewell | Revoked | Forgotten
seal = msgspec.msgpack.Encoder().encode
opened = msgspec.msgpack.Decoder(Post).decode


class Link:
    """The line to one other process. Both sides have a session number, and both numbers together name the line:
    what belongs to another line is not read."""

    def __init__(self, own: str, node: str) -> None:
        self.own, self.node = own, node
        self.session = secrets.randbits(60) + 1
        self.peer = 0  # its session; 0: not heard of yet
        self.born = time.monotonic()
        self.heard = self.born  # last sign of life
        self.listed = False  # it has told its agents
        self._begin()

    def _begin(self) -> None:
        self._out = bytearray()
        self._sent: deque[tuple[int, int, float]] = deque()  # number, bytes, when
        self._unacked = 0
        self._number = 0
        self._received = 0
        self._unanswered = 0  # bytes received since the last acknowledgement
        self._in = bytearray()

    @property
    def is_open(self) -> bool:
        return self.peer != 0

    def greeted(self, greeting: Greeting) -> bool:
        """Takes up the other side's session; True when the line begins with that."""
        if self.peer == greeting.mine:
            return False
        self._begin()
        self.peer, self.heard, self.listed = greeting.mine, time.monotonic(), False
        return True

    def greeting(self) -> bytes:
        return seal(Greeting(self.own, self.session, self.peer))

    # -- out --------------------------------------------------------------------------------------

    def write(self, note: notes.Note) -> None:
        """Has it sent soon. Raises OSError when too much waits already: the other side is stuck."""
        if len(self._out) > MOST_QUEUED:
            raise ConnectionError("The other process does not keep up.")
        packed = notes.pack(note)
        self._out += len(packed).to_bytes(HEAD)
        self._out += packed

    def next_parcel(self) -> bytes | None:
        """The next piece, if there is one and the window allows it."""
        if not self._out or self._unacked >= WINDOW:
            return None
        data = bytes(self._out[:PIECE])
        del self._out[:PIECE]
        self._number += 1
        self._unacked += len(data)
        self._sent.append((self._number, len(data), time.monotonic()))
        return self._parcel(self._number, data)

    def sign_of_life(self) -> bytes:
        """A bare acknowledgement."""
        return self._parcel(0, b"")

    def _parcel(self, number: int, data: bytes) -> bytes:
        self._unanswered = 0
        return seal(Parcel(self.own, self.session, self.peer, number, self._received, data))

    @property
    def must_answer(self) -> bool:
        """Much has come that was not acknowledged."""
        return self._unanswered >= ACK_AFTER

    @property
    def oldest_unanswered(self) -> float:
        """When the oldest parcel was sent that is not acknowledged yet (monotonic); infinite when there is none."""
        return self._sent[0][2] if self._sent else float("inf")

    # -- in ---------------------------------------------------------------------------------------

    def is_mine(self, parcel: Parcel) -> bool:
        """Whether it belongs to this very line."""
        return parcel.mine == self.peer and parcel.yours == self.session

    def read(self, parcel: Parcel) -> list[notes.Note]:
        """The notes that are complete with this parcel. Raises Broken."""
        self.heard = time.monotonic()
        while self._sent and self._sent[0][0] <= parcel.heard:
            self._unacked -= self._sent.popleft()[1]
        if not parcel.number:
            return []
        if parcel.number != self._received + 1:
            raise Broken(f"parcel {parcel.number} came after {self._received}")
        self._received = parcel.number
        self._unanswered += len(parcel.data)
        self._in += parcel.data
        return self._complete()

    def _complete(self) -> list[notes.Note]:
        found: list[notes.Note] = []
        start = 0
        while len(self._in) - start >= HEAD:
            length = int.from_bytes(self._in[start : start + HEAD])
            if length > LONGEST_NOTE:
                raise Broken("a note is too long")
            if len(self._in) - start - HEAD < length:
                break
            start += HEAD
            try:
                found.append(notes.unpack(memoryview(self._in)[start : start + length].tobytes()))
            except msgspec.MsgspecError as fault:
                raise Broken(f"a note cannot be read: {fault}") from fault
            start += length
        del self._in[:start]
        return found
