"""The soak drives everything at a real server, and says when a process grew or an answer was a fault."""

import os
from collections.abc import Callable, Iterable

import pytest

from bench.growth import Growth, Sample, Watch, growth, sample, table
from bench.mix import FINE, Outcomes
from bench.soak import judged, main

MB = 1e6
SHORT = ["--minutes", "0.03", "--rate", "40", "--agents", "2", "--stays", "0.5", "--embedder", "off"]


def grown(size: Callable[[int], float], count: int = 100) -> Growth:
    """Of a process that had this size at each second."""
    return growth("web", [Sample(at, size(at), 0) for at in range(count)])


def outcomes(*told: tuple[str, str]) -> Outcomes:
    found = Outcomes()
    found.counts.update(told)
    return found


def watched(sizes: Iterable[float]) -> Watch:
    return Watch(1, {("web", 2): [Sample(at, size, 0) for at, size in enumerate(sizes)]})


def test_every_part_is_driven_and_every_process_watched(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(SHORT)
    said = capsys.readouterr()
    assert status in {0, 1}, said.err  # 1: two seconds are no warm-up
    for deed in ("ask", "upload", "chat", "page", "failed sign-in"):
        assert f"\n{deed}: " in said.out
    for process in ("supervisor", "web", "worker"):
        assert f"| {process} (" in said.out
    assert " x " not in said.out, "a fault of the server"


def test_a_process_that_stays_as_it_is_keeps_the_promise() -> None:
    even = grown(lambda second: 100 * MB + second % 2 * MB)
    assert even.is_kept
    assert abs(even.line) < 0.01
    assert "| yes |" in table([even])


def test_steady_growth_breaks_it() -> None:
    leak = grown(lambda second: (100 + second * 0.1) * MB)
    assert not leak.is_kept
    assert round(leak.line, 2) == 0.10
    assert "| MISSED |" in table([leak])


def test_a_step_breaks_it_too() -> None:
    assert not grown(lambda second: (100 if second < 85 else 106) * MB).is_kept


def test_what_was_before_the_warm_up_does_not_count() -> None:
    watch = watched([50 * MB] * 20 + [100 * MB] * 20)
    assert [each.is_kept for each in watch.growths(since=0)] == [False]
    assert [each.is_kept for each in watch.growths(since=20)] == [True]


def test_a_run_too_short_to_tell_keeps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not judged(outcomes(("ask", FINE)), watched([100 * MB] * 5), 0)
    assert "too short" in capsys.readouterr().out


def test_a_process_that_ends_breaks_the_promise(capsys: pytest.CaptureFixture[str]) -> None:
    watch = watched([100 * MB] * 20)
    assert judged(outcomes(("ask", FINE)), watch, 0)
    watch.look()  # there is no process of that number beneath this one
    assert not judged(outcomes(("ask", FINE)), watch, 0)
    assert "a process ended: web 2" in capsys.readouterr().out


def test_refusals_with_a_reason_are_told_and_faults_break_the_promise() -> None:
    assert outcomes(("ask", FINE), ("ask", "503"), ("ask", "429")).troubles() == []
    assert outcomes(("ask", FINE), ("ask", "500")).troubles() == ["ask: 1 x 500"]
    assert outcomes(("ask", FINE), ("ask", "ReadTimeout")).troubles() == ["ask: 1 x ReadTimeout"]


def test_a_kind_of_deed_that_is_always_refused_was_not_tried() -> None:
    assert outcomes(("upload", "403"), ("ask", FINE)).troubles() == ["upload: not one went well"]


def test_resident_memory_is_read_from_the_kernel() -> None:
    assert 5 * MB < sample(os.getpid()).rss < 5000 * MB
    with pytest.raises(OSError, match="2147483647"):
        sample(2147483647)
