"""Looking for images costs the same however many there were, and however often they were used."""

import pytest
from sqlalchemy import insert, select, text

from runyard.store import image_lists, image_pruning, images, stage_logs
from runyard.store import tables as t
from tests.services.conftest import Yard
from tests.store.test_plans import plan

NAME = [("e", "", "r", "t")]
HOT = {
    "images by name": (images._LOCKED, {"names": NAME}, "entity_id"),
    "whether a builder lives": (images._HELD, {"item": "i", "attempt": 1, "now": 1}, "items"),
    "the run of a builder": (images._RUN, {"item": "i"}, "items"),
    "when an item came": (images._FIRST, {"item": "i"}, "ix_item_events_item"),
    "what an item uses": (images._USED, {"item": "i"}, "image_uses"),
    "images of a state": (
        image_pruning._OF_STATE, {"state": "READY", "entity": "e", "after": ""}, "ix_images_state",
    ),
    "what needs images": (
        image_pruning._LIVE, {"queue": "q", "state": "PENDING", "after": ""},
        "ix_items_queue_state",
    ),
    "what is doomed": (
        image_pruning._DOOMED,
        {"entity": "e", "place": "", "repository": "r", "after": "", "limit": 5},
        "ix_images_state",
    ),
    "builds that came to nothing": (image_pruning._STALE, {"before": 1}, "ix_images_state"),
    "how many items use images": (image_lists._IN_USE, {"owners": ["e"]}, "ix_items_held"),
    "how much stages have printed": (stage_logs._SIZES, {"items": ["i"]}, "stage_chunks"),
    "a piece of a stage's log": (
        stage_logs._FROM, {"item": "i", "stage": "build", "offset": 5, "chunks": 8},
        "stage_chunks",
    ),
}  # fmt: skip
LARGE = ("images", "image_uses", "items", "item_events", "stage_chunks", "runs")


@pytest.mark.parametrize("name", HOT)
def test_no_question_about_images_scans_a_large_table(database, name):
    statement, params, index = HOT[name]
    found = plan(database, statement, params)
    assert index in found
    for table in LARGE:
        assert f"SCAN {table}" not in found, found
        assert f"Seq Scan on {table}" not in found, found


def test_the_test_would_see_a_scan(database):
    found = plan(database, select(t.images).where(t.images.c.digest == "x"), {})
    assert "SCAN images" in found or "Seq Scan on images" in found


def test_a_doomed_image_is_found_in_order_without_sorting(database):
    found = plan(database, *HOT["what is doomed"][:2])
    assert "TEMP B-TREE" not in found
    assert "Sort" not in found


def test_an_image_that_was_used_a_thousand_times_is_counted_from_what_is_held(database):
    with database.begin() as tx:
        yard = Yard(tx)
        agent = yard.register()
        run = [f"r{n}" for n in range(1000)]
        items = yard.submit(*run)
        for n in range(3):
            made = {"id": f"i{n}", "entity_id": yard.team_id("ann"), "repository": "r"}
            more = {"tag": f"t{n}", "state": "FAILED", "item_id": "", "attempt": 0}
            times = dict.fromkeys(("created_at", "began_at", "used_at"), 0)
            tx.run(insert(t.images), {**made, **more, **times})
        tx.run(insert(t.image_uses), [{"item_id": i, "image_id": "i0"} for i in items])
        held = yard.lease(agent, 3)
        assert len(held) == 3
        tx.connection.execute(text("ANALYZE"))

        assert image_lists.in_use(tx, [yard.team_id("ann")]) == {"i0": 3}
        assert image_lists.in_use(tx, []) == {}
