"""`/sources`: storing, editing, finding and deleting what answers rest on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch

from accounts.models import Group
from privategpt import ingest
from privategpt.api import idempotency
from privategpt.api.base import ApiView, found_id, in_thread, page_of
from privategpt.api.credentials import Caller
from privategpt.api.envelope import invalid, moment
from privategpt.api.fields import Body, Names, OneOrMore, Page, Text, Wait
from privategpt.api.groups import own_groups
from privategpt.models import Source
from privategpt.retrieval.index import Cut

LONGEST_TITLE = 1000  # characters
LONGEST_WAIT = 60.0  # seconds
GONE = "deleted user"  # clients index the creator's name, which is never empty
FINAL = {Source.State.VECTORIZED, Source.State.ERROR}


class _Titled(Body):
    """`title` in the seed's spelling, `name` in the later one's; name wins."""

    title = Text(required=False, max_length=LONGEST_TITLE)
    name = Text(required=False, max_length=LONGEST_TITLE, help_text="Another name of title; wins if both are there.")

    def validate(self, attrs: Any) -> Any:
        if "name" in attrs:
            attrs["title"] = attrs.pop("name")
        return attrs


class NewSource(_Titled):
    """A source to be stored. Without groups it is public."""

    content = Text(help_text="Markdown.")
    groups = Names()

    def validate(self, attrs: Any) -> Any:
        attrs = super().validate(attrs)
        if "title" not in attrs:
            raise invalid({"title": ["This field is required."]})
        if settings.API["groups_required"] and "groups" not in attrs:
            raise invalid({"groups": ["This field is required; [] makes the source public."]})
        return attrs


class SourceEdit(_Titled):
    """What to change. `"groups": []` makes the source public; groups that are no names leave it as it is."""

    content = Text(required=False)
    groups = Names()

    def to_internal_value(self, data: Any) -> Any:
        found = super().to_internal_value(data)
        # `[null]` is how a client says that it was given none: that must never publish anything.
        if not found.get("groups") and data.get("groups"):
            found.pop("groups", None)
        return found


class GroupsNamed(Body):
    """Which groups; the empty text stands for what is public."""

    groupName = OneOrMore(source="names", required=True)  # noqa: N815


class Sources(ApiView):
    """Storing a source, and the list of those that one may read."""

    accepts = {"POST": NewSource}
    query = {"GET": Page}
    scopes = {"GET": "sources:read", "POST": "sources:write"}
    roles = {"POST": "documents"}

    def limit(self) -> int:
        return int(settings.MAX_BODY_BYTES)

    def get(self) -> dict[str, Any]:
        """Those that one may read, newest first."""
        rows = self.caller.sources().defer("content").select_related("creator").prefetch_related(reached(self.caller))
        return page_of(rows.order_by("-created_at", "pk"), "sources", shape, self.asked)

    def post(self) -> dict[str, Any]:
        """Saved, and found by its words, before the answer leaves. Vectors follow."""
        groups = own_groups(self.caller, self.fields.get("groups", []))
        if not groups:
            _may_publish(self.caller)
        cut = ingest.prepare(self.fields["title"], self.fields["content"])
        made = idempotency.kept(self.caller, self.plain, self.raw) or self._store(groups, cut)
        return _ids(made["source"])

    def _store(self, groups: Sequence[Group], cut: Cut) -> dict[str, str]:
        """A long text is stored beforehand, out of sight; what makes it seen is one transaction with its key."""
        with ingest.laid_down(self.caller.user, cut) as laid:

            def publish() -> dict[str, str]:
                return {"source": str(ingest.publish(laid, groups=list(groups), public=not groups).pk)}

            return idempotency.once(self.caller, self.plain, self.raw, publish)


class SourcesOrList(Sources):
    """An early README posts what lists by group to `/sources` too: a body with groupName and nothing to store."""

    def admit(self) -> None:
        if self._lists():
            self.accepts, self.scopes, self.roles = {"POST": GroupsNamed}, {"POST": "sources:read"}, {}
        super().admit()

    def post(self) -> dict[str, Any]:
        if self._lists():
            return listed(self.caller, self.fields["names"])
        return super().post()

    def _lists(self) -> bool:
        return "groupName" in self._sent and not {"title", "name", "content"} & self._sent.keys()


class SourcesOfGroup(ApiView):
    """`POST /sources/groups`, and `/sources/group` of an early README."""

    accepts = {"POST": GroupsNamed}
    scopes = {"POST": "sources:read"}

    def post(self) -> dict[str, Any]:
        """The ids of the sources of these groups; none for groups that are unknown or not one's own."""
        return listed(self.caller, self.fields["names"])


class OneSource(ApiView):
    """One source: what is known of it, editing, deleting."""

    accepts = {"PATCH": SourceEdit, "DELETE": Body}
    query = {"GET": Wait}
    scopes = {"GET": "sources:read", "PATCH": "sources:write", "DELETE": "sources:write"}
    roles = {"PATCH": "documents", "DELETE": "documents"}

    def limit(self) -> int:
        return int(settings.MAX_BODY_BYTES)

    async def get(self, source: str) -> dict[str, Any]:
        """The source's state; `?wait=SECONDS` answers when the state is final, or when the time is over."""
        begun, pause = time.monotonic(), 0.05
        while True:
            found = await in_thread(self._read_source, source)
            left = begun + min(LONGEST_WAIT, self.asked["wait"]) - time.monotonic()
            if found.state in FINAL or left <= 0:
                return shape(found)
            await asyncio.sleep(min(pause, left))
            pause = min(1.0, pause * 1.5)

    def _read_source(self, source: str) -> Source:
        self.admit()  # each time: rights may end while one waits
        rows = self.caller.sources().defer("content").select_related("creator").prefetch_related(reached(self.caller))
        return rows.get(pk=found_id(source))

    def patch(self, source: str) -> dict[str, str]:
        """Changes what is given."""
        found = _own_source(self.caller, source)
        groups = self.fields.get("groups")
        if groups is not None:
            groups = own_groups(self.caller, groups)
            _may_keep(self.caller, groups, is_public=not groups)
        ingest.edit(found, title=self.fields.get("title"), content=self.fields.get("content"), groups=groups)
        return _ids(str(found.pk))

    def delete(self, source: str) -> list[Any]:
        """Deletes the source."""
        ingest.delete(_own_source(self.caller, source))
        return []


def reached(caller: Caller) -> Prefetch[Any]:
    """Of what is shown, the groups that the token reaches."""
    return Prefetch("groups", caller.reachable())


def listed(caller: Caller, names: Sequence[str]) -> dict[str, list[str]]:
    """Ids by group name, newest first."""
    own = [group.pk for group in caller.groups() if group.name in names]
    rows = caller.sources().among(own, public="" in names).order_by("-created_at", "pk")
    return {"sources": [str(pk) for pk, _ in rows.values_list("pk", "created_at")]}


def _own_source(caller: Caller, source: str) -> Source:
    """One that the caller may change. Raises Source.DoesNotExist for what they may not even see."""
    found = caller.sources().prefetch_related("groups").get(pk=found_id(source))
    _may_keep(caller, found.groups.all(), is_public=found.is_public)
    return found


def _may_keep(caller: Caller, groups: Sequence[Group] | Any, *, is_public: bool) -> None:
    """Whether all who read such a source are the caller's: their own groups, or everybody for who may publish."""
    if is_public:
        _may_publish(caller)
    if not set(groups) <= set(caller.groups()):
        raise PermissionDenied("This source belongs to a group that is not yours as well.")


def _may_publish(caller: Caller) -> None:
    if not caller.user.may_use_public or caller.narrowed_to is not None:
        raise PermissionDenied("You may not store, change or delete public sources.")


def _ids(source: str) -> dict[str, str]:
    return {"sourceId": source, "documentId": source}


def shape(source: Source) -> dict[str, Any]:
    """A source as it is shown; its content never is."""
    creator = source.creator
    return {
        **_ids(str(source.pk)),
        "title": source.title,
        "groups": [group.name for group in source.groups.all()],
        "isPublic": source.is_public,
        "state": source.state,
        "stateReason": source.state_reason,
        "progress": {"done": source.passages_done, "total": source.passages_total},
        "language": source.language,
        "creator": {
            "email": (creator and creator.email) or "",
            "name": creator.called if creator else GONE,
        },
        "createdAt": moment(source.created_at),
        "updatedAt": moment(source.updated_at),
    }
