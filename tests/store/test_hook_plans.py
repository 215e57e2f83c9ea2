"""Looking around for notifications costs the same however many items wait."""

import pytest
from sqlalchemy import select

from runyard.store import hook_events, hooks
from runyard.store import tables as t
from tests.store.test_plans import plan

ONE_LOOK = {
    "what waits longest": (hook_events._OLDEST[False, False], {"queue": "q"}, "ix_items_waiting"),
    "what of one author waits longest": (
        hook_events._OLDEST[True, False], {"queue": "q", "author": "u"}, "ix_items_line",
    ),
    "how many wait too long": (
        hook_events._COUNT[False, False],
        {"queue": "q", "since": 1, "most": 1000},
        "ix_items_waiting",
    ),
    "what a hook has to send": (
        hooks._DUE, {"hook": "h", "now": 1, "limit": 5}, "ix_deliveries_due",
    ),
    "which hooks have something to send": (
        hooks._DUE_HOOKS, {"now": 1, "limit": 20}, "ix_deliveries_due",
    ),
    "ends of items": (hook_events._MOVES, {"after": 1, "to": 500}, "item_events"),
    "an item": (hook_events._ITEM, {"item": "i"}, "items"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_LOOK)
def test_no_look_reads_a_whole_line(database, name):
    statement, params, index = ONE_LOOK[name]
    found = plan(database, statement, params)
    assert index in found
    for table in ("items", "item_events", "deliveries", "runs"):
        assert f"SCAN {table}" not in found.replace(f"SCAN {table} USING INDEX ix_items", ""), found
        assert f"Seq Scan on {table}" not in found, found


@pytest.mark.parametrize("mine", [False, True])
def test_the_first_of_a_line_is_the_beginning_of_an_index(database, mine):
    params = {"queue": "q"} | ({"author": "u"} if mine else {})
    found = plan(database, hook_events.first_query(2, author=mine), params)
    assert "TEMP B-TREE" not in found
    assert "Sort" not in found


def test_the_test_would_see_a_scan(database):
    waits = select(t.items.c.id).where(t.items.c.pinned_agent == "x").limit(1)
    found = plan(database, waits.order_by(t.items.c.enqueued_at), {})
    assert "SCAN items" in found or "Seq Scan on items" in found
    assert "TEMP B-TREE" in found or "Sort" in found
