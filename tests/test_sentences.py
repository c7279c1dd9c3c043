"""Answers without a model: which sentences are quoted, and when nothing is."""

import uuid
from collections.abc import Sequence

import numpy as np
import pytest

from privategpt.retrieval.analyse import question_terms
from privategpt.retrieval.matrix import Floats
from privategpt.retrieval.search import Background, Found, Hit, Weighed
from privategpt.retrieval.sentences import LONGEST_ANSWER, answer, sentences

TEXT = (
    "The boiler stands in the cellar. It is inspected every March by Smith & Sons. "
    "The last report is kept in the office. Nobody may open the cover."
)


def hit(text: str, *, start: int = 0, title: str = "Boiler", language: str = "en", score: float = 2.0) -> Hit:
    return Hit(
        passage=start + 1,
        source=uuid.UUID(int=1),
        title=title,
        heading="",
        start=start,
        end=start + len(text),
        text=text,
        language=language,
        score=score,
        cosine=None,
    )


def found(question: str, *hits: Hit, language: str = "en", background: Background | None = None) -> Found:
    terms = [Weighed(term, 3.0) for term in question_terms(question, [language])]
    vector = np.array([1, 0], np.float32) if background else None
    return Found(list(hits), [], terms, vector, background)


def cut(text: str) -> list[str]:
    return [sentence.text for sentence in sentences(text)]


def test_the_sentence_that_answers_is_quoted_with_its_place() -> None:
    given = answer(found("Who inspects the boiler?", hit(TEXT, start=100)))
    assert not given.refused
    quote = next(quote for quote in given.quotes if "Smith" in quote.text)
    assert TEXT[quote.start - 100 : quote.end - 100] == quote.text


def test_quotes_stand_in_reading_order_and_are_short() -> None:
    given = answer(found("boiler cellar report office", hit(TEXT)))
    assert [quote.start for quote in given.quotes] == sorted(quote.start for quote in given.quotes)
    assert 1 <= len(given.quotes) <= 3
    assert len(given.text.split()) <= LONGEST_ANSWER


def test_what_the_sources_do_not_say_is_refused() -> None:
    given = answer(found("Which painter lived in Amsterdam?", hit(TEXT)))
    assert given.refused
    assert given.text == ""


@pytest.mark.parametrize("question", ["", "???", "boiler"])
def test_without_hits_it_refuses(question: str) -> None:
    assert answer(found(question)).refused


def test_nearness_in_meaning_turns_the_scale() -> None:
    background = Background(median=0.70, high=0.74, passages=1_000, related=0.85)
    asked = found("Who checks the heating appliance of the boiler yearly?", hit(TEXT), background=background)
    near, far = (np.array([[cosine, 0]], np.float32) for cosine in (0.95, 0.70))
    assert not answer(asked, lambda texts: np.repeat(near, len(texts), axis=0)).refused
    assert answer(asked, lambda texts: np.repeat(far, len(texts), axis=0)).refused


def test_meaning_chooses_among_sentences() -> None:
    background = Background(median=0.1, high=0.2, passages=1_000)

    def embed(texts: Sequence[str]) -> Floats:
        return np.array([[0.9 if "office" in text else 0.5, 0] for text in texts], np.float32)

    given = answer(found("Where is the boiler cellar?", hit(TEXT), background=background), embed)
    assert max(given.quotes, key=lambda quote: quote.score).text.startswith("The last report")


def test_chinese_is_quoted_by_the_sentence() -> None:
    text = "锅炉在地下室。每年三月由史密斯公司检查锅炉。办公室保存报告。"
    given = answer(found("谁检查锅炉？", hit(text, title="锅炉", language="zh"), language="zh"))
    assert "每年三月由史密斯公司检查锅炉。" in given.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ("J. R. Tolkien wrote it. Yes.", ["J. R. Tolkien wrote it.", "Yes."]),
        ("Version 1.2 is out. Get it.", ["Version 1.2 is out.", "Get it."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("# Title\n\nText here.", ["Text here."]),
        ("- one\n- two", ["- one", "- two"]),
        ("これは本です。あれは？はい", ["これは本です。", "あれは？", "はい"]),
        ("", []),
    ],
)
def test_sentences_end_where_a_reader_would_say(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


def test_places_of_sentences_are_true() -> None:
    text = "One two. " * 30 + "\n\n" + "x" * 3_000 + "\n- item\n"
    assert all(text[sentence.start : sentence.end] == sentence.text for sentence in sentences(text))
