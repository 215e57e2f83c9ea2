"""Writing many rows at once changes exactly the rows that are meant, on both databases."""

import pytest
from sqlalchemy import select

from runyard.store import tables as t
from runyard.store.bulk import change, insertion

ENTITIES = insertion(t.entities, "id", "name", "kind", "created_at")
IDEMPOTENCY = insertion(
    t.idempotency_keys, "user_id", "key", "request_hash", "response", "created_at"
)
RENAME = change(t.entities, found_by={"was": "id", "was_name": "name"}, sets=["name"])
PROJECT_RUNS = insertion(
    t.runs, "id", "project_id", "name", "state", "author_id", "created_at", "started_at", "job"
)
RESUME = change(
    t.runs, found_by={"was": "id", "was_started": "started_at"}, sets=["started_at"], keeps=["job"]
)


@pytest.fixture
def tx(database):
    with database.begin() as tx:
        names = [
            {"id": f"e{n}", "name": f"n{n}", "kind": "user", "created_at": n} for n in range(3)
        ]
        ENTITIES.run(tx, names)
        insertion(t.users, "id", "is_admin").run(tx, [{"id": "e0", "is_admin": True}])
        insertion(t.projects, "id", "entity_id", "name", "created_at").run(
            tx, [{"id": "p", "entity_id": "e0", "name": "p", "created_at": 0}]
        )
        yield tx


def names(tx):
    return [row["name"] for row in tx.all(select(t.entities.c.name).order_by(t.entities.c.id))]


def test_a_row_that_is_no_longer_as_it_was_is_left_alone_and_not_counted(tx):
    changed = RENAME.run(
        tx,
        [
            {"was": "e0", "was_name": "n0", "b_name": "new"},
            {"was": "e1", "was_name": "other", "b_name": "never"},
        ],
    )
    assert changed == 1
    assert names(tx) == ["new", "n1", "n2"]


def test_null_equals_null_and_what_is_not_given_stays(tx):
    common = {"project_id": "p", "state": "pending", "author_id": "e0", "created_at": 0}
    PROJECT_RUNS.run(
        tx,
        [
            {"id": "r0", "name": "r0", "started_at": None, "job": "old", **common},
            {"id": "r1", "name": "r1", "started_at": 5, "job": "old", **common},
        ],
    )
    changed = RESUME.run(
        tx,
        [
            {"was": "r0", "was_started": None, "b_started_at": 7, "b_job": None},
            {"was": "r1", "was_started": 5, "b_started_at": None, "b_job": "new"},
        ],
    )
    assert changed == 2
    rows = tx.all(select(t.runs.c.started_at, t.runs.c.job).order_by(t.runs.c.id))
    assert [tuple(row.values()) for row in rows] == [(7, "old"), (None, "new")]


def test_text_that_looks_like_sql_or_an_array_is_only_text(tx):
    odd = ["'; DROP TABLE runs; --", '{a,"b",NULL}', "\\", "%s ? :x", "ü\n\t"]
    rows = [
        {"user_id": "e0", "key": f"k{n}", "request_hash": "h", "response": text, "created_at": 0}
        for n, text in enumerate(odd)
    ]
    IDEMPOTENCY.run(tx, rows)
    found = tx.all(select(t.idempotency_keys.c.response).order_by(t.idempotency_keys.c.key))
    assert [row["response"] for row in found] == odd


def test_a_nul_that_a_program_printed_does_not_stop_the_others(tx):
    row = {"user_id": "e0", "key": "k", "request_hash": "h", "response": "a\0b", "created_at": 0}
    IDEMPOTENCY.run(tx, [row, {**row, "key": "l", "response": "plain \\u0000"}])
    found = tx.all(select(t.idempotency_keys.c.response).order_by(t.idempotency_keys.c.key))
    nul = "\ufffd" if tx.is_postgres else "\0"
    assert [row["response"] for row in found] == [f"a{nul}b", "plain \\u0000"]
