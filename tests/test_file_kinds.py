"""What is no text is told by its bytes and is never stored as text; the sentence says what it is and what to do."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.models import Group, User
from privategpt import ingest, storable
from privategpt.file_kinds import KINDS, kind_of
from privategpt.models import Source
from tests.pages import browser, text

PDF = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"


def zipped(*names: str) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name in names:
            archive.writestr(name, "application/vnd.oasis.opendocument.text" if name == "mimetype" else "<x/>")
    return raw.getvalue()


FILES = {
    "pdf": PDF + b"trailer\n%%EOF\n",
    "pdf cut off": PDF,
    "pdf behind a byte-order mark": b"\xef\xbb\xbf" + PDF,
    "pdf behind a text": b"# Minutes\n\nNothing.\n" + PDF + b"%%EOF\n",
    "pdf behind a web page": b"<!-- x -->\n" + PDF + b"%%EOF",
    "word": zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    "slides": zipped("[Content_Types].xml", "ppt/presentation.xml"),
    "sheet": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "opendocument": zipped("mimetype", "content.xml"),
    "archive": zipped("a.md"),
    "archive, gzip": gzip.compress(b"# Text\n" * 50),
    "office": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500,
    "rtf": b"{\\rtf1\\ansi Hello}",
    "html": b"<!DOCTYPE html>\n<html><body>Hi</body></html>",
    "html behind a comment": b"\n<?xml version='1.0'?>\n<!-- made by x -->\n<HTML lang=de><body>Hi",
    "picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "picture, jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "video": b"\0\0\0\x20ftypisom\0\0\2\0",
    "sound": b"ID3\4\0\0\0\0\0\x23TSSE",
    "program": b"\x7fELF\2\1\1\0",
    "database": b"SQLite format 3\0\x10\0",
    "utf-16": "\ufeff# Überschrift".encode("utf-16-le"),
    "data": "Text without a mark".encode("utf-16-be"),
    "data, controls": b"ab\x01\x02\x03\x04\x05\x06" * 9,
    "encrypted": b"-----BEGIN PGP MESSAGE-----\n\nhQEMA",
}
TEXTS = {
    "markdown": "# Title\n\nText.",
    "with html": "<h1 align=center>Title</h1>\n\n<div>Text</div>\n<!doctype html> is how pages begin.",
    "on pdf": "%PDF-1.7 stands at the beginning of each PDF.\n\nIt ends with another mark.",
    "on id3": "ID3 tags stand before the sound. OggS does not.",
    "on zip": "PK is what zipped files begin with.",
    "a few codes": "\x1b[31mred\x1b[0m and a bell \x07",
    "csv": "a;b\n1;2\n",
    "source": "#!/bin/sh\nexec true\n",
    "other scripts": "潮汐表\n\nПриливы и отливы\n\nجدول المد والجزر",
}


@pytest.fixture
def engineering(alice: User) -> Group:
    group = Group.objects.create(name="Engineering")
    group.members.add(alice)
    alice.roles = ["documents"]
    alice.save()
    return group


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_tell_what_a_file_is(name: str) -> None:
    assert kind_of(FILES[name]) == name.split(",")[0].split(" behind")[0].split(" cut")[0]


@pytest.mark.parametrize("words", TEXTS.values(), ids=list(TEXTS))
def test_a_text_is_a_text(words: str) -> None:
    assert kind_of(words.encode()) == ""
    storable.check_content(words)


def drop(user: User, group: Group, content: bytes, **headers: str) -> Any:
    file = SimpleUploadedFile("minutes.md", content)
    return browser(user, **headers).post("/sources", {"files": [file], "to": str(group.pk)}, follow=True)


@pytest.mark.parametrize("name", FILES)
def test_a_dropped_file_is_named_and_nothing_is_stored(alice: User, engineering: Group, name: str) -> None:
    words = text(drop(alice, engineering, FILES[name]))
    assert f"minutes.md: This is {KINDS[kind_of(FILES[name])]}" in words
    assert not Source.objects.exists()


def test_it_is_said_in_the_readers_language(alice: User, engineering: Group) -> None:
    alice.language = "de"
    alice.save()
    assert "Das ist ein PDF-Dokument; solche Dateien können noch nicht gelesen werden." in text(
        drop(alice, engineering, PDF)
    )


@pytest.mark.parametrize("content", [PDF.decode(), "{\\rtf1 Hello}", "PK\ufffd" * 99, "a\x01\x02b" * 99])
def test_what_is_pasted_or_posted_as_text_is_looked_at_too(alice: User, engineering: Group, content: str) -> None:
    client = browser(alice)
    page = client.post("/sources/write", {"title": "Minutes", "content": content, "groups": [engineering.pk]})
    assert page.status_code == 422
    assert "This is " in text(page)
    with pytest.raises(storable.NoText, match=r"^This is "):
        ingest.store(alice, title="Minutes", content=content, groups=[engineering], public=False)
    assert not Source.objects.exists()
