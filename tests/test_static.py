"""Static files: small in sum, under names that change with them, kept for good and compressed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.test import Client

from accounts.models import User
from tests.pages import browser
from tests.test_arrows import ROOT

OF_THE_ADMIN_SITE = {"admin.css"}
FOR_GOOD = "public, max-age=31536000, immutable"


@pytest.mark.parametrize("kind", ["js", "css"])
def test_our_own_scripts_and_sheets_are_each_under_16_kib_on_the_wire(kind: str) -> None:
    files = [path for path in (ROOT / "static" / kind).iterdir() if path.name not in OF_THE_ADMIN_SITE]
    assert 0 < sum(len(gzip.compress(path.read_bytes())) for path in files) < 16_384


def test_our_own_script_is_written_to_be_read() -> None:
    for path in (ROOT / "static/js").iterdir():
        lines = path.read_text().splitlines()
        assert len(lines) < 200
        assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", ["css/base.css", "js/page.js", "icons.svg", "admin/css/base.css"])
def test_a_file_is_kept_for_good_under_a_name_with_its_hash(client: Client, name: str) -> None:
    url = static(name)
    assert re.search(r"\.[0-9a-f]{12}\.\w+$", url)
    found = client.get(url, headers={"accept-encoding": "gzip, br"})
    assert (found.status_code, found["Cache-Control"], found["Content-Encoding"]) == (200, FOR_GOOD, "gzip")
    assert found["Vary"] == "Accept-Encoding"
    body = Path(finders.find(name) or "").read_bytes()
    assert gzip.decompress(found.content) == body
    assert client.get(url, headers={"accept-encoding": "identity"}).content == body


def test_a_name_of_another_version_gets_the_file_of_now_and_not_for_good(client: Client) -> None:
    found = client.get(re.sub(r"\.[0-9a-f]{12}\.", ".0123456789ab.", static("css/base.css")))
    assert (found.status_code, found["Cache-Control"]) == (200, "public, max-age=60")


def test_the_plain_name_goes_on_working(client: Client) -> None:
    found = client.get("/static/css/base.css")
    assert found.status_code == 200
    assert "immutable" not in found["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["nothing.0123456789ab.css", "../project/settings.0123456789ab.py", "/etc/x.0123456789ab.conf", "css/base"]
)
def test_what_is_no_static_file_is_not_found(client: Client, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_pages_name_every_file_by_its_hash(alice: User) -> None:
    html = browser(alice).get("/").content.decode()
    names = re.findall(r'(?:href|src)="/static/([^"#]+)', html)
    assert len(set(names)) == 10
    assert all(re.search(r"\.[0-9a-f]{12}\.", name) for name in names)
