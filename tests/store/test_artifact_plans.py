"""Writing artifacts finds its rows by indexes, however many artifacts there are."""

import pytest

from runyard.store.artifacts import collections, objects, writing
from tests.store.test_plans import plan

HOT = {
    "a version": (writing._BY_ID, {"id": 1}, "artifacts"),
    "versions of a client's id": (writing._OF_CLIENT, {"client_id": "c"}, "artifact_clients"),
    # PostgreSQL takes either of two indexes while the table is empty.
    "a version of the same content": (
        writing._SAME, {"sequence_id": "s", "digest": "d"}, "ix_artifacts_",
    ),
    "a version of several writers": (
        writing._SHARED, {"sequence_id": "s", "distributed_id": "d"}, "ix_artifacts_",
    ),
    "manifests of a version": (
        writing._MANIFESTS, {"artifact_id": 1}, "ix_manifests_artifact",
    ),
    "versions whose time is over": (writing._EXPIRED, {"now": 1}, "ix_artifacts_expiry"),
    "versions that were left": (writing._ABANDONED, {"before": 1}, "ix_artifacts_pending"),
    "a collection by name": (
        collections._NAMED, {"project_id": "p", "name": "c"}, "collections",
    ),
    "known content": (objects._KNOWN, {"entity_id": "e", "md5s": ["0" * 32]}, "objects"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOT)
def test_no_statement_reads_a_whole_table(database, name):
    statement, params, index = HOT[name]
    found = plan(database, statement, params)
    assert index in found, found
    for table in ("artifacts", "collections", "members", "objects", "entries", "runs", "manifests"):
        told = [line for line in found.splitlines() if f"SCAN {table}" in line]
        assert all("USING" in line for line in told), found
        assert f"Seq Scan on {table}" not in found, found


def test_the_same_content_is_found_without_looking_at_every_version(database):
    if not database.is_postgres:
        found = plan(database, writing._SAME, {"sequence_id": "s", "digest": "d"})
        assert "(sequence_id=? AND digest=?)" in found
