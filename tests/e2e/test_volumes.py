"""Jobs of a real agent share a cache, read a data set, and leave both as their operator wants."""

from __future__ import annotations

from typing import Any

import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from runyard.wire.rest import QueuePatch
from tests.e2e.conftest import until

SCRIPT = """
import os, pathlib, sys
cache = pathlib.Path(os.environ["PIP_CACHE_DIR"])
kept = cache / "wheel"
print("found" if kept.exists() else "fetched", flush=True)
kept.write_text("x" * 100_000)
print(open(os.environ["DATA"] + "/set").read(), flush=True)
try:
    open(os.environ["DATA"] + "/new", "w")
except OSError as error:
    print(error.strerror, flush=True)
"""


class Lent:
    """An agent that lends a cache and a data set to one queue."""

    def __init__(self, yard: Yard, kind: str) -> None:
        self.yard, self.kind = yard, kind
        self.data = yard.root / "data"
        self.data.mkdir()
        (self.data / "set").write_text("the set")
        where = yard.root / "agent-agent" / "config" / "runyard"
        where.mkdir(parents=True)
        # A process could write to what root reads, so only a container is told that it may not.
        mode = ":ro" if kind == "local-container" else ""
        (where / "agent.yaml").write_text(
            f"volumes:\n  data: {self.data}{mode}\n  pip: {{quota_mb: 0}}\n"
            "  others: {queues: [other]}\n"
        )
        yard.add_queue(kind, kind)
        place = "/data" if kind == "local-container" else "data"
        self.use(["pip", {"name": "data", "path": place, "env": "DATA"}])
        self.job = yard.add_job({"work.py": SCRIPT}, ["python", "work.py"])
        yard.add_agent(kind)
        yard.wait_agents(kind)

    @property
    def cached(self) -> bool:
        root = self.yard.root / "agent-agent" / "agent" / "agent" / "volumes" / "pip"
        return (root / "wheel").exists()

    def use(self, volumes: Any) -> None:
        with self.yard.api() as api:
            api.edit_queue(self.yard.entity, self.kind, QueuePatch(config={"volumes": volumes}))

    def run(self) -> tuple[Any, list[str]]:
        with self.yard.api() as api:
            (made,) = api.submit(self.yard.entity, self.kind, [{"job": self.job}]).items
            until(lambda: api.item(made.id).ended_at is not None)
            item = api.item(made.id)
            return item, b"".join(follow.log(api, item.run)).decode().splitlines()


@pytest.fixture(params=["local-process", pytest.param("local-container", marks=pytest.mark.docker)])
def lent(yard: Yard, request: pytest.FixtureRequest) -> Lent:
    return Lent(yard, request.param)


def test_jobs_share_a_cache_and_read_a_data_set(lent: Lent) -> None:
    refusal = ["Read-only file system"] if lent.kind == "local-container" else []
    item, said = lent.run()
    assert said == ["fetched", "the set", *refusal], item.failure
    item, said = lent.run()
    assert said == ["found", "the set", *refusal], item.failure
    assert (lent.data / "new").exists() is not bool(refusal)

    assert lent.cached
    agent = lent.yard.agents[0]
    agent.end()
    agent.start()  # and sweeps what it lends before the next job comes
    until(lambda: not lent.cached)


def test_a_name_that_the_agent_does_not_lend_fails_the_item_with_those_that_it_does(
    lent: Lent,
) -> None:
    place = "/x" if lent.kind == "local-container" else "x"
    lent.use([f"dta:{place}", f"others:{place}2"])
    item, _ = lent.run()
    assert item.state == "FAILED"
    assert "'dta' is no volume of this agent; it has data, pip" in item.failure.message
    assert "'others' is not for this queue" in item.failure.message
