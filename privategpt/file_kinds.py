"""What a file is by its first bytes, whatever its name says: so that nothing but text is stored as text."""

from __future__ import annotations

import re
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

LOOKED_AT = 1 << 16  # bytes from the beginning
MOST_CONTROLS = 0.01  # of all characters: a terminal's log has some codes, no text is full of them
FEW_CONTROLS = 16  # in a text however short

# What people call each kind that is not read.
KINDS: Final[dict[str, str | Promise]] = {
    "pdf": _("a PDF document"),
    "word": _("a Word document"),
    "slides": _("a presentation"),
    "sheet": _("a spreadsheet"),
    "office": _("an old Office document"),
    "opendocument": _("an OpenDocument file"),
    "epub": _("an e-book (EPUB)"),
    "rtf": _("a document in rich text (RTF)"),
    "html": _("a web page (HTML)"),
    "postscript": _("a PostScript document"),
    "picture": _("a picture"),
    "sound": _("a sound file"),
    "video": _("a video"),
    "archive": _("an archive"),
    "program": _("a program"),
    "database": _("a database"),
    "font": _("a font"),
    "encrypted": _("an encrypted file"),
    "utf-16": _("a text in UTF-16"),
    "data": _("no text but data"),
}
WRITTEN: Final = {"rtf", "postscript", "encrypted"}  # whose files are made of letters, as texts are
DOCUMENTS: Final = {"pdf", "word", "slides", "sheet", "office", "opendocument", "epub", "rtf", "html", "postscript"}
# Bytes at the very beginning; the first that fits counts.
SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"{\\rtf", "rtf"),
    (b"%!PS", "postscript"),
    (b"\xc5\xd0\xd3\xc6", "postscript"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF87a", "picture"),
    (b"GIF89a", "picture"),
    (b"II*\0", "picture"),
    (b"MM\0*", "picture"),
    (b"8BPS\0", "picture"),
    (b"\0\0\1\0", "picture"),
    (b"\xff\x0a", "picture"),
    (b"\0\0\0\x0cJXL ", "picture"),
    (b"\0\0\0\x0cjP  ", "picture"),
    (b"ID3", "sound"),
    (b"OggS", "sound"),
    (b"fLaC", "sound"),
    (b"MThd\0", "sound"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"\0\0\1\xba", "video"),
    (b"\0\0\1\xb3", "video"),
    (b"FLV\1", "video"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\0", "archive"),
    (b"(\xb5/\xfd", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"!<arch>\n", "archive"),
    (b"MSCF\0", "archive"),
    (b"LZIP\1", "archive"),
    (b"\x04\x22\x4d\x18", "archive"),
    (b"\x7fELF", "program"),
    (b"MZ\x90\0", "program"),
    (b"\xca\xfe\xba\xbe", "program"),
    (b"\xfe\xed\xfa\xce", "program"),
    (b"\xfe\xed\xfa\xcf", "program"),
    (b"\xce\xfa\xed\xfe", "program"),
    (b"\xcf\xfa\xed\xfe", "program"),
    (b"\0asm", "program"),
    (b"SQLite format 3\0", "database"),
    (b"PAR1", "database"),
    (b"\0\1\0\0\0", "font"),
    (b"OTTO\0", "font"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
    (b"age-encryption.org/v1\n", "encrypted"),
    (b"-----BEGIN PGP MESSAGE-----", "encrypted"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "encrypted"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# What a zipped document's own entries are called.
ZIPPED: Final[tuple[tuple[bytes, str], ...]] = (
    (b"mimetypeapplication/epub+zip", "epub"),
    (b"mimetypeapplication/vnd.oasis.opendocument.", "opendocument"),
    (b"word/", "word"),
    (b"ppt/", "slides"),
    (b"xl/", "sheet"),
)
RIFF: Final = {b"WAVE": "sound", b"AVI ": "video", b"WEBP": "picture"}
PICTURES: Final = {b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"}  # brands of the container that videos use too
# Comments and a declaration may stand before it. What merely contains tags is Markdown.
PAGE = re.compile(rb"\s*+(?:(?:<\?[^>]*+>|<!--(?:(?!-->).)*+-->)\s*+)*+<(?:!doctype\s+html|html)[\s>]", re.I | re.S)
CONTROLS: Final = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b\b"))


def kind_of(raw: bytes) -> str:
    """One of KINDS for what is no text that could be read, "" for text (perhaps in an encoding that is not UTF-8)."""
    head = raw[:LOOKED_AT]
    return _pdf(raw) or _web_page(head) or _container(head) or _by_signature(head) or _rest(raw)


def no_text(raw: bytes) -> str:
    """The same for a text that somebody sent as one: a binary file's bytes are none, but a web page's source is."""
    kind = kind_of(raw)
    return "" if kind == "html" else kind


def refusal(kind: str) -> str:
    """What is said of a file of this kind, in the reader's language."""
    named = {"kind": str(KINDS[kind])}
    if kind in DOCUMENTS:
        return gettext("This is %(kind)s, which cannot be read yet. Save it as Markdown or plain text.") % named
    if kind == "utf-16":
        return gettext("This is %(kind)s. Save the file as UTF-8 and upload it again.") % named
    if kind == "encrypted":
        return gettext("This is %(kind)s. Decrypt it first; then its text can be read.") % named
    return gettext("This is %(kind)s. Only Markdown and plain text can be read.") % named


def _pdf(raw: bytes) -> str:
    """Readers of PDF look for its sign in the first 1,024 bytes and for its end in the last ones, whatever else is
    there; a text on PDF may begin with the sign, and has no objects."""
    at = raw.find(b"%PDF-", 0, 1024)
    is_first = at >= 0 and not raw[:at].removeprefix(b"\xef\xbb\xbf").strip()
    has_objects = is_first and (b" obj" in raw[:LOOKED_AT] or _is_binary(raw[:LOOKED_AT]))
    return "pdf" if has_objects or (at >= 0 and b"%%EOF" in raw[-1024:]) else ""


def _web_page(head: bytes) -> str:
    return "html" if PAGE.match(head.removeprefix(b"\xef\xbb\xbf")) else ""


def _container(head: bytes) -> str:
    """Formats whose first bytes are shared: what is inside says more."""
    if head[:4] in {b"PK\3\4", b"PK\5\6", b"PK\7\x08"}:
        return next((kind for inside, kind in ZIPPED if inside in head), "archive")
    if head[4:8] == b"ftyp":
        return "picture" if head[8:12] in PICTURES else "sound" if head[8:11] == b"M4A" else "video"
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12], "data")
    if head[257:262] == b"ustar":
        return "archive"
    return "picture" if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" else ""


def _by_signature(head: bytes) -> str:
    kind = next((kind for signature, kind in SIGNATURES if head.startswith(signature)), "")
    return kind if kind in WRITTEN or _is_binary(head) else ""  # a text may well begin with "ID3"


def _is_binary(head: bytes) -> bool:
    """Whether these first bytes are no text in UTF-8; a character that is cut in two at their end is no fault."""
    try:
        head[:-3].decode()
    except UnicodeDecodeError:
        return True
    return bool(_rest(head))


def _rest(raw: bytes) -> str:
    """Every character counts, since a text may become rubbish after its first page. What somebody decoded who did not
    look is full of replacement characters."""
    controls = len(raw) - len(raw.translate(None, CONTROLS)) + raw.count("\ufffd".encode())
    return "data" if b"\0" in raw or controls > max(FEW_CONTROLS, len(raw) * MOST_CONTROLS) else ""
