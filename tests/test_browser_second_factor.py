"""The second factor as people meet it: set up in a browser, its codes copied, and the app then lost."""

from __future__ import annotations

import time
from base64 import b32decode
from collections.abc import Iterator

import pytest
from django_otp.oath import TOTP

from tests.axe import violations
from tests.browser import PASSWORD, Stage, stage


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("factor") / "data") as found:
        yield found


def app_shows(secret: str) -> str:
    clock = TOTP(b32decode(secret.replace(" ", "") + "=" * (-len(secret.replace(" ", "")) % 8)))
    clock.time = time.time()
    return f"{clock.token():06d}"


def test_a_recovery_code_signs_in_when_the_app_is_lost(place: Stage) -> None:
    with place.page("charlie", bypass_csp=True) as page:
        page.goto("/account/second-factor")
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
