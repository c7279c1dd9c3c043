"""Scenarios in the admin site, under contract 2's limits."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEntry
from privategpt.models import Scenario
from tests.admin_site import administrator, page, signed_in, staff


def fields(**changed: Any) -> dict[str, Any]:
    given = {"name": "Short answers", "description": "Two sentences", "icon": "ph-shapes", "creativity": "1", "k": "5"}
    given |= {"similarity_threshold": "0.2", "context_retriever_type": "none", "active": "on"}
    return given | changed


def test_who_runs_the_system_makes_changes_and_deletes_them_and_each_act_is_recorded(db: None) -> None:
    member = staff("system")
    client = signed_in(member)
    assert client.post(page(Scenario, "add"), fields()).status_code == 302
    made = Scenario.objects.get()
    assert (made.owner, made.similarity_threshold) == (member, 0.2)
    assert client.post(page(Scenario, "change", made.pk), fields(name="Shorter")).status_code == 302
    assert client.post(page(Scenario, "delete", made.pk), {"post": "yes"}).status_code == 302
    acts = [entry.action for entry in AuditEntry.objects.order_by("id")]
    assert acts == ["add scenario", "change scenario", "delete scenario"]


@pytest.mark.parametrize("role", ["users", "documents", "analytics"])
def test_nobody_else_does(db: None, role: str) -> None:
    client = signed_in(staff(role))
    assert client.get(page(Scenario, "changelist")).status_code == 403
    assert client.post(page(Scenario, "add"), fields()).status_code == 403
    assert not Scenario.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": "21"},
        {"creativity": "0"},
        {"similarity_threshold": "1"},
        {"name": "ab"},
        {"use_history": "on", "context_retriever_type": "vector_store"},
        {"system_pre_prompt": "x" * 20_001},
    ],
    ids=str,
)
def test_what_contract_2_would_refuse_is_refused_here(db: None, wrong: dict[str, str]) -> None:
    found = signed_in(administrator()).post(page(Scenario, "add"), fields(**wrong))
    assert found.status_code == 200
    assert "errornote" in found.content.decode()
    assert not Scenario.objects.exists()
