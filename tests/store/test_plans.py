"""Every hot query finds its rows by an index, however much history there is."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql, sqlite

from runyard.domain.run_conditions import Field
from runyard.store import (
    accounts,
    agents,
    attempts,
    items,
    jobs,
    logs,
    queues,
    shares,
    views,
    waiting,
)
from runyard.store import tables as t
from runyard.store.tracking import run_search
from runyard.store.tracking import runs as tracked
from tests.services.conftest import Yard

HOT = {
    "what is leased next": (waiting._NEXT, {"queue_id": "q", "agent": "a", "limit": 5}),
    "items by id": (items._BY_ID, {"ids": ["1", "2"]}),
    "what an agent holds": (items._HELD, {"agent_id": "a"}),
    "ids of what an agent holds": (items._HELD_IDS, {"agent_id": "a"}),
    "renewing what an agent holds": (
        select(t.items.c.id).where(items._RENEW.whereclause),  # how an update finds its rows
        {"agent": "a", "now": 1},
    ),
    "what is overdue": (waiting._OVERDUE, {"now": 1}),
    "what waited too long": (waiting._OVERWAITED, {"now": 1}),
    "what backed off long enough": (waiting._READY, {"now": 1}),
    "what runs too long": (waiting._OVERRUN, {"now": 1}),
    "what is leased next but of some": (
        waiting._NEXT_WITHOUT, {"queue_id": "q", "agent": "a", "limit": 5, "without": ["u"]},
    ),
    "whose is leased next": (waiting._NEXT_AUTHORS, {"queue_id": "q", "limit": 5}),
    "what of a user waits": (waiting._OF_AUTHOR, {"queue_id": "q", "author": "u"}),
    "what a user has in flight": (waiting._IN_FLIGHT, {"queue_id": "q", "author": "u"}),
    "how many run": (waiting._RUN, {"queue_id": "q"}),
    "what runs of a queue": (waiting._RUNNING, {"queue_id": "q"}),
    "how many wait": (waiting._COUNT, {"queue_id": "q", "limit": 5}),
    "how many of a user wait": (waiting._COUNT_OF, {"queue_id": "q", "author": "u", "limit": 5}),
    "what has aged": (waiting._AGED, {"queue_id": "q", "level": 2, "now": 9, "step": 1}),
    "where users stand": (shares._OF_USERS, {"queue": "q", "users": ["u"]}),
    "whose turns moved": (shares._MOVED, {}),
    "what a credential stands for": (accounts._BY_HASH, {"hash": "h", "now": 1}),
    "roles of a user": (accounts._ROLES, {"user": "u"}),
    "a project by name": (accounts._PROJECT, {"entity": "e", "name": "p"}),
    "a queue by name": (queues._BY_NAME, {"entity": "e", "name": "q"}),
    "depth of queues": (queues._COUNTS, {"ids": ["q"]}),
    "queues of an agent": (agents._SERVED, {"agent": "a"}),
    "a job by name": (jobs._JOB, {"entity": "e", "project": "p", "name": "j"}),
    "a job's version": (jobs._VERSION, {"job": "j", "version": 1}),
    "an attempt": (attempts._ONE, {"item": "i", "attempt": 1}),
    "a piece of a log": (logs._FROM, {"run": "r", "offset": 5, "chunks": 8}),
    "an item to look at": (views._ITEM, {"item": "i"}),
    "a run to look at": (views._RUN, {"entity": "e", "project": "p", "run": "r"}),
    "a run by its name": (tracked._NAMED, {"project": "p", "name": "r"}),
    "a run by its id": (tracked._BY_PK, {"pk": "r"}),
    "who reports of a run": (tracked._LIFE, {"pk": "r"}),
    "whose programs fell silent": (tracked._SILENT, {"until": 1}),
    "a page of runs of a project": (
        run_search.facts_query(
            "p", (), wanted=list(Field), config=True, summary=True, after="a", descending=True,
            limit=50,
        ),
        {},
    ),
    "a page of a queue": (
        views.items_query(
            limit=50, before="z", queue_id="q", owners=None, states=(), author_id=None
        ),
        {},
    ),
    "a page of a queue by state": (
        views.items_query(
            limit=50, before="z", queue_id="q", owners=None, states=["FAILED"], author_id=None
        ),
        {},
    ),
}  # fmt: skip
# Small tables: entities, users, queues, agents. Reading them whole is what a planner may choose.
SMALL = ("entities", "users", "queues", "agents", "projects", "memberships", "owner", "target",
         "author", "agent_queues", "jobs")  # fmt: skip
LARGE = (
    "items",
    "runs",
    "streams",
    "attempts",
    "item_events",
    "log_chunks",
    "credentials",
    "job_versions",
)


def plan(database, statement, params):
    dialect = postgresql.dialect() if database.is_postgres else sqlite.dialect()
    sql = str(
        statement.params(**params).compile(
            dialect=dialect, compile_kwargs={"literal_binds": True, "render_postcompile": True}
        )
    ).replace("FOR UPDATE", "-- FOR UPDATE")
    explain = "EXPLAIN" if database.is_postgres else "EXPLAIN QUERY PLAN"
    with database.begin() as tx:
        if database.is_postgres:  # empty tables make every plan a scan: forbid it to see
            tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
        rows = tx.connection.exec_driver_sql(f"{explain} {sql}".replace("%", "%%")).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_scans_no_large_table(database, name):
    found = plan(database, *HOT[name])
    for table in LARGE:
        assert f"SCAN {table}" not in found.replace(f"SCAN {table} USING", ""), found
        assert f"Seq Scan on {table}" not in found, found


def test_the_next_item_is_read_in_order_without_sorting(database):
    found = plan(database, *HOT["what is leased next"])
    assert "ix_items_waiting" in found
    assert "TEMP B-TREE" not in found
    assert "Sort" not in found.replace("Sort Key", "").replace("Incremental Sort", "Sort")


def test_the_test_would_see_a_scan(database):
    found = plan(database, select(t.items).where(t.items.c.pinned_agent == "x"), {})
    assert "SCAN items" in found or "Seq Scan on items" in found


def test_with_many_rows_postgres_chooses_the_index_by_itself(database):
    if not database.is_postgres:
        return  # SQLite's planner was asked above without a hint
    with database.begin() as tx:
        yard = Yard(tx)
        for n in range(20):
            yard.submit(*(f"r{n}-{i}" for i in range(500)))
        tx.connection.execute(text("ANALYZE"))
        found = "\n".join(
            row[0]
            for row in tx.connection.exec_driver_sql(
                "EXPLAIN SELECT id FROM items WHERE queue_id = '" + yard.queue.id + "' AND "
                "state = 'PENDING' AND parked IS NULL "
                "ORDER BY priority, turn, enqueued_at, id LIMIT 5"
            )
        )
    assert "ix_items_waiting" in found
