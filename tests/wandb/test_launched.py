"""A job that our own agent runs, and whose program logs with the real tracking client."""

from __future__ import annotations

import pytest

from bench.harness.yard import Yard
from tests.e2e.conftest import until
from tests.wandb.conftest import PYTHON

SCRIPT = """
import sys, time, wandb
run = wandb.init(project="elsewhere", config={"lr": 0.5, "own": 1}, tags=["t"])
assert (run.project, run.entity) == ("default", "admin"), run.path
for n in range(3):
    run.log({"loss": run.config["lr"] * n})
if run.config.get("wait"):
    time.sleep(60)
sys.exit(run.config.get("exit", 0))
"""


@pytest.fixture
def yard():
    with Yard() as made:
        yield made


def test_a_launched_program_logs_to_the_run_it_was_submitted_with(yard: Yard) -> None:
    yard.add_queue("gpu")
    job = yard.add_job({"train.py": SCRIPT}, [PYTHON, "train.py"])
    yard.add_agent("gpu")
    yard.wait_agents("gpu")
    configs = ({"lr": 0.1}, {"lr": 0.2, "exit": 3, "deep": {"a": [1]}}, {"wait": True})
    specs = [{"job": job, "overrides": {"run_config": config}} for config in configs]
    with yard.api() as api:
        items = [item.id for item in api.submit(yard.entity, "gpu", specs).items]
        waits = api.item(items[2]).run
        until(lambda: api.run(waits).summary.get("loss") == 1.0, seconds=90)
        api.stop_run(waits, "enough")
        until(lambda: all(api.item(i).ended_at for i in items), seconds=90)
        ended = [api.item(i) for i in items]
        assert [(i.status, i.exit_code) for i in ended[:2]] == [("Finished", 0), ("Failed", 3)], [
            (i.status, i.exit_code, i.reason, i.failure) for i in ended
        ]
        assert ended[2].status == "Killed"
        found = {run.run_id: run for run in api.runs(entity=yard.entity, project=None, state=None,
                                                     author=None, limit=None)}  # fmt: skip
        assert set(found) == {i.run.run_id for i in ended}  # one page for each
        for item, config, loss in zip(ended, configs, (0.2, 0.4, 1.0), strict=True):
            run = found[item.run.run_id]
            assert run.config == {"lr": 0.5, "own": 1, **config}
            assert run.summary["loss"] == pytest.approx(loss)
            assert (run.tags, run.author, run.item_id) == (["t"], yard.entity, item.id)
