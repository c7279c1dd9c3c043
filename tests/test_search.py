"""Search: what is found, in which order, and by whom. Alice and Bob share a group, Charlie stands outside."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from django.db import connection

from accounts.models import Group, User
from privategpt.models import Passage, Source, Vector
from privategpt.retrieval.embedders import EmbedderUnavailable
from privategpt.retrieval.index import passage_text
from privategpt.retrieval.indexes import index
from privategpt.retrieval.matrix import Floats, packed
from privategpt.retrieval.search import PER_SOURCE, WORDS_CHOSEN, Found, Searcher, Ways, fused

pytestmark = pytest.mark.django_db

SIZE = 64


def meaning_of(text: str) -> Floats:
    """A unit vector in which texts that share words are near."""
    row = np.zeros(SIZE, np.float32)
    for word in text.lower().split():
        row[hashlib.sha256(word.strip(".?!").encode()).digest()[0] % SIZE] += 1
    return row / max(float(np.linalg.norm(row)), 1e-9)


@dataclass
class Here:
    rows: Floats
    identity: str = "fake/1"
    related: float | None = None

    def embedded(self, timeout: float) -> "Here":
        return self


class FakeQuestions:
    def ask(self, question: str) -> Here:
        return Here(meaning_of(question)[None, :])


class NoAnswer:
    def ask(self, question: str) -> "NoAnswer":
        return self

    def embedded(self, timeout: float) -> Here:
        raise EmbedderUnavailable("The embedder is too slow just now.")


def stored(title: str, content: str, *groups: Group, public: bool = False) -> Source:
    source = Source.objects.create(title=title, content=content, is_public=public)
    source.groups.set(groups)
    index().store(source)
    return source


def embed_all() -> None:
    for row in Passage.objects.without_vector("fake/1").select_related("source"):
        Vector.objects.create(passage=row, embedder="fake/1", data=packed(meaning_of(passage_text(row))[None, :])[0])


def by_words(question: str, user: User) -> Found:
    return Searcher(index()).search(question, Source.objects.visible_to(user))


@pytest.fixture
def circle() -> Group:
    return Group.objects.create(name="circle")


@pytest.fixture
def alice(circle: Group) -> User:
    user = User.objects.create_user("alice@example.com")
    user.groups.add(circle)
    return user


@pytest.fixture
def charlie() -> User:
    return User.objects.create_user("charlie@example.com")


def test_a_source_is_found_the_moment_it_is_stored(alice: User, circle: Group) -> None:
    source = stored("Boiler", "The boiler is inspected every March.", circle)
    found = by_words("When are boilers inspected?", alice)
    assert found.sources == [source.pk]
    hit = found.hits[0]
    assert source.content[hit.start : hit.end] == hit.text
    assert "words alone" in found.note


def test_a_stranger_finds_nothing_of_it(charlie: User, circle: Group) -> None:
    stored("Boiler", "The boiler is inspected every March.", circle)
    assert by_words("When are boilers inspected?", charlie).hits == []


def test_a_stranger_finds_nothing_by_meaning_either(alice: User, charlie: User, circle: Group) -> None:
    stored("Boiler", "The boiler is inspected every March.", circle)
    public = stored("Garden", "Roses want sun.", public=True)
    embed_all()
    searcher = Searcher(index(), FakeQuestions())
    assert searcher.search("boiler", Source.objects.visible_to(charlie)).sources == [public.pk]
    assert len(searcher.search("boiler", Source.objects.visible_to(alice)).sources) == 2


def test_a_right_taken_away_works_at_once(alice: User, circle: Group) -> None:
    stored("Boiler", "The boiler is inspected every March.", circle)
    alice.groups.remove(circle)
    assert by_words("boiler", alice).hits == []


def test_who_is_in_two_groups_gets_each_passage_once(alice: User, circle: Group) -> None:
    other = Group.objects.create(name="other")
    alice.groups.add(other)
    stored("Boiler", "The boiler is inspected every March.", circle, other)
    assert len(by_words("boiler", alice).hits) == 1


def test_one_source_does_not_take_all_places(alice: User) -> None:
    section = "The pump needs oil. " * 60
    long = stored("Manual", "\n\n".join(f"# Part {number}\n\n{section}" for number in range(8)), public=True)
    short = stored("Note", "Ask Eve for pump oil.", public=True)
    found = by_words("pump oil", alice)
    assert set(found.sources) == {long.pk, short.pk}
    assert sum(hit.source == long.pk for hit in found.hits) == PER_SOURCE


def test_at_most_so_many_sources_are_found(alice: User) -> None:
    for number in range(5):
        stored(f"Note {number}", f"Pump number {number}.", public=True)
    found = Searcher(index()).search("pump", Source.objects.visible_to(alice), limit=3)
    assert len(found.sources) == 3


def test_the_same_question_gets_the_same_order(alice: User) -> None:
    for _ in range(6):
        stored("Note", "Pumps need oil.", public=True)
    assert by_words("pump", alice).sources == by_words("pump", alice).sources


def test_words_of_another_language_meet_their_stems(alice: User) -> None:
    german = stored("Haus", "Die Häuser in der Stadt sind alt und nicht sehr hoch.", public=True)
    stored("House", "The houses of the town are old and they are not very high.", public=True)
    assert by_words("Haus", alice).sources == [german.pk]


def test_one_ideograph_finds_the_words_it_begins(alice: User) -> None:
    source = stored("水道", "水道在地下。", public=True)
    assert by_words("水", alice).sources == [source.pk]


@pytest.mark.parametrize(
    "question", ['"', "AND", "NEAR(a b)", "pump*", "body:pump", "", "\x00", "'; DROP TABLE", "^-+{}()"]
)
def test_no_question_is_a_query_language(question: str, alice: User) -> None:
    stored("Note", "Pumps need oil.", public=True)
    by_words(question, alice)


def test_meaning_finds_what_words_do_not(alice: User) -> None:
    source = stored("Note", "Pumps need oil.", public=True)
    Vector.objects.create(
        passage=source.passages.get(), embedder="fake/1", data=packed(meaning_of("lubricant")[None, :])[0]
    )
    found = Searcher(index(), FakeQuestions()).search("lubricant", Source.objects.visible_to(alice))
    assert found.sources == [source.pk]
    assert found.note == ""
    assert found.hits[0].cosine == pytest.approx(1, abs=0.01)


def test_without_the_embedder_words_do_and_it_is_said(alice: User) -> None:
    source = stored("Note", "Pumps need oil.", public=True)
    found = Searcher(index(), NoAnswer()).search("pump", Source.objects.visible_to(alice))
    assert found.sources == [source.pk]
    assert found.note == "The embedder is too slow just now. Searched by words alone."


def test_new_and_deleted_vectors_are_followed(alice: User) -> None:
    searcher = Searcher(index(), FakeQuestions())
    first = stored("Note", "Pumps need oil.", public=True)
    embed_all()
    assert searcher.search("pumps", Source.objects.visible_to(alice)).sources == [first.pk]
    second = stored("Note", "Pumps are loud.", public=True)
    first.delete()
    embed_all()
    assert searcher.search("pumps", Source.objects.visible_to(alice)).sources == [second.pk]


def test_deleting_a_source_leaves_nothing_behind(circle: Group) -> None:
    stored("Boiler", "The boiler is inspected every March.", circle).delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM privategpt_words")
        assert cursor.fetchone() == (0,)


def test_an_edit_keeps_what_did_not_change(alice: User) -> None:
    section = "Pumps need oil. " * 100
    source = stored("Manual", f"# One\n\n{section}\n\n# Two\n\n{section}", public=True)
    embed_all()
    before = set(source.passages.values_list("pk", flat=True))
    source.content = f"# Zero\n\nValves are loud. {section}\n\n{source.content}"
    source.save()
    index().store(source)
    rows = list(source.passages.order_by("position"))
    assert before < {row.pk for row in rows}
    assert all(source.content[row.start : row.end] == row.text for row in rows)
    assert source.passages_done == len(before)
    assert Passage.objects.without_vector("fake/1").count() == len(rows) - len(before)
    assert by_words("valves", alice).sources == [source.pk]


def test_an_edit_forgets_what_is_gone(alice: User) -> None:
    source = stored("Note", "Pumps need oil.", public=True)
    source.content = "Valves need grease."
    source.save()
    index().store(source)
    assert by_words("pumps", alice).hits == []
    assert by_words("grease", alice).sources == [source.pk]


def test_scores_are_stretched_and_added() -> None:
    ranked = fused([(1, 10.0), (2, 5.0), (3, 0.0)], [(2, 0.9), (3, 0.8)])
    assert ranked == [(2, 1.5), (1, 1.0), (3, 0.0)]


def test_what_has_no_vector_yet_keeps_its_place_by_words() -> None:
    ranked = fused([(1, 10.0), (2, 4.0), (3, 0.0)], [(2, 0.9), (3, 0.8)], without_vector=[1])
    assert [passage for passage, _ in ranked] == [1, 2, 3]


def test_an_embedded_text_about_something_else_does_not_stand_before_a_new_one(alice: User) -> None:
    stored("Weather", "Rain falls on the plain.", public=True)
    embed_all()
    fresh = stored("Pumps", "Pumps need oil every week.", public=True)
    found = Searcher(index(), FakeQuestions()).search("How often do pumps need oil?", Source.objects.visible_to(alice))
    assert found.sources[0] == fresh.pk


def test_one_may_search_by_words_or_by_meaning_alone(alice: User) -> None:
    near = stored("Oil", "grease grease grease", public=True)
    said = stored("Pumps", "Pumps", public=True)
    embed_all()
    searcher, visible = Searcher(index(), FakeQuestions()), Source.objects.visible_to(alice)
    words = searcher.search("pumps", visible, ways=Ways(meaning=False))
    assert (words.sources, words.vector, words.note) == ([said.pk], None, WORDS_CHOSEN)
    meaning = searcher.search("grease", visible, ways=Ways(words=False))
    assert meaning.sources[0] == near.pk
    assert meaning.vector is not None
    assert searcher.search("pumps", visible, ways=Ways(words=False, meaning=False)).hits == []


def test_a_search_asks_a_bounded_number_of_queries(alice: User, django_assert_max_num_queries: object) -> None:
    for number in range(30):
        stored(f"Note {number}", "Pumps need oil.", public=True)
    embed_all()
    searcher = Searcher(index(), FakeQuestions())
    searcher.search("pump", Source.objects.visible_to(alice))
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        searcher.search("pump", Source.objects.visible_to(alice))
