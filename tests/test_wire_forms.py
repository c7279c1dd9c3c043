"""The browser's forms behind a real server, with bodies that no browser sends.

Attacks 61 to 63 and 85, and fault 21: refused with a page or a line, nothing is stored, and nobody is held up."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import PASSWORD
from tests.patience import PATIENCE
from tests.running import manage
from tests.wire_server import Web

MIB = 1 << 20
KEEPER = """
from accounts.models import Group, User
keeper = User.objects.create_user("keeper@example.org", PASSWORD, roles=["documents"])
keeper.groups.add(Group.objects.create(name="forms"))
"""
B = "----boundary"
FORM = "application/x-www-form-urlencoded"
TYPE = f"multipart/form-data; boundary={B}"


@pytest.fixture(scope="module")
def keeper(lane: Web) -> Iterator[httpx.Client]:
    """A browser of somebody who may store sources into their one group."""
    made = manage(lane.data, "shell", "-c", f"PASSWORD = {PASSWORD!r}\n{KEEPER}")
    assert made.returncode == 0, made.stderr
    with httpx.Client(base_url=lane.url, trust_env=False, timeout=PATIENCE, headers={"Accept": "text/html"}) as client:
        form = {
            "email": "keeper@example.org",
            "password": PASSWORD,
            "csrfmiddlewaretoken": token_of(client, "/sign-in"),
        }
        assert client.post("/sign-in", data=form).status_code == 302
        yield client


def token_of(client: httpx.Client, path: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(path).text)
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def _nothing_breaks(lane: Web, keeper: httpx.Client) -> Iterator[None]:
    yield
    assert keeper.get("/sources").status_code == 200
    assert not [word for word in ("Internal Server Error", "Exception in ASGI", "Traceback") if word in lane.log]


def titles(lane: Web) -> list[str]:
    return [row[0] for row in lane.sql("SELECT title FROM privategpt_source")]


def field(name: str, value: str) -> bytes:
    return f'--{B}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(name: str, content: bytes, *more: str) -> bytes:
    lines = [f'Content-Disposition: form-data; name="files"; filename="{name}"', *more]
    return f"--{B}\r\n".encode() + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


END = f"--{B}--\r\n".encode()


def upload(client: httpx.Client, *parts: bytes, kind: str = TYPE, end: bytes = END, **headers: str) -> httpx.Response:
    """A form with its token and the parts; the token goes in the header as well, for bodies that hide it."""
    token = token_of(client, "/sources")
    to = re.search(r'<option value="(\d+)"', client.get("/sources").text)
    assert to
    body = field("csrfmiddlewaretoken", token) + field("to", to[1]) + b"".join(parts) + end
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/sources", content=body, headers={"Content-Type": kind, "X-CSRFToken": token, **named})


def test_a_good_upload_is_stored(lane: Web, keeper: httpx.Client) -> None:
    """The success beside the refusals."""
    assert upload(keeper, file("tide.md", b"# Tide\n\nHigh at noon.")).status_code == 302
    assert "Tide" in titles(lane)


@pytest.mark.parametrize(
    "parts",
    [
        [field(f"f{number}", "x") for number in range(2_000)],
        [file(f"{number}.md", b"x") for number in range(1_100)],
        [b"--" + B.encode() + b"\r\n" + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\nx\r\n"],
        [b"--" + B.encode() + b"\r\n" + b"X: a\r\n" * 5_000 + b"\r\nx\r\n"],
    ],
    ids=["fields", "files", "a long header of a part", "many headers of a part"],
)
def test_too_much_in_one_form_is_refused(lane: Web, keeper: httpx.Client, parts: list[bytes]) -> None:
    """Attack 63."""
    before = titles(lane)
    refused = upload(keeper, *parts)
    assert refused.status_code in {302, 400, 403}
    assert refused.status_code != 400 or "The request could not be read" in refused.text
    assert titles(lane) == before


@pytest.mark.parametrize(
    "path", ["/sign-in", "/admin/login/", "/admin/users", "/api/connections", "/api/v1/groups", "/"]
)
@pytest.mark.parametrize("count", [1_100, 5_000])
def test_too_many_fields_of_a_form_or_query_are_refused_in_the_shape_of_the_door(
    lane: Web, path: str, count: int
) -> None:
    fields = "&".join(f"f{number}=x" for number in range(count))
    for accept in ("text/html", "application/json"):
        headers = {"Accept": accept, "Content-Type": FORM}
        for found in (
            httpx.get(f"{lane.url}{path}?{fields}", headers=headers),
            httpx.post(lane.url + path, content=fields.encode(), headers=headers),
        ):
            assert found.status_code < 500
            if found.status_code == 400 and path.startswith("/api/v1"):
                assert found.json() == {"data": None, "message": "Bad request.", "status": 400}
            elif found.status_code == 400 and (accept != "text/html" or path.startswith("/api")):
                assert list(found.json()) == ["error"]
            elif found.status_code == 400:
                assert "The request could not be read" in found.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (file("a.md", b"cut off in the mid")[:-10], TYPE),
        (b"", TYPE),
        (b"--" * 100_000, TYPE),
        (file("a.md", b"x"), "multipart/form-data"),
        (file("a.md", b"x"), "multipart/form-data; boundary="),
        (file("a.md", b"x"), f"multipart/form-data; boundary={'b' * 5_000}"),
        (file("a.md", b"x"), "multipart/form-data; boundary=\x01"),
        (file("a.md", b"x"), f"multipart/mixed; boundary={B}"),
        (file("a.md", b"x"), f"multipart/form-data; boundary={B}; charset=nonsense"),
        (file("a.md", b"x"), f"multipart/form-data; charset=utf-16; boundary={B}"),
        (b"\xff\xfe" * 1_000, f"{FORM}; charset=utf-32"),
        (b"%", FORM),
        (b"a=%ff&b=%00&%ff=%ed%a0%80", FORM),
        (b'{"to": 1}', "application/json"),
    ],
    ids=[f"form {number}" for number in range(14)],
)
def test_a_form_that_is_none_is_refused(lane: Web, keeper: httpx.Client, body: bytes, kind: str) -> None:
    """Attack 63: cut off, without end, of another type, or of a charset that no browser sends."""
    before = titles(lane)
    token = token_of(keeper, "/sources")
    found = keeper.post("/sources", content=body, headers={"Content-Type": kind, "X-CSRFToken": token})
    assert found.status_code in {302, 400, 403, 415}
    assert titles(lane) == before


@pytest.mark.parametrize("path", ["/sign-in", "/admin/login/", "/nowhere", "/chats/new"])
@pytest.mark.parametrize("kind", [f"{FORM}; charset=utf-32", "multipart/form-data", f"{TYPE}; charset=x"])
def test_a_stranger_with_such_a_form_gets_a_page_too(lane: Web, path: str, kind: str) -> None:
    """Attack 63: Django's own page for a bad form reads the form again."""
    found = httpx.post(lane.url + path, content=b"a=b", headers={"Content-Type": kind, "Accept": "text/html"})
    assert found.status_code in {400, 403, 404}
    assert "Traceback" not in found.text


@pytest.mark.parametrize(
    ("name", "content", "more"),
    [
        ("bomb.md.gz", gzip.compress(b" " * (32 * MIB), 1), ["Content-Encoding: gzip"]),
        ("bomb.md", gzip.compress(b" " * (32 * MIB), 1), []),
        ("b.md", b"!!!not base64!!!", ["Content-Transfer-Encoding: base64"]),
        ("half.md", b"a \xff b", []),
        ("nul.md", b"a \x00 b", []),
        ("surrogate.md", b"a \xed\xa0\x80 b", []),
        ("empty.md", b"", []),
        ("blank.md", b" \n\t\r\n", []),
        ("utf16.md", "a".encode("utf-16"), []),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_file_that_is_no_text_is_named_and_not_stored(
    lane: Web, keeper: httpx.Client, name: str, content: bytes, more: list[str]
) -> None:
    """Attacks 63 and 75, fault 21: nothing is unpacked."""
    before, memory = titles(lane), resident(lane)
    found = upload(keeper, file(name, content, *more))
    assert found.status_code in {302, 400}
    assert titles(lane) == before
    assert resident(lane) - memory < 16 * MIB
    assert name in keeper.get("/sources").text or found.status_code == 400


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.md", "..\\..\\a.md", "CON.md", "%00.md", "\u202egnp.md", "a\x01.md"]
)
def test_a_files_name_is_text_and_no_path(lane: Web, keeper: httpx.Client, name: str) -> None:
    """Attack 73."""
    folder = set(lane.data.iterdir())
    assert upload(keeper, file(name, b"Some text without a heading.")).status_code in {302, 400}
    assert set(lane.data.iterdir()) == folder
    assert not any("/" in title or "\\" in title for title in titles(lane))


def test_a_body_above_the_limit_is_a_413(lane: Web, keeper: httpx.Client) -> None:
    """Attack 60."""
    assert upload(keeper, file("large.md", b"x" * (17 * MIB))).status_code == 413


def resident(web: Web) -> int:
    return int(Path(f"/proc/{web.process.pid}/statm").read_text().split()[1]) * 4096
