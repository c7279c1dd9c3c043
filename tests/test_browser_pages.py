"""Sources, account, agents and test bench as people meet them: a real browser before a real server."""

from __future__ import annotations

import re
import time
from base64 import b32decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django_otp.oath import TOTP

from tests import databases
from tests.axe import violations
from tests.browser import PASSWORD, Stage, comes, stage

if TYPE_CHECKING:
    from playwright.sync_api import Page

RIGHTS = """
from accounts.models import User
User.objects.filter(name__in=("Alice", "Dora")).update(roles=["documents", "system"])
User.objects.create_superuser("root@example.org", PASSWORD, name="Root")
"""
TIDES = "# Tide tables\n\nHigh water at noon.\n\n## Gates\n\nThe sluice gates close an hour before.\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("pages") / "data", more=RIGHTS) as found:
        yield found


def upload(page: Page, folder: Path, **files: str) -> None:
    """Files are chosen; a drop ends in the same field."""
    for name, content in files.items():
        (folder / f"{name}.md").write_text(content)
    page.set_input_files("input[type=file]", [folder / f"{name}.md" for name in files])


def test_files_are_stored_once_chosen_and_become_ready_without_a_reload(place: Stage, tmp_path: Path) -> None:
    with place.page() as page:
        page.goto("/sources")
        upload(page, tmp_path, tides=TIDES, cranes="# Crane handbook\n\nCranes lift.")
        page.wait_for_selector("text=2 sources are saved and can be searched.")
        page.evaluate("window.stayed = true")
        # Ready where there is an embedder; where there is none, the reason.
        page.wait_for_selector("tr:has-text('Tide tables') >> text=/Ready|words alone/")
        assert page.evaluate("window.stayed")
        page.goto("/sources/bench?q=sluice")
        assert "Tide tables" in page.inner_text(".found")


@contextmanager
def worker_stopped(place: Stage) -> Iterator[None]:
    """What is stored stays on its way until the end of the block."""
    (worker,) = (pid for pid, line in place.server.command_lines().items() if line.split()[2:3] == ["worker"])
    with databases.frozen(place.server.data, worker):
        yield


def test_a_row_that_comes_anew_leaves_the_focus_and_an_open_menu_alone(place: Stage, tmp_path: Path) -> None:
    row = "tr:has-text('Winch manual')"
    with place.page() as page:
        page.goto("/sources")
        with worker_stopped(place):
            upload(page, tmp_path, winches="# Winch manual\n\nWinches wind.")
            page.wait_for_selector("text=1 source is saved")
            for opens in (False, True):
                page.focus(f"{row} td a")
                page.evaluate("(row) => { window.before = row }", page.query_selector(row))
                if opens:
                    page.focus(f"{row} [popovertarget]")
                    page.keyboard.press("Enter")
                    page.keyboard.press("Tab")
                focused = page.evaluate("document.activeElement.outerHTML")
                comes(page, "!window.before.isConnected")
                assert page.evaluate("document.activeElement.outerHTML") == focused
        page.wait_for_selector(f"{row} >> text=/Ready|words alone/")
        assert page.locator(f"{row} .sheet:popover-open").count() == 1
        page.keyboard.press("Escape")
        page.wait_for_selector(f"{row} .sheet:not(:popover-open)", state="hidden")
        comes(page, "document.activeElement.matches('[popovertarget]')")


def test_files_that_are_dropped_are_stored_and_found(place: Stage, tmp_path: Path) -> None:
    """A real drop, as the browser gets it from the desktop."""
    for name, content in {"buoys": "# Buoy list\n\nBuoys blink.", "moorings": "# Mooring plan\n\nRopes."}.items():
        (tmp_path / f"{name}.md").write_text(content)
    files = [str(path) for path in sorted(tmp_path.glob("*.md"))]
    with place.page() as page:
        page.goto("/sources")
        box = page.locator(".drop").bounding_box()
        assert box is not None
        desktop = page.context.new_cdp_session(page)
        for kind in ("dragEnter", "dragOver", "drop"):
            dragged = {"items": [], "files": files, "dragOperationsMask": 1}
            where = {"x": box["x"] + 40, "y": box["y"] + box["height"] / 2}
            desktop.send("Input.dispatchDragEvent", {"type": kind, "data": dragged, **where})
        page.wait_for_selector("text=2 sources are saved and can be searched.")
        page.goto("/sources/bench?q=blink")
        assert "Buoy list" in page.inner_text(".found")


def test_a_drop_zone_shows_that_files_are_above_it(place: Stage) -> None:
    with place.page() as page:
        page.goto("/sources")
        page.dispatch_event(".drop", "dragenter")
        assert page.locator(".drop.over").count() == 1
        page.dispatch_event(".drop", "dragleave")
        assert page.locator(".drop.over").count() == 0


def test_a_source_is_previewed_written_deleted_and_brought_back(place: Stage) -> None:
    with place.page() as page:
        page.goto("/sources/write")
        page.fill("[name=content]", "# Written here\n\nSome **bold** words.")
        page.evaluate("window.stayed = true")
        page.click("button:has-text('Preview')")
        page.wait_for_selector("#preview strong")
        assert page.evaluate("window.stayed")
        page.click("button:has-text('Save')")
        page.wait_for_selector(".paper strong")
        page.click("[popovertarget=more]")
        page.click("#more button:has-text('Delete')")
        page.wait_for_selector("text=“Written here” is deleted.")
        page.click("button:has-text('Undo')")
        page.wait_for_selector("td >> text=Written here")


def test_a_passage_that_was_found_opens_marked_and_scrolled_to(place: Stage) -> None:
    with place.page() as page:
        page.goto("/sources/bench?q=silent+agent")
        page.click(".found a >> nth=0")
        page.wait_for_selector("#passage")
        box = page.locator("#passage").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 720


def test_a_token_is_copied(place: Stage) -> None:
    with place.page() as page:
        page.goto("/account/tokens")
        page.fill("[name=name]", "Notebook")
        page.check("[value=chats]")
        page.click("button:has-text('Make the token')")
        key = page.inner_text(".once pre")
        page.click(".once [data-copy]")
        page.wait_for_selector(".once [aria-label=Copied]")
        assert page.evaluate("navigator.clipboard.readText()") == key
        assert re.fullmatch(r"\d+\|[\w-]{40}", key)


def app_shows(secret: str) -> str:
    clock = TOTP(b32decode(secret.replace(" ", "") + "=" * (-len(secret.replace(" ", "")) % 8)))
    clock.time = time.time()
    return f"{clock.token():06d}"


def test_a_recovery_code_signs_in_when_the_app_is_lost(place: Stage) -> None:
    with place.page("charlie", bypass_csp=True) as page:
        page.goto("/account/second-factor")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[name=code]")
        page.fill("[name=code]", app_shows(page.inner_text(".code pre")))
        page.press("[name=code]", "Enter")
        page.wait_for_selector(".once")
        assert violations(page) == []
        codes = page.inner_text(".once pre").split("\n")
        page.click(".once [data-copy]")
        page.wait_for_selector(".once [aria-label=Copied]")
        assert page.evaluate("navigator.clipboard.readText()").split("\n") == codes
        page.click("text=To the profile")
        page.wait_for_selector("text=10 recovery codes are left.")
        assert violations(page) == []
    with place.page(None, bypass_csp=True) as page:
        page.fill("[name=email]", "charlie@example.org")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_selector("[name=code]")
        assert violations(page) == []
        page.keyboard.type(codes[2])
        page.keyboard.press("Enter")
        page.wait_for_selector("[name=question]")
        page.goto("/account")
        page.wait_for_selector("text=9 recovery codes are left.")


def test_single_keys_lead_to_pages_but_not_from_fields_and_not_when_switched_off(place: Stage) -> None:
    with place.page() as page:
        page.goto("/account")
        page.press("[name=name]", "n")
        page.locator("h1").click()
        page.keyboard.press("g")
        page.keyboard.press("s")
        page.wait_for_url("**/sources")
        page.goto("/account")
        page.uncheck("[name=single_keys]")
        page.click("form[action$=reading] button")
        page.wait_for_selector("html[data-keys=off]")
        page.locator("h1").click()
        page.keyboard.press("?")
        assert not page.is_visible("#keys")


def test_everything_goes_without_script(place: Stage, tmp_path: Path) -> None:
    with place.page(java_script_enabled=False) as page:
        page.goto("/sources")
        upload(page, tmp_path, plain="# Plain\n\nWithout script.")
        page.click("button:has-text('Upload')")
        page.wait_for_selector("text=1 source is saved")
        page.click("a:has-text('Plain')")
        page.click("a:has-text('Edit')")
        page.click("button:has-text('Preview')")
        assert "Without script." in page.inner_text("#preview")
        page.goto("/account")
        page.click("form[action$=you] button")
        page.wait_for_selector("text=Saved.")
