"""`creator.name` and the users' names are never empty: clients index and show them."""

from __future__ import annotations

from accounts.models import User
from privategpt.models import Source
from tests.contract2.server import Program


def test_a_creator_without_a_name_is_the_part_before_the_at(as_root: Program, root: User) -> None:
    User.objects.update(name="")
    stored = as_root.post("/sources", {"name": "Tides", "content": "The tide turns.", "groups": [], "usePublic": True})
    assert stored.status == 200, stored.body
    path = f"/sources/{Source.objects.get().pk}"
    assert as_root.get(path).data["creator"] == {"email": "root@example.org", "name": "root"}
    (listed,) = as_root.get("/users").data["users"]
    assert listed["name"] == "root"
    Source.objects.update(creator=None)
    assert as_root.get(path).data["creator"] == {"email": "", "name": "deleted user"}
