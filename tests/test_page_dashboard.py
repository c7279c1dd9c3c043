"""The dashboard: who may see it, what it says, and that it costs the same however much there is."""

from __future__ import annotations

import csv
import re

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Group, User
from privategpt import figures, ingest
from privategpt.figures import HOUR
from privategpt.models import Source
from tests.admin_site import administrator, staff
from tests.pages import browser, text
from tests.test_figures import asked


def test_only_administrators_who_may_watch_see_it(alice: User) -> None:
    assert browser().get("/dashboard")["Location"].startswith("/sign-in")
    alice.roles = ["analytics"]
    alice.save()
    for path in ("/dashboard", "/dashboard/figures.csv"):
        assert browser(alice).get(path).status_code == 404
        assert browser(staff("users", email="u@example.org")).get(path).status_code == 404
        User.objects.filter(email="u@example.org").delete()
        for member in (administrator(), staff("analytics"), staff("system", email="s@example.org")):
            assert browser(member).get(path).status_code == 200
            member.delete()


def test_the_way_to_it_is_shown_to_who_may_go(alice: User) -> None:
    assert "/dashboard" not in browser(alice).get("/agents").content.decode()
    assert "/dashboard" not in browser(staff("users")).get("/agents").content.decode()
    assert "/dashboard" in browser(staff("analytics", email="a@example.org")).get("/agents").content.decode()


def test_it_says_in_words_what_its_plots_show(alice: User) -> None:
    now = timezone.now()
    for state in ("complete", "complete", "complete", "failed"):
        asked(alice, now, state)
    page = browser(administrator()).get("/dashboard")
    words = text(page)
    assert "Questions 4" in words
    assert "Answered 75.0 %" in words
    assert "0.9" in words.split("Wait for the first word")[1][:8]
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page.content.decode())
    assert len(labels) == 4
    assert labels[0].startswith("Bars: Questions, 4 at most 4 in one bar, from ")
    assert 'class="bar2"' in page.content.decode()
    assert "style=" not in page.content.decode()


def test_without_data_there_are_axes_and_a_sentence(db: None) -> None:
    page = browser(administrator()).get("/dashboard")
    assert text(page).count("Nothing yet.") == 4
    assert page.content.decode().count('class="grid"') == 12
    assert "<rect" not in page.content.decode()


def test_numbers_of_a_drawing_have_full_stops_in_every_language(alice: User) -> None:
    asked(alice, timezone.now())
    root = administrator()
    root.language = "de"
    root.save()
    shown = browser(root).get("/dashboard").content.decode()
    assert "Fragen" in shown
    for attribute in re.findall(r'\b(?:x|y|x1|y1|width|height)="([^"]*)"', shown.split('class="plots"')[1]):
        assert re.fullmatch(r"[\d.]+", attribute)


@pytest.mark.parametrize(("period", "bars"), [("day", 24), ("week", 28), ("month", 30), ("nonsense", 24)])
def test_a_period_is_chosen_by_a_link(alice: User, period: str, bars: int) -> None:
    asked(alice, timezone.now() - 2 * HOUR)
    client = browser(administrator())
    assert client.get(f"/dashboard?period={period}").status_code == 200
    rows = list(csv.reader(client.get(f"/dashboard/figures.csv?period={period}").content.decode().splitlines()))
    assert len(rows) == bars + 1
    assert sum(int(row[1]) for row in rows[1:]) == 1
    assert not any(cell[:1] in "=+-@" for row in rows[1:] for cell in row if cell)


def test_titles_of_failed_sources_are_for_who_may_read_them(alice: User) -> None:
    group = Group.objects.create(name="Harbour office")
    source = ingest.store(alice, title="Tide tables", content="# Tides\n\nHigh.", groups=[group], public=False)
    Source.objects.update(state=Source.State.ERROR, state_reason="No embedder.")
    watcher = staff("analytics")
    shown = text(browser(watcher).get("/dashboard"))
    assert "Tide tables" not in shown
    assert "1 source failed; it is not yours to read." in shown
    watcher.groups.add(group)
    page = browser(watcher).get("/dashboard")
    assert f"/sources/{source.pk}/" in page.content.decode()
    assert "No embedder." in text(page)
    assert f"/admin/privategpt/source/{source.pk}/" in browser(administrator()).get("/dashboard").content.decode()


def test_it_takes_the_same_queries_however_much_there_is(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = browser(administrator())
    asked(alice, timezone.now())
    client.get("/dashboard")
    with django_assert_num_queries(10):
        client.get("/dashboard?period=month")
    for number in range(12):
        asked(alice, timezone.now() - number * 5 * HOUR, "failed" if number % 3 else "complete")
        ingest.store(alice, title=f"T{number}", content="# T\n\nText.", groups=[], public=True)
    Source.objects.update(state=Source.State.ERROR)
    figures.roll_up()
    with django_assert_num_queries(10):
        client.get("/dashboard?period=month")
