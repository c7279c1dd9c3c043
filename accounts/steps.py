"""Many rows in small steps, each a transaction of its own: whoever else wants to write waits for one step at most.

What is to go is marked first, in one short transaction, and out of sight from then on; its rows follow here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from django.db import connection, models, transaction
from django.db.models.deletion import CASCADE, DO_NOTHING, SET_NULL, get_candidate_relations_to_delete

from accounts.units import unit

AT_FIRST, LEAST, MOST = 40, 4, 400  # rows in one step
SHORT, LONG = 0.02, 0.08  # seconds: after a shorter step the next one is larger, after a longer one smaller
HEAVY = 10  # as so many rows counts one that others hang on: it may hold a whole text

T = TypeVar("T")


class Pace:
    """How many rows the next step takes, by how long the last one took on this machine, beside its other work."""

    def __init__(self) -> None:
        self.rows = AT_FIRST

    @contextmanager
    def step(self) -> Iterator[int]:
        """One transaction, for so many rows. Behind it others get their turn for as long as it took."""
        began = time.monotonic()
        with transaction.atomic():
            yield self.rows
        took = time.monotonic() - began
        if took > LONG:
            self.rows = max(LEAST, self.rows // 2)
        elif took < SHORT:
            self.rows = min(MOST, self.rows * 2)
        if not connection.in_atomic_block:
            time.sleep(min(took, LONG))


def portions(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """In lists of so many."""
    left = iter(items)
    while portion := list(islice(left, size)):
        yield portion


def end(rows: models.QuerySet[Any], *, until: float = float("inf"), pace: Pace | None = None) -> bool:
    """Deletes the rows and all that hangs on them, step by step, until a monotonic time. True when all is gone.

    Whatever ends it in the middle, the next one goes on with what is left.
    """
    pace, last = pace or Pace(), None
    while chosen := _next(rows, last):
        last = chosen[-1]
        # Once more with their condition: one of them may have come to life since.
        while _step(shrink, pace, rows.filter(pk__in=chosen)):
            if time.monotonic() >= until:
                return False
    return True


def _next(rows: models.QuerySet[Any], last: Any) -> list[Any]:
    """Keys, chosen outside of any step's transaction and behind the last ones: else each step would look through the
    table from its beginning, while everybody waits."""
    behind = rows if last is None else rows.filter(pk__gt=last)
    return list(behind.order_by("pk").values_list("pk", flat=True)[:MOST])


def loosen(model: type[models.Model], owners: Sequence[Any]) -> None:
    """Deletes, or cuts loose, all that hangs on these rows, step by step; the rows themselves stay."""
    pace = Pace()
    for relation in _relations(model):
        while _step(_loosen, pace, relation, owners):
            continue


@unit
def _step(work: Callable[..., int], pace: Pace, *what: Any) -> int:
    with pace.step() as most:
        return work(*what, most)


def shrink(rows: models.QuerySet[Any], most: int) -> int:
    """At most so many: of what hangs on the first rows, which is deleted or cut loose; when nothing does, those."""
    model = rows.model
    relations = _relations(model)
    heavy = any(relation.on_delete is CASCADE for relation in relations)
    first = list(rows.order_by("pk").values_list("pk", flat=True)[: max(1, most // HEAVY) if heavy else most])
    for relation in relations if first else ():
        if count := _loosen(relation, first, most):
            return count
    if first:
        model._base_manager.filter(pk__in=first).delete()
    return len(first)


def hanging(rows: models.QuerySet[Any]) -> dict[type[models.Model], int]:
    """How many rows go along with these, by kind. The database counts: none of them is read."""
    found: dict[type[models.Model], int] = {}
    left = [rows]
    while left:
        owners = left.pop()
        for relation in _relations(owners.model):
            kind: type[models.Model] = relation.related_model
            if relation.on_delete is CASCADE and kind not in found:
                along = kind._base_manager.filter(**{f"{relation.field.name}__in": owners.order_by().values("pk")})
                found[kind] = along.count()
                left.append(along)
    return found


def _relations(model: type[models.Model]) -> list[Any]:
    found: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    return [relation for relation in found if relation.on_delete is not DO_NOTHING]


def _loosen(relation: Any, owners: Sequence[Any], most: int) -> int:
    """Takes at most so many rows of one relation away from their owners. Other kinds are left for the deletion."""
    field = relation.field
    hanging = relation.related_model._base_manager.filter(**{f"{field.name}__in": owners})
    if relation.on_delete is CASCADE:
        return shrink(hanging, most)
    if relation.on_delete is not SET_NULL:
        return 0
    heavy = any(each.on_delete is CASCADE for each in _relations(relation.related_model))
    some = list(hanging.order_by("pk").values_list("pk", flat=True)[: max(1, most // HEAVY) if heavy else most])
    if some:
        relation.related_model._base_manager.filter(pk__in=some).update(**{field.name: None})
    return len(some)
