"""`/scenarios` of release 1.5: named ways of asking. All list them, the role `system` changes them."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from accounts import steps
from accounts.people import Taken
from accounts.units import unit
from privategpt.api.base import ApiView, found_id, page_of
from privategpt.api.envelope import invalid
from privategpt.api.fields import Body, Flag, Number, Page, Text, Whole
from privategpt.api.groups import NONE
from privategpt.models import Scenario

LONGEST_PROMPT = 20_000  # characters
FIELDS = (
    *("name", "description", "icon", "active", "creativity", "k", "similarity_threshold", "context_retriever_type"),
    *("system_pre_prompt", "user_pre_prompt", "user_post_prompt"),
    *("use_sparse", "use_dense", "use_reranking", "use_history"),
)


class Retriever(Text):
    """One of the three kinds."""

    def to_internal_value(self, data: Any) -> str:
        found = super().to_internal_value(data)
        if found not in Scenario.Retriever.values:
            raise invalid({"context_retriever_type": [f"Known: {', '.join(Scenario.Retriever.values)}."]})
        return found


class ScenarioEdit(Body):
    """What to change (contract 2, section 4)."""

    name = Text(min_length=3, max_length=40, required=False)
    description = Text(min_length=3, max_length=128, required=False)
    icon = Text(max_length=100, required=False)
    active = Flag(required=False)
    creativity = Whole(min_value=1, max_value=4, required=False)
    k = Whole(min_value=1, max_value=20, required=False)
    similarity_threshold = Number(min_value=0.0, max_value=0.9999, required=False)
    context_retriever_type = Retriever(required=False)
    system_pre_prompt = Text(allow_blank=True, max_length=LONGEST_PROMPT, required=False)
    user_pre_prompt = Text(allow_blank=True, max_length=LONGEST_PROMPT, required=False)
    user_post_prompt = Text(allow_blank=True, max_length=LONGEST_PROMPT, required=False)
    use_sparse = Flag(required=False)
    use_dense = Flag(required=False)
    use_reranking = Flag(required=False)
    use_history = Flag(required=False, help_text="True only with the retriever none.")


class NewScenario(ScenarioEdit):
    """A scenario to be stored."""

    name = Text(min_length=3, max_length=40)
    description = Text(min_length=3, max_length=128)


class _Keeping(ApiView):
    """What both routes have in common."""

    def call(self) -> None:
        """A scenario is everybody's, whatever their groups: a narrowed token reads it only."""
        super().call()
        if self._method() != "GET":
            self.caller.actor.require_unnarrowed()

    def save(self, action: str, scenario: Scenario) -> None:
        """Checked as a whole: a rule may be broken by a field that was not sent. Raises Refusal, Taken."""
        if scenario.use_history and scenario.context_retriever_type != Scenario.Retriever.NONE:
            raise invalid({"use_history": ["Only with context_retriever_type none."]})
        try:
            with transaction.atomic():
                scenario.save()
                self.caller.actor.record(action, scenario)
        except IntegrityError:
            raise Taken("name") from None


class Scenarios(_Keeping):
    """The scenarios that one may ask with."""

    accepts = {"POST": NewScenario}
    query = {"GET": Page}
    scopes = {"GET": "chats", "POST": "admin"}
    roles = {"POST": "system"}

    def get(self) -> dict[str, Any]:
        """By name."""
        return page_of(self.caller.scenarios().order_by("name"), "scenarios", shape, self.asked)

    @unit
    def post(self) -> dict[str, Any]:
        """A new one."""
        scenario = Scenario(owner=self.caller.user, **self.fields)
        self.save("add scenario", scenario)
        return shape(scenario)


class OneScenario(_Keeping):
    """One scenario: editing and deleting."""

    accepts = {"PATCH": ScenarioEdit, "DELETE": Body}
    scopes = {"PATCH": "admin", "DELETE": "admin"}
    roles = {"PATCH": "system", "DELETE": "system"}

    @unit
    def patch(self, scenario: str) -> dict[str, Any]:
        """Changes what is given."""
        with transaction.atomic():
            found = self.caller.scenarios().select_for_update().get(pk=found_id(scenario))
            for name, value in self.fields.items():
                setattr(found, name, value)
            self.save("change scenario", found)
        return shape(found)

    def delete(self, scenario: str) -> dict[str, Any]:
        """Deletes it; chats that asked with it go on without."""
        found = self.caller.scenarios().get(pk=found_id(scenario))
        steps.loosen(Scenario, [found.pk])  # its chats may be many
        with transaction.atomic():
            self.caller.actor.record("delete scenario", found)
            found.delete()
        return NONE


def shape(scenario: Scenario) -> dict[str, Any]:
    """A scenario with all its fields."""
    key = str(scenario.pk)
    return {"id": key, "scenarioId": key, **{name: getattr(scenario, name) for name in FIELDS}}
