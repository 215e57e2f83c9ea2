"""
Fifty items of one job, submitted at once to three agents: one of them builds, once.

    RUNYARD_TEST_DOCKER=1 RUNYARD_TEST_REGISTRY=127.0.0.1:5000 pytest tests/e2e/test_build_once.py
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from tests.e2e.conftest import runyard, until
from tests.e2e.test_builds import PYTHON, QUEUE, Builders

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

ITEMS = 50
AGENTS = 3


def test_fifty_items_at_three_agents_are_one_build(yard: Yard) -> None:
    builders = Builders(yard)
    try:
        job = builders.job({"train.py": "print('trained')", "requirements.txt": ""}, "true")
        with pushes(builders.repository) as pushed, yard.api() as api:
            for n in range(AGENTS):
                yard.add_agent(
                    QUEUE, name=f"agent-{n}", max_jobs=5, settings={"builder": builders.settings}
                )
            yard.wait_agents(QUEUE, AGENTS)
            made = api.submit(yard.entity, QUEUE, [{"job": job}] * ITEMS).items
            until(lambda: api.queue(yard.entity, QUEUE).pending == 0, seconds=180)
            until(lambda: api.queue(yard.entity, QUEUE).running == 0, seconds=60)
            items = [api.item(item.id) for item in made]
            logs = [b"".join(follow.log(api, item.run, stage="build")).decode() for item in items]

        assert Counter((item.exit_code, item.failure) for item in items) == {(0, None): ITEMS}
        assert len({item.agent for item in items}) == AGENTS
        (tag,) = builders.tags
        target = f"{builders.repository}:{tag}"
        told = Counter(how(log, target) for log in logs)
        assert told["built"] == 1, logs
        assert told["built"] + told["found"] == ITEMS, logs

        shown = runyard(yard, "images", "list", "--json")
        listed = json.loads(shown.stdout)
        (builder,) = (item for item, log in zip(items, logs, strict=True) if "building" in log)
        assert [(i["repository"], i["tag"], i["state"], i["run"]["run_id"]) for i in listed] == [
            (builders.repository, tag, "READY", builder.run.run_id)
        ], shown.stderr
        assert len(pushed) == 1
    finally:
        builders.close()


def how(log: str, target: str) -> str:
    """Return how an item came by its image, as the log of its build stage tells."""
    if f"building {target} from {PYTHON}@sha256:" in log:
        return "built"
    return "found" if log.endswith("nothing to build\n") else "?"


@contextmanager
def pushes(repository: str) -> Iterator[list[str]]:
    """Lend a list which has, after the block, what the engine has pushed to a repository.

    It is listened to all along: of what is past, an engine remembers little.
    """
    told: list[str] = []
    words = ["docker", "events", "--filter", "event=push", "--format", "{{json .Actor}}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listening:
        yield told
        time.sleep(1)  # events have a way to go
        listening.terminate()
        assert listening.stdout is not None
        told += [line for line in listening.stdout if repository in line]
