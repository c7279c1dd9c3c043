"""The measured candidate reads its texts as the model was trained to."""

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bench.minilm import WordPiece, words

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cafe", "run", "##ning", "##s", "!", "水"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Café runs!", [2, 4, 5, 7, 8, 3]),
        ("running", [2, 5, 6, 3]),
        ("runner", [2, 1, 3]),
        ("水水", [2, 9, 9, 3]),
        ("run\u200b\0s", [2, 5, 7, 3]),
        ("", [2, 3]),
    ],
)
def test_words_are_cut_into_the_longest_known_pieces(text: str, ids: list[int]) -> None:
    assert WordPiece(PIECES).ids(text, 16) == ids


def test_no_text_is_longer_than_the_model_reads() -> None:
    assert WordPiece(PIECES).ids("run " * 50, 8) == [2, *[5] * 6, 3]


def test_a_word_without_end_is_unknown() -> None:
    assert WordPiece(PIECES).ids("run" + "s" * 200, 300) == [2, 1, 3]


def test_signs_stand_alone() -> None:
    assert words("a_b(c)=d¿") == ["a", "_", "b", "(", "c", ")", "=", "d", "¿"]
