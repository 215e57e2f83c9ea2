"""Whatever a program logs, and whatever is read of it, is found by an index."""

import pytest

from runyard.store import sweeps
from runyard.store.tracking import alerts, console, files, lines, projects, runs, streams
from tests.store.test_plans import plan

HISTORY = {"run": "r", "of_kind": "history"}
HOT = {
    "the run of a stream": (streams._TARGET, {"entity": "e", "project": "p", "run": "r"}),
    "a stream": (streams._STREAM, {"pk": "r"}),
    "a stream's books": (streams._BOOKS, {"pk": "r"}),
    "who writes the log": (streams._LOG, {"pk": "r"}),
    "how many runs there are": (runs._COUNTED, {"project": "p"}),
    "a sweep to join": (runs._SWEEP, {"project": "p", "name": "s"}),
    "what a run was given": (runs._CONFIGS, {"pk": "r"}),
    "lines that are there": (lines._COVERED, HISTORY | {"first": 5, "end": 9}),
    "lines by steps": (
        lines._CHUNKS, HISTORY | {"after": -1, "min_step": 5, "max_step": 9, "chunks": 8},
    ),
    "the last line": (lines._LAST, HISTORY),
    "lines of the console": (console._BETWEEN, {"run": "r", "first": 5000, "end": 5100}),
    "the next line of the console": (console._NEXT, {"run": "r", "first": 5000}),
    "a page of files": (files._PAGE, {"run_id": "r", "after": "a", "limit": 5}),
    "how many files": (files._COUNT, {"run_id": "r"}),
    "files by name": (files._NAMED, {"run_id": "r", "names": ["a", "b"]}),
    "how many alerts": (alerts._COUNT, {"run": "r"}),
    "an alert like this lately": (alerts._SINCE, {"run": "r", "title": "t", "since": 1}),
    "a page of alerts": (alerts._PAGE, {"run": "r", "before": "~"}),
    "a project": (projects._NAMED, {"entity_id": "e", "name": "p"}),
    "a sweep by name": (sweeps._NAMED, {"project": "p", "name": "s"}),
    "a sweep by id": (sweeps._BY_ID, {"id": "s"}),
    "an agent of a sweep": (sweeps._AGENT, {"id": "a"}),
    "what runs of a sweep": (sweeps._TOTALS, {"sweep": "s"}),
    "what was enqueued": (sweeps._ENQUEUED, {"sweep": "s"}),
    "what was preempted": (sweeps._PREEMPTED, {"sweep": "s"}),
    "what was abandoned": (sweeps._ABANDONED, {"sweep": "s", "until": 1}),
    "what was tried": (sweeps._TRIALS.limit(5), {"sweep": "s"}),
}  # fmt: skip
LARGE = (
    "runs", "items", "streams", "line_chunks", "console_chunks", "run_files", "run_alerts",
    "sweeps", "sweep_agents", "sweep_rungs",
)  # fmt: skip


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_of_tracking_scans_no_large_table(database, name):
    found = plan(database, *HOT[name])
    for table in LARGE:
        assert f"SCAN {table}" not in found.replace(f"SCAN {table} USING", ""), found
        assert f"Seq Scan on {table}" not in found, found


@pytest.mark.parametrize("name", ["lines that are there", "lines of the console"])
def test_what_a_program_writes_costs_the_same_however_much_there_is(database, name):
    """Both ends of the range bound the search, not the run alone."""
    found = plan(database, *HOT[name])
    found = found.replace("start >=", "start>").replace("start >", "start>")
    searched = found.partition("Filter:")[0].replace("start <", "start<")
    assert "start>" in searched, found
    assert "start<" in searched, found
