"""What the processes of one house say to each other about their agents, and how it is packed (msgpack)."""

from typing import Final

import msgspec

GONE: Final = 1  # why a lent ask failed: its agent is not here (any more)
BUSY: Final = 2
RUBBISH: Final = 3


class Seen(msgspec.Struct, array_like=True):
    """An agent as its process lists it."""

    id: str
    name: str
    model: str
    concurrency: int
    stream: bool
    token: int | None
    address: str
    context: int = 0  # last, for a process of the release before does not send it


class Figure(msgspec.Struct, array_like=True):
    """How an agent stands. `taken`: its slots that are not the reader's own asks."""

    id: str
    taken: int
    is_resting: bool  # by an administrator
    is_cooling: bool  # after failures
    served: int
    heartbeat: float
    asked_at: float


class Came(msgspec.Struct, array_like=True, tag=1):
    """Agents dialled in. The first note on each link is one, with all that are there."""

    agents: list[Seen]


class Went(msgspec.Struct, array_like=True, tag=2):
    """The agent is not here any more."""

    agent: str


class Figures(msgspec.Struct, array_like=True, tag=3):
    """What has changed since the last time; and how many asks wait in this process."""

    agents: list[Figure]
    waiting: int


class Put(msgspec.Struct, array_like=True, tag=4):
    """An ask for one of your agents; `text` is the frame that it is sent."""

    agent: str
    frame: str
    owner: str
    text: str
    token: int | None = None  # that it was asked with; last, for a process of the release before does not send it


class Cancel(msgspec.Struct, array_like=True, tag=5):
    """Nobody waits for this answer any more."""

    agent: str
    frame: str


class Heard(msgspec.Struct, array_like=True, tag=6):
    """What the agent said to your ask."""

    agent: str
    frame: str
    message: str
    data: str


class Failed(msgspec.Struct, array_like=True, tag=7):
    """Your ask got no answer from this agent."""

    agent: str
    frame: str
    reason: int
    why: str


class HangUp(msgspec.Struct, array_like=True, tag=8):
    """Close this agent's socket: it has dialled in here."""

    agent: str
    code: int


class Probe(msgspec.Struct, array_like=True, tag=9):
    """Ask this agent for a sign of life."""

    agent: str


class Sign(msgspec.Struct, array_like=True, tag=10):
    """The agent that you asked about lives."""

    agent: str


class Leaving(msgspec.Struct, array_like=True, tag=11):
    """This process ends soon; its agents are told to dial in elsewhere."""


class Forget(msgspec.Struct, array_like=True, tag=12):
    """Conversations of this owner were deleted: memory of them is out of date."""

    owner: str


Note = Came | Went | Figures | Put | Cancel | Heard | Failed | HangUp | Probe | Sign | Leaving | Forget

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Note).decode
