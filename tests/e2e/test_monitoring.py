"""A launched job, seen by whoever watches: its trace, its use, its queue's figures."""

from __future__ import annotations

import csv
import io
import json

from bench.harness.yard import Yard
from runyard.domain.tracing import traceparent
from tests.e2e.conftest import runyard, until
from tests.e2e.test_commands import launch, served

__all__ = ["served"]


def test_a_job_is_told_its_place_in_the_trace_and_is_found_in_the_usage(served: Yard) -> None:
    text = "import os, time\nprint(os.environ['TRACEPARENT'])\ntime.sleep(1)"
    done = launch(served, text, "--follow")
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(runyard(served, "item", "list", "--json").stdout)
    assert done.stdout == traceparent(item["id"], 1) + "\n"

    told = runyard(served, "usage", "--by", "user,queue,job", "--csv")
    (row,) = csv.DictReader(io.StringIO(told.stdout))
    assert (row["user"], row["queue"], row["runs"]) == (item["author"], "admin/default", "1")
    assert 1 <= float(row["running_hours"]) * 3600 <= float(row["hours"]) * 3600 < 60
    assert "total" in runyard(served, "usage").stdout

    until(lambda: _counted(served))


def _counted(yard: Yard) -> bool:
    text = yard.metrics()
    assert 'runyard_queue_agents{entity="admin",queue="default"} 1.0' in text
    ended = 'runyard_queue_ended_total{entity="admin",outcome="finished",queue="default"} 1.0'
    return ended in text
