"""What was said before: relays may go on with a conversation by sending nothing but the next question."""

from collections import OrderedDict
from collections.abc import Sequence

from privategpt.llm.base import Message

CONVERSATIONS = 256
TURNS = 40
CHARACTERS = 64_000  # of one conversation


class Transcripts:
    """The latest turns of the conversations used last, in memory, bounded in every direction."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[Message]] = OrderedDict()

    def before(self, conversation: str) -> list[Message]:
        return list(self._kept.get(conversation, ()))

    def keep(self, conversation: str, messages: Sequence[Message], answer: str) -> None:
        """`messages` is all that the answer was given to; it takes the place of what was kept before."""
        turns = [*messages, Message("assistant", answer)][-TURNS:]
        while len(turns) > 2 and sum(len(turn.content) for turn in turns) > CHARACTERS:
            del turns[0]
        self._kept[conversation] = turns
        self._kept.move_to_end(conversation)
        if len(self._kept) > CONVERSATIONS:
            self._kept.popitem(last=False)
