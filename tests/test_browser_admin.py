"""Dashboard, first steps and the admin site as an administrator meets them, and before axe-core: light and dark, wide
and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.axe import violations_everywhere
from tests.browser import Stage, stage

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
FILL = """
from datetime import timedelta
from django.utils import timezone
from accounts.models import Token, User
from privategpt import figures
from privategpt.models import Chat, Message, Scenario, Source
root = User.objects.create_superuser("root@example.org", PASSWORD, name="Root")
now = timezone.now()
chat = Chat.objects.create(owner=User.objects.get(name="Alice"), title="Words of the title")
for n in range(40):
    trace = {"times": {"first": 300.0 + 40 * n}, "cited": [1]}
    message = Message.objects.create(
        chat=chat, position=n, question=f"Question {n}?", answer="Sixty seconds.", trace=trace,
        state="failed" if n % 9 == 0 else "complete",
    )
    Message.objects.filter(pk=message.pk).update(created_at=now - timedelta(hours=n))
Scenario.objects.create(name="Short answers", description="Two sentences", owner=root, active=True)
source = Source.objects.filter(title="Settings").first()
Source.objects.filter(pk=source.pk).update(state="error", state_reason="There is no embedder.")
print(User.objects.get(name="Bob").pk, chat.pk, source.pk)
"""
ADMIN = (
    "",
    "accounts/user/",
    "accounts/user/add/",
    "accounts/user/{user}/change/",
    "accounts/group/add/",
    "accounts/auditentry/",
    "relay/agent/",
)
SOURCES_AND_CHATS = ("source/", "source/{source}/change/", "source/{source}/delete/", "chat/", "chat/{chat}/change/")
MORE = ("chat/{chat}/text/", "scenario/", "scenario/add/")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, list[str]]]:
    with stage(tmp_path_factory.mktemp("admin") / "data", more=FILL) as found:
        user, chat, source = found.said.split()[-3:]
        inner = [path.format(chat=chat, source=source) for path in (*SOURCES_AND_CHATS, *MORE)]
        admin = [
            *(f"/admin/{path.format(user=user)}" for path in ADMIN),
            *(f"/admin/privategpt/{path}" for path in inner),
        ]
        yield found, ["/", "/dashboard", "/dashboard?period=month", "/dashboard/health", "/agents", *admin]


def test_no_rule_of_access_is_broken_and_no_page_scrolls_sideways(place: tuple[Stage, list[str]]) -> None:
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
    found, paths = place
    wrong = {}
    with found.page("root", bypass_csp=True) as page:
        for path in paths:
            page.goto(path)
            broken: dict[str, Any] = violations_everywhere(page, [WIDE, PHONE])
            for size in (WIDE, PHONE):
                page.set_viewport_size(size)
                width = page.evaluate("document.documentElement.scrollWidth")
                if width > size["width"]:
                    broken[f"{size['width']}"] = f"{width} wide"
            if broken:
                wrong[path] = broken
    assert wrong == {}


def test_from_the_side_bar_to_a_source_that_failed_and_back_to_work(place: tuple[Stage, list[str]]) -> None:
    with place[0].page("root", viewport=WIDE) as page:
        page.click(".side >> text=Dashboard")
        page.wait_for_selector("h1:has-text('Dashboard')")
        assert page.locator(".plots svg[role=img]").count() == 4
        page.click("text=30 days")
        page.wait_for_url(re.compile("period=month"))
        page.click(".tabs >> text=Sources")
        page.check("tr:has-text('Settings') >> input[type=checkbox]")
        page.select_option("select[name=action]", "vectorize_again")
        page.click("button:has-text('Go'), input[value=Go]")
        page.wait_for_selector("text=Sent back to the worker: 1.")
        page.click(".tabs >> text=Audit log")
        assert "vectorize again source" in page.inner_text("#result_list")


def test_the_first_steps_go_when_they_are_hidden(place: tuple[Stage, list[str]]) -> None:
    with place[0].page("root", viewport=PHONE, java_script_enabled=False) as page:
        page.goto("/")
        if page.locator(".steps").count():  # an endpoint, questions, sources and people are there already
            page.click("text=Hide the first steps")
        assert page.locator(".steps").count() == 0


def test_the_page_that_adds_a_user_leaves_the_console_empty(place: tuple[Stage, list[str]]) -> None:
    with place[0].page("root", viewport=WIDE) as page:
        page.goto("/admin/accounts/user/add/")
        assert page.get_attribute("[name=email]", "autocomplete") == "username"


def test_plots_are_seen_in_forced_colours(place: tuple[Stage, list[str]]) -> None:
    with place[0].page("root", viewport=WIDE, forced_colors="active", color_scheme="dark") as page:
        page.goto("/dashboard?period=month")
        fill = page.eval_on_selector(".bar1", "bar => getComputedStyle(bar).fill")
        canvas = page.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")
        assert fill != canvas
