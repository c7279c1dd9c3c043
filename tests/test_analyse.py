"""Words: what a text is indexed by, and what a question searches for."""

import time

import pytest

from privategpt.retrieval.analyse import detect, fold, index_words, question_terms
from privategpt.retrieval.languages import FUNCTION_WORDS, STEMMERS

LANGUAGES_OF_THE_CONTRACT = (
    *("en", "de", "it", "fr", "es", "ar", "bg", "cs", "eo", "et", "el", "fi", "fa", "he", "hi", "hu"),
    *("id", "ja", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sv", "tr", "uk", "zh"),
)


@pytest.mark.parametrize("language", LANGUAGES_OF_THE_CONTRACT)
def test_every_language_of_the_contract_is_known(language: str) -> None:
    assert language in FUNCTION_WORDS
    assert index_words("Berlin 2024", language)


@pytest.mark.parametrize("language", STEMMERS)
def test_every_stemmer_is_there(language: str) -> None:
    assert len(index_words("organisation", language)) == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How many points did the defence surrender in that season?", "en"),
        ("Wie viele Einwohner hat die Stadt und wer regiert sie?", "de"),
        ("¿Cuántas personas viven en la ciudad y quién la gobierna?", "es"),
        ("Combien de personnes vivent dans la ville et qui la gouverne ?", "fr"),
        ("Сколько людей живёт в этом городе и кто им управляет?", "ru"),
        ("Скільки людей живе в цьому місті і хто ним керує?", "uk"),
        ("這個城市有多少人口？", "zh"),
        ("この都市の人口はどのくらいですか", "ja"),
        ("Πόσοι άνθρωποι ζουν στην πόλη;", "el"),
        ("چند نفر در این شهر زندگی می‌کنند؟", "fa"),
        ("كم عدد سكان هذه المدينة؟", "ar"),
        ("इस शहर की जनसंख्या कितनी है?", "hi"),
        ("Bu şehirde kaç kişi yaşıyor ve kim yönetiyor?", "tr"),
    ],
)
def test_a_language_is_known_by_its_function_words_and_script(text: str, language: str) -> None:
    assert detect(text) == language


def test_what_says_little_is_taken_for_the_usual_language() -> None:
    assert detect("fn main() { println!(x); }", fallback="de") == "de"


def test_inflected_words_meet() -> None:
    assert index_words("Häuser", "de") == index_words("Haus", "de")
    assert index_words("running", "en") == index_words("runs", "en")
    assert index_words("книги", "ru") == index_words("книга", "ru")


def test_function_words_are_left_out_unless_nothing_else_is_there() -> None:
    assert index_words("the cat", "en") == ["cat"]
    assert index_words("to be or not to be", "en") != []


def test_an_identifier_is_found_whole_and_by_its_parts() -> None:
    assert set(index_words("parse_HTTPRequest", "en")) >= {"parse_httprequest", "pars", "http", "request"}


def test_a_grouped_number_is_found_without_its_groups() -> None:
    assert "1388" in index_words("1,388 couples", "en")


def test_chinese_becomes_pairs_and_a_lone_character_a_beginning() -> None:
    assert index_words("机器学习", "zh") == ["机器", "器学", "学习"]
    (term,) = question_terms("水", ["zh"])
    assert term.is_prefix


def test_hindi_keeps_its_vowel_signs() -> None:
    assert index_words("किताब", "hi") == ["किताब"]


def test_full_width_and_accents_make_no_difference() -> None:
    assert index_words("Ｃａｆé", "en") == index_words("cafe", "en")
    assert fold("Łódź".casefold()) == "lodz"


def test_a_question_is_stemmed_by_every_language_of_the_index() -> None:
    (term,) = question_terms("Häuser", ["en", "de"])
    assert set(term.variants) == {*index_words("Häuser", "en"), *index_words("Häuser", "de")}


def test_words_survive_the_database_tokenizer() -> None:
    words = index_words("a\"b c-d e*f NEAR(x) ^y {z} 1.2 don't München", "en")
    assert all(word.replace("_", "").isalnum() for word in words)


@pytest.mark.parametrize("text", ["a" * 1_000_000, "a_" * 500_000, "é" * 1_000_000, "中" * 1_000_000, "1," * 500_000])
def test_hostile_text_takes_linear_time(text: str) -> None:
    started = time.process_time()
    words = index_words(text, "en")
    assert time.process_time() - started < 5
    assert max(map(len, words)) <= 64


def test_a_question_searches_a_bounded_number_of_words() -> None:
    assert len(question_terms(" ".join(f"word{number}" for number in range(10_000)), ["en"])) <= 64
