"""No sentence of ours is left in English: pages are read in a language whose every string stands in brackets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import django
import polib
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone, translation
from pytest_django import Settings

from accounts import secondfactor
from accounts.models import Group, Token, User
from privategpt import ingest, urls
from privategpt.llm.refusals import no_model
from privategpt.models import Chat, Message, Source
from privategpt.pages.sentences import KNOWN, in_readers_language
from tests.conftest import PASSWORD
from tests.pages import browser
from tests.test_arrows import ROOT
from tests.test_chat_pages import asked, cite
from tests.test_second_factor import code

State = Message.State
LANGUAGE = "xx"
DJANGOS = ("admin", "auth", "contenttypes", "humanize", "sessions")
BRACKETED = re.compile(r"⟦[^⟦⟧]*⟧")
WORDS = ("aria-label", "title", "placeholder", "alt", "data-copy", "data-done", "data-text")
QUOTED = {"code", "kbd", "script", "style", "svg", "time"}  # what stands in these is no sentence
# What a page shows that is nobody's sentence: names, units, figures' signs, what the cast wrote (in Greek).
NO_SENTENCE = re.compile(
    r"Switchboard|Markdown|\bpython\b|\b(?:KB|MB|ms|s|GMT|UTC|JSON|Firefox|Linux|scripted|xx)\b|\S+@example\.org|\S+\.md\b"
    r"|127\.0\.0\.1|testserver|OpenAI|Deutsch|English|sba_|…[\w-]{4}"
    # an answer, which is in the language of its question
    rf"|{re.escape(no_model('en'))}"
)


# -- a language of brackets -----------------------------------------------------------------------


def entries() -> Iterator[polib.POEntry]:
    """Every string of ours and of Django's."""
    yield from polib.pofile(str(ROOT / "locale/de/LC_MESSAGES/django.po"))
    home = Path(django.__file__).parent
    for path in [home / "conf/locale", *(home / f"contrib/{name}/locale" for name in DJANGOS)]:
        yield from polib.pofile(str(path / "en/LC_MESSAGES/django.po"))


def bracketed(folder: Path) -> None:
    """Writes the language."""
    catalog = polib.POFile()
    catalog.metadata = {
        "Content-Type": "text/plain; charset=utf-8",
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
        "Language": LANGUAGE,
    }
    for entry in entries():
        if entry.msgid_plural:
            plural = {0: f"⟦{entry.msgid}⟧", 1: f"⟦{entry.msgid_plural}⟧"}
            found = polib.POEntry(
                msgid=entry.msgid, msgid_plural=entry.msgid_plural, msgstr_plural=plural, msgctxt=entry.msgctxt
            )
        else:
            found = polib.POEntry(msgid=entry.msgid, msgstr=f"⟦{entry.msgid}⟧", msgctxt=entry.msgctxt)
        catalog.append(found)
    place = folder / LANGUAGE / "LC_MESSAGES"
    place.mkdir(parents=True)
    catalog.save_as_mofile(str(place / "django.mo"))


@pytest.fixture(scope="module")
def locale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locale")
    bracketed(folder)
    return folder


@pytest.fixture
def speaks_brackets(settings: Settings, locale: Path, alice: User, bob: User) -> Iterator[User]:
    settings.LOCALE_PATHS = [locale]
    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch"), (LANGUAGE, "Deutsch")]
    alice.language, alice.name, alice.roles = LANGUAGE, "Αλίκη", ["documents", "system", "users"]
    alice.is_superuser = True
    alice.save()
    User.objects.exclude(pk=alice.pk).update(name="Βασίλης")
    yield alice
    translation.activate("en")


# -- reading --------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The texts that a page shows or speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._quoted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._quoted += tag in QUOTED
        self.texts += [value for name, value in attrs if name in WORDS and value]

    def handle_endtag(self, tag: str) -> None:
        self._quoted -= tag in QUOTED

    def handle_data(self, data: str) -> None:
        if not self._quoted and data.strip():
            self.texts.append(" ".join(data.split()))


def english(response: Any) -> list[str]:
    """The page's texts that no translation has gone through."""
    reader = Reader()
    page = re.sub(r'<select[^>]*id="id_(?:timezone|language)".*?</select>', "", response.content.decode(), flags=re.S)
    # A translation may hold tags; its brackets are found in the page as one text.
    for _ in range(6):
        page = BRACKETED.sub("", page)
    reader.feed(page)
    left = [NO_SENTENCE.sub("", text) for text in reader.texts]
    return [text for text in left if re.search(r"[A-Za-z]{2}", text)]


# -- a life's worth of pages ----------------------------------------------------------------------


@pytest.fixture
def chat(speaks_brackets: User) -> Chat:
    """An answer of every kind, with sources that may be read and that may not."""
    alice = speaks_brackets
    group = Group.objects.create(name="Λιμάνι")
    hidden = Group.objects.create(name="Κρυφό")
    alice.groups.add(group)
    guide = ingest.store(alice, title="Οδηγός", content="# Οδηγός\n\nΗ πύλη κλείνει.", groups=[group], public=False)
    ingest.store(alice, title="Μυστικό", content="# Μυστικό\n\nΗ πύλη.", groups=[hidden], public=False)
    for state, reason in (
        (Source.State.ERROR, "The embedder is not running. It is tried again."),
        (Source.State.CREATION, "No embedder is installed (onnx missing; `make run` installs it where it can run)."),
        (Source.State.PROCESSING, ""),
        (Source.State.VECTORIZED, ""),
    ):
        source = ingest.store(alice, title=f"Πηγή {state.label[:0]}", content="# Α\n\nΒ.", groups=[], public=True)
        Source.objects.filter(pk=source.pk).update(state=state, state_reason=reason, passages_total=4, passages_done=2)
    chat = asked(
        alice,
        "Πότε;",
        "Στις εννέα [1]. `x`\n\n```python\nimport x\n```\n\n- [x] α\n\n$$x$$\n\nβ[^1]\n\n[^1]: γ",
        title="Πύλη",
    )
    cite(chat, guide)
    chat.messages.get().citations.update(heading="Οδηγός", context="Η πύλη κλείνει.")
    refused = {"searched": "πύλη", "found": [{"cosine": 0.5}], "times": {"done": 1200}}
    now = timezone.now()
    kinds: list[dict[str, Any]] = [
        {"state": State.FAILED, "error": "The agent did not answer in time.", "answer": "α"},
        {"state": State.FAILED, "error": "The language model's server failed (500). It said: όχι"},
        {"state": State.FAILED, "error": ""},
        {"state": State.STOPPED, "answer": "β"},
        {"state": State.STOPPED},
        {"state": State.COMPLETE, "trace": refused, "answer": REFUSED},
        {"state": State.COMPLETE, "answer": "γ", "backend": "quoting", "trace": {"times": {"done": 12}}},
        {"state": State.ANSWERING, "answer": "δ", "claimed_until": now + timedelta(hours=1)},
    ]
    for position, fields in enumerate(kinds, start=1):
        Message.objects.create(chat=chat, position=position, question="Πότε;", **fields)
    asked(alice, "Και;", title="Χθες")
    Chat.objects.filter(title="Χθες").update(updated_at=now - timedelta(days=3), pinned_at=now)
    Token.objects.issue(Token.Kind.API, alice, name="Κλειδί", days=3, scopes=["chats", "sources:read"])
    Token.objects.issue(Token.Kind.AGENT, alice, name="Πράκτορας")
    return chat


REFUSED = "Your sources do not contain an answer to this question."
QUERIES = {
    "": ["", "?new=1"],
    "chats/": ["", "?q=πύλη", "?q=ζζζ"],
    "sources": ["", "?q=ζζζ", "?state=error"],
    "sources/bench": ["", "?q=πύλη", "?q=ζζζ", "?q=πύλη&as=bob@example.org"],
}


def addresses(chat: Chat) -> Iterator[str]:
    """Every page of the route list, with what its pattern asks for."""
    source = Source.objects.get(title="Οδηγός")
    for entry in urls.urlpatterns:
        path, name = str(entry.pattern), entry.name or ""
        for message in chat.messages.all() if "chat_pk" in path else [None]:
            pk = message or (source if path.startswith("sources/<") else chat)
            within = {"chat_pk": chat.pk} if message else {}
            try:
                address = reverse(name, kwargs=within | ({"pk": pk.pk} if "pk>" in path.replace("chat_pk", "") else {}))
            except NoReverseMatch:
                continue  # acts on tokens, which are numbered
            yield from (address + query for query in QUERIES.get(path, [""]))
    yield from (
        f"/chats/{chat.pk}/?edit={chat.messages.get(position=0).pk}",
        f"/sources/{source.pk}/?start=0&end=9",
        "/nowhere",
    )


def test_no_page_shows_a_sentence_that_is_not_translated(chat: Chat, speaks_brackets: User) -> None:
    client = browser(speaks_brackets)
    seen, left = 0, {}
    for address in addresses(chat):
        if address.endswith(("/events", "/held")):
            continue  # these follow an answer that grows; what they show is the chat's page
        response = client.get(address)
        if response.status_code in {200, 404} and response["Content-Type"].startswith("text/html"):
            seen += 1
            left[address] = english(response)
    assert {address: texts for address, texts in left.items() if texts} == {}
    assert seen > 30


def test_the_gate_is_translated_too(speaks_brackets: User) -> None:
    client = Client(headers={"accept": "text/html", "accept-language": LANGUAGE})
    secondfactor.begin(speaks_brackets)
    assert secondfactor.confirm(speaks_brackets, code(speaks_brackets))
    pages = [
        client.get("/sign-in"),
        client.post("/sign-in", {"email": "alice@example.org", "password": "wrong"}),
        client.get("/nowhere"),
        client.post("/sign-in", {"email": "alice@example.org", "password": PASSWORD}, follow=True),
        client.post("/sign-in/code", {"code": "1"}),
    ]
    stale = Client(enforce_csrf_checks=True, headers={"accept": "text/html", "accept-language": LANGUAGE})
    pages.append(stale.post("/sign-in"))
    assert [english(page) for page in pages] == [[]] * len(pages)
    assert [page.status_code for page in pages] == [200, 422, 404, 200, 422, 403]
    assert all("⟦" in page.content.decode() for page in pages)


def test_the_reading_finds_what_is_left() -> None:
    left = HttpResponse('<p>⟦Sources⟧ of Αλίκη</p><a title="Close">⟦x⟧</a><code>pip install</code><p>⟦a ⟦b⟧ c⟧</p>')
    assert english(left) == ["of Αλίκη", "Close"]


def test_a_locked_door_says_so_in_the_readers_language(speaks_brackets: User, settings: Settings) -> None:
    settings.SIGN_IN = {**settings.SIGN_IN, "failures": 1}
    client = Client(headers={"accept": "text/html", "accept-language": LANGUAGE})
    pages = [client.post("/sign-in", {"email": "alice@example.org", "password": "wrong"}) for _ in range(2)]
    assert "⟦Too many failed sign-ins" in pages[1].content.decode()
    assert english(pages[1]) == []


def acts(client: Client, chat: Chat) -> Iterator[Any]:
    """What is said after acts, done and refused."""
    source = Source.objects.get(title="Οδηγός")

    def post(path: str, **fields: Any) -> Any:
        return client.post(path, fields, follow=True)

    def file(name: str, content: bytes) -> SimpleUploadedFile:
        return SimpleUploadedFile(name, content)

    yield post("/account/you", name="Α" * 151)
    yield post("/account/you", name="Άλφα")
    yield post("/account/reading", language="zz", timezone="Mars", theme="pink")
    for new in ("short", "password", "alice@example.org", ""):
        yield post("/account/password", present=PASSWORD, new=new)
    yield post("/account/password", present="wrong", new="another good long sentence")
    yield post("/account/second-factor", password="wrong")
    yield post("/account/second-factor", password=PASSWORD)
    yield post("/account/second-factor", password=PASSWORD, code="1")
    yield post("/account/second-factor", password=PASSWORD, code=code(User.objects.get(email="alice@example.org")))
    yield post("/account/second-factor/codes", password="wrong")
    yield post("/account/second-factor/codes", password=PASSWORD)
    yield post("/account/second-factor/off", password="wrong")
    yield post("/account/second-factor/off", password=PASSWORD)
    yield post("/account/tokens", name="", may="nonsense", ends="x")
    yield post("/account/tokens", name="Κ", may=["answer", "chats"], ends="7")
    yield post("/account/tokens", name="Κ", may=["chats"], ends="")
    yield post("/account/sessions/end-others")
    yield post("/sources", to="public")
    for content in (b"\xff", b"", b"# \xce\xb1\n\n\xce\xb2", b"a\0b"):
        yield post("/sources", to="public", files=file("α.md", content))
    for fields in ({}, {"content": "α"}, {"content": "a\0b"}, {"content": "# α", "preview": "1"}, {"content": "# α"}):
        yield post("/sources/write", **fields)
    yield post("/sources/write", content="# α\n\nβ", public="on")
    yield post(f"/sources/{source.pk}/edit", content="# Οδηγός\n\nγ", title="Οδηγός")
    yield post(f"/sources/{source.pk}/move")
    yield post(f"/sources/{source.pk}/move", public="on")
    yield post(f"/sources/{source.pk}/delete")
    yield post(f"/sources/{source.pk}/undo")
    yield post(f"/chats/{chat.pk}/rename", title="")
    yield post(f"/chats/{chat.pk}/pin")
    yield post(f"/chats/{chat.pk}/delete")
    yield post(f"/chats/{chat.pk}/restore")
    yield post("/chats/new", question="")
    yield post("/chats/new", question="α", backend="nonsense")
    yield post(f"/chats/{chat.pk}/ask", question="α")


@pytest.mark.django_db(transaction=True)  # answers are saved by a thread of their own, which waits for nobody's test
def test_what_is_said_after_an_act_is_translated(chat: Chat, speaks_brackets: User) -> None:
    client = browser(speaks_brackets)
    client.get("/account/second-factor")
    left = [
        (page.request["PATH_INFO"], page.status_code, found) for page in acts(client, chat) if (found := english(page))
    ]
    assert left == []


# -- stored sentences -----------------------------------------------------------------------------

# Modules whose sentences reach a page by way of a row or an exception, and what in them is for others to read.
MODULES = ["generation", "desk", "ingest", "worker", "models", "follow", "grounding", "llm", "retrieval"]
FOR_OTHERS = re.compile(
    # the model's own prompt and words, and what the forms of the admin site say
    r"Is anybody there|As found in the text|It goes soon|Of what is indexed|Chosen to answer|Restorable for"
    r"|What was searched|None: the first request|Who are you|I am a small|How do magnets|Magnets have|What is 6"
    r"|What is the capital|The capital of|Hello! How can I|Answers with vectors|API key holds|base URL must"
    r"|Give no key|built-in model|holds no \.gguf"
)

PLACES = ("before the answer", "in the middle of the answer")  # where an endpoint breaks off


def sentences(path: Path) -> Iterator[str]:
    """What looks like a sentence and is neither documentation nor for the log; with a 1 for what varies."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node.body[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body
    }
    skipped |= {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.Expr) and ast.unparse(node).startswith("logger.")
    }

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Expr) and id(node) in skipped:
            return
        if isinstance(node, ast.keyword) and node.arg == "help_text":  # for whoever reads the models
            return
        text = None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        if text is None:
            for child in ast.iter_child_nodes(node):
                yield from walk(child)
        elif re.match(r"[A-Z1][^\n]* [^\n]*[.?]\Z", text):
            yield from (text.replace(" off 1.", f" off {place}.") for place in PLACES)

    yield from walk(tree)


def test_every_sentence_that_is_stored_or_raised_is_known_to_the_pages() -> None:
    found = {
        text
        for name in MODULES
        for path in [ROOT / f"privategpt/{name}.py", *(ROOT / "privategpt" / name).glob("*.py")]
        if path.exists() and path.name not in {"refusals.py", "languages.py"}
        for text in sentences(path)
        if not FOR_OTHERS.search(text)
    }
    assert len(found) > 60
    with translation.override("de"):
        left = {text for text in found if _is_untold(text)}
    assert left == set()


def _is_untold(text: str) -> bool:
    """What varies may stand first: a sentence that this one goes on, or its first word."""
    return all(in_readers_language(part) == part for part in {text, text.removeprefix("1 ")})


@pytest.mark.parametrize("known", KNOWN)
def test_a_stored_sentence_is_told_in_german(known: str) -> None:
    text = re.sub(r"%\(\w+\)s", "7", known)
    assert in_readers_language(text) == text
    with translation.override("de"):
        told = in_readers_language(text)
        assert told != text
        assert told.count("7") == text.count("7")
        assert in_readers_language(f"{text} It is tried again.") == f"{told} Es wird noch einmal versucht."


def test_what_others_said_stays_as_it_is() -> None:
    with translation.override("de"):
        told = in_readers_language("The agent reports an error. It said: The server is off. 100 %(s)s")
        assert told.endswith("Die Meldung lautet: The server is off. 100 %(s)s")
        assert in_readers_language("Anything else.") == "Anything else."
        assert in_readers_language("") == ""
