"""What is shipped for systemd, Prometheus and Grafana: it names only figures and settings that there are."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.running import ROOT

FIGURE = re.compile(r"\b(switchboard_[a-z_]+|process_[a-z_]+)\b")
OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")
OF_PROCESSES = {
    *("process_open_fds", "process_max_fds", "process_resident_memory_bytes"),
    *("process_cpu_seconds_total", "process_start_time_seconds", "process_virtual_memory_bytes"),
}
RULES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus-rules.yml").read_text())
BOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana-board.json").read_text())


def known() -> set[str]:
    """Figures by their names in the code: whole, or as what stands behind `switchboard_`."""
    code = "".join((ROOT / path).read_text() for path in ("project/metrics.py", "privategpt/tally.py"))
    helped = re.findall(r"_(gauge|gauges|counter|histogram)\(\s*\"([a-z_]+)\"", code)
    whole = re.findall(r"(Counter|CounterMetricFamily|Histogram|GaugeMetricFamily)\(\s*\"switchboard_([a-z_]+)\"", code)
    counters = {f"switchboard_{name}_total" for kind, name in [*helped, *whole] if "counter" in kind.lower()}
    others = {f"switchboard_{name}" for kind, name in [*helped, *whole] if "counter" not in kind.lower()}
    return counters | others | OF_PROCESSES


def expressions() -> Iterator[str]:
    for group in RULES["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in BOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_each_figure_is_one_of_the_programs(expression: str) -> None:
    named = {OF_HISTOGRAMS.sub("", name) for name in FIGURE.findall(expression)}
    assert named or 'up{job="switchboard"}' in expression
    assert named - known() == set()


def sides(expression: str) -> list[str]:
    """What stands on both sides of operators outside of all brackets."""
    depth, found, word = 0, [""], ""
    for word in re.split(r"(\s+(?:and|or|unless|[-+*/]|[<>]=?|[=!]=)\s+|[(){}\[\]])", expression):
        if word in {"(", "{", "["}:
            depth += 1
        elif word in {")", "}", "]"}:
            depth -= 1
        if not depth and word.strip() in {"and", "or", "unless", *"-+*/<>", "<=", ">=", "==", "!="}:
            found.append("")
        else:
            found[-1] += word
    return [side.strip() for side in found]


def labels(side: str) -> str | None:
    """Which labels it has: "" is none, "*" all that there are; None for a number, which goes with any."""
    if re.fullmatch(r"[\d.e]+", side):
        return None
    if match := re.match(r"(?:min|max|sum|count|avg) by \((\w+)\)", side):
        return match[1]
    if re.match(r"(?:min|max|sum|count|avg|absent)\s*\(", side):
        return ""
    if match := re.match(r"(?:clamp_min|histogram_quantile)\((.*)\)$", side):
        inner = {labels(each) for part in re.split(r",\s*(?![^(]*\))", match[1]) for each in sides(part)} - {None}
        return "" if inner == {"le"} else inner.pop()
    return "*"


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_both_sides_have_the_same_labels_or_they_would_never_meet(expression: str) -> None:
    assert len({labels(side) for side in sides(expression)} - {None}) == 1


def test_sides_that_never_meet_are_noticed() -> None:
    """As an alert had them that was silent for ever."""
    expression = "max(a) - max(b) > 0 and delta(b[30m]) == 0"
    assert [labels(side) for side in sides(expression)] == ["", "", None, "*", None]


def test_a_figure_that_is_not_there_would_be_noticed() -> None:
    assert "switchboard_asks_total" in known()
    assert "switchboard_ask_wait_seconds" in known()
    assert "switchboard_asks" not in known()
    assert "switchboard_part_restarts_total" in known()


def test_each_alert_says_what_to_do() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    assert all(rule["annotations"]["summary"] and rule["annotations"]["do"] for rule in rules)
    assert all(rule["labels"]["severity"] in {"page", "ticket"} for rule in rules)


def test_the_board_has_room_for_each_panel() -> None:
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]}
    assert len(places) == len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_unit_waits_for_a_database_and_may_do_little() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy/switchboard.service")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    service = unit["Service"]
    assert (service["Restart"], service["RestartSec"], service["UMask"]) == ("always", "5", "0077")
    assert int(service["TimeoutStopSec"]) > 30, "DRAIN_SECONDS"
    assert service["NoNewPrivileges"] == service["ProtectHome"] == "yes"
    assert service["ExecStart"].endswith("manage.py serve")
    known_settings = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {word.split("=")[0] for word in service["Environment"].split()} <= known_settings
    assert Path(service["WorkingDirectory"]).is_absolute()
    (log,) = re.findall(r"`LOG_FILE=(/\S+)`", (ROOT / "docs/operations.md").read_text())
    assert service["ProtectSystem"] == "strict"
    assert Path(log).parent == Path("/var/log") / service["LogsDirectory"], "the only place there that it may write"
