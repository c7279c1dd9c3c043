"""The line between two processes: whole notes in their order, or none; and nothing that belongs to another line."""

from __future__ import annotations

import pytest

from relay import links, notes
from relay.links import Broken, Greeting, Link, Parcel


def pair() -> tuple[Link, Link]:
    """Two ends that have greeted each other."""
    here, there = Link("here", "there"), Link("there", "here")
    assert there.greeted(greeting_of(here))
    assert here.greeted(greeting_of(there))
    return here, there


def greeting_of(link: Link) -> Greeting:
    found = links.opened(link.greeting())
    assert isinstance(found, Greeting)
    return found


def parcel_of(link: Link) -> Parcel:
    sealed = link.next_parcel()
    assert sealed
    found = links.opened(sealed)
    assert isinstance(found, Parcel)
    return found


def acknowledged(link: Link) -> Parcel:
    found = links.opened(link.sign_of_life())
    assert isinstance(found, Parcel)
    return found


def test_notes_come_whole_and_in_order() -> None:
    here, there = pair()
    sent: list[notes.Note] = [notes.Went(str(number)) for number in range(3)]
    sent.append(notes.Heard("agent", "frame", "ChatGptResponse", "x" * (3 * links.PIECE)))
    sent.append(notes.Put("agent", "frame", "owner", "ä😀", 7))
    for note in sent:
        here.write(note)
    got: list[notes.Note] = []
    while here._out:
        got += there.read(parcel_of(here))
    assert got == sent


def test_a_lost_parcel_breaks_the_line() -> None:
    here, there = pair()
    here.write(notes.Went("one"))
    here.next_parcel()
    here.write(notes.Went("two"))
    with pytest.raises(Broken):
        there.read(parcel_of(here))


def test_a_note_that_cannot_be_read_breaks_the_line() -> None:
    here, there = pair()
    parcel = Parcel("here", here.session, there.session, 1, 0, b"\0\0\0\1\xc1")
    with pytest.raises(Broken):
        there.read(parcel)
    endless = Parcel("here", here.session, there.session, 2, 0, b"\xff\xff\xff\xff")
    with pytest.raises(Broken):
        there.read(endless)


def test_what_belongs_to_an_earlier_line_is_not_read() -> None:
    here, there = pair()
    here.write(notes.Went("late"))
    late = parcel_of(here)
    assert there.is_mine(late)
    reborn = Link("here", "there")
    assert there.greeted(greeting_of(reborn))
    assert not there.is_mine(late)
    assert not there.greeted(greeting_of(reborn))  # said twice, begun once


def test_no_more_is_under_way_than_the_window_and_no_more_waits_than_the_queue_holds() -> None:
    here, there = pair()
    note = notes.Heard("agent", "frame", "ChatGptDelta", "x" * links.PIECE)
    for _ in range(links.MOST_QUEUED // links.PIECE):
        here.write(note)
    with pytest.raises(OSError, match="does not keep up"):
        here.write(note)
    parcels = []
    while sealed := here.next_parcel():
        parcels.append(links.opened(sealed))
    assert sum(len(parcel.data) for parcel in parcels if isinstance(parcel, Parcel)) <= links.WINDOW + links.PIECE
    for parcel in parcels:
        assert isinstance(parcel, Parcel)
        there.read(parcel)
    assert there.must_answer
    here.read(acknowledged(there))
    assert here.next_parcel() is not None
    assert not there.must_answer


def test_what_is_not_acknowledged_is_known_by_its_age() -> None:
    here, there = pair()
    assert here.oldest_unanswered == float("inf")
    here.write(notes.Went("agent"))
    there.read(parcel_of(here))
    assert here.oldest_unanswered < float("inf")
    here.read(acknowledged(there))
    assert here.oldest_unanswered == float("inf")
