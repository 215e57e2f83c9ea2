"""
Finding runs of a project by the tracking client's filters, in its orders, a page at a time.

The database decides what it can of a filter. What asks for the configuration or the summary is
decided here, on batches of bare facts; only the runs of the page are read whole.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.errors import Invalid, TooMuch
from runyard.domain.run_conditions import Every, Facts, Field, Path, Place, places_in
from runyard.domain.run_filters import Order, parse_filter, parse_order, sort_key
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.db import Row
from runyard.store.tracking import run_search as rows
from runyard.store.values import from_text

MOST: Final = 1000  # runs of a page
_BATCH: Final = 500
_MOST_READ: Final = 50_000  # runs whose facts one question may go through

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of runs; each cursor is a place to go on from."""

    rows: Sequence[Row]
    cursors: Sequence[str]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Search:
    """A filter and an order, understood, for one project that the caller may see."""

    call: Call
    project_id: str
    tree: Every
    order: Order
    conditions: tuple[rows.Condition, ...]
    is_decided: bool  # the conditions are all there is to the filter

    def count(self) -> int:
        """Return how many runs there are. Raises: TooMuch."""
        if self.is_decided:
            return rows.count(self.call.tx, self.project_id, self.conditions)
        return sum(1 for _ in self._matching())

    def page(self, after: str | None, first: int) -> Found:
        """Return up to `first` runs, those after a cursor.

        Raises:
            Invalid: not one of our cursors. TooMuch: too many would have to be looked at.
        """
        first = max(1, min(first, MOST))
        start = _key(after, plain=self._by_age) if after else None
        keys = list(self._keys(start, first + 1))
        shown = keys[:first]
        found = rows.by_pks(self.call.tx, [key[-1] for key in shown])
        return Found(found, [_cursor(key) for key in shown], len(keys) > first)

    @property
    def _by_age(self) -> bool:
        return self.order.place is Field.CREATED_AT

    def _keys(self, start: Key | None, n: int) -> Sequence[Key]:
        """Return sort keys, each with the run's id as its end."""
        if self._by_age:
            after = start[-1] if start else ""
            return [(pk,) for pk, _ in zip(self._ids(after, n), range(n), strict=False)]
        keys = [(*sort_key(f.get(self.order.place)), pk) for pk, f in self._matching()]
        down = self.order.descending
        if start is not None:
            keys = [key for key in keys if (key < start if down else key > start)]
        return sorted(keys, reverse=down)[:n]

    def _ids(self, after: str, n: int) -> Iterator[str]:
        if not self.is_decided:
            return (pk for pk, _ in self._matching(after))
        found = rows.facts(
            self.call.tx, self.project_id, self.conditions, wanted=(), config=False, summary=False,
            after=after, descending=self.order.descending, limit=n,
        )  # fmt: skip
        return (row["pk"] for row in found)

    def _matching(self, after: str = "") -> Iterator[tuple[str, Facts]]:
        """Go through the runs that match, in the order in which they were made.

        Raises:
            TooMuch: there are more to look at than one question may.
        """
        wanted: set[Place] = places_in(self.tree) | {self.order.place}
        fields = [place for place in wanted if isinstance(place, Field)]
        paths = [place for place in wanted if isinstance(place, Path)]
        read = 0
        while True:
            batch = rows.facts(
                self.call.tx, self.project_id, self.conditions, wanted=fields,
                config=any(p.in_config for p in paths),
                summary=any(not p.in_config for p in paths),
                after=after, descending=self._by_age and self.order.descending, limit=_BATCH,
            )  # fmt: skip
            for row in batch:
                facts = _facts(row, fields)
                if self.tree.holds(facts):
                    yield row["pk"], facts
            read += len(batch)
            if len(batch) < _BATCH:
                return
            if read >= _MOST_READ:
                raise TooMuch(
                    f"more than {_MOST_READ} runs would have to be looked at",
                    hint="narrow the filter by state, group, job_type, username or created_at",
                )
            after = batch[-1]["pk"]


def search(call: Call, place: places.Place, filters: str | None, order: str | None) -> Search:
    """Understand a question about the runs of a project.

    Raises:
        NotFound: the caller may not look into it. Invalid: the filter or the order.
    """
    places.need_look(call, place)
    tree = parse_filter(filters)
    conditions, is_decided = rows.narrowed(tree)
    conditions += rows.seen(call.actor.queues, call.actor.user_id)
    return Search(call, place.id, tree, parse_order(order), tuple(conditions), is_decided)


def _facts(row: Row, fields: Sequence[Field]) -> Facts:
    known: dict[Field, Any] = {field: row[field.value] for field in fields}
    if Field.TAGS in known:
        known[Field.TAGS] = from_text(known[Field.TAGS])
    return Facts(known, _object(row, "config_text"), _object(row, "summary_text"))


def _object(row: Row, column: str) -> dict[str, Any]:
    value = json.loads(row[column]) if column in row else {}
    return value if isinstance(value, dict) else {}


def _cursor(key: Key) -> str:
    return urlsafe_b64encode(json.dumps(key).encode()).decode()


def _key(cursor: str, *, plain: bool) -> Key:
    try:
        key = json.loads(urlsafe_b64decode(cursor.encode()))
    except (ValueError, RecursionError):
        key = None
    if (
        isinstance(key, list)
        and len(key) == (1 if plain else 3)
        and isinstance(key[-1], str)
        and (plain or _is_sort_key(key))
    ):
        return tuple(key)
    raise Invalid("after: not a cursor that this server gave for this order")


def _is_sort_key(key: Sequence[Any]) -> bool:
    kinds = {0: int, 1: int | float, 2: str, 3: int, 4: str}
    return isinstance(key[0], int) and key[0] in kinds and isinstance(key[1], kinds[key[0]])
