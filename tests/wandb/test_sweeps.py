"""Sweeps of the tracking client."""

from __future__ import annotations

import os
import subprocess

import pytest

from .conftest import PYTHON, Client, on_sqlite
from .test_launch_agent import agent, items, process_queue, project, until

newest = pytest.mark.skipif(
    "RUNYARD_TEST_WANDB_PYTHON" in os.environ, reason="0.29 has no such calls; 0.31 does"
)
PLACE = {"WANDB_ENTITY": "admin", "WANDB_PROJECT": "search"}


@newest
@on_sqlite
def test_a_sweep_is_made_moved_and_read(client: Client) -> None:
    (client.directory / "sweep.yaml").write_text(
        "method: grid\nname: tuning\nmetric: {name: loss}\nrun_cap: 5\nodd: 1\n"
        "parameters: {x: {values: [1, 2, 3]}, code: {values: ['008', '09']}}\n"
    )
    told = client.wandb("sweep", "sweep.yaml", env=PLACE)
    name = told.split("Creating sweep with ID: ")[1].split()[0]
    assert "'odd' is not read here" in told
    path = f"admin/search/{name}"
    told = client.wandb("sweep", "--pause", path, env=PLACE, ok=False)
    assert "Cannot pause pending sweep" in told
    for flag in ("--resume", "--pause", "--resume"):
        client.wandb("sweep", flag, path, env=PLACE)
    told = client.wandb("sweep", "--stop", "admin/search/none", env=PLACE, ok=False)
    assert "not found" in told
    client.python(
        f"""
        import wandb
        from wandb.apis.public.sweeps import _get_sweep_state, _register_agent, _agent_heartbeat
        api = wandb.Api()
        sweep = api.sweep("{path}")
        assert sweep.state == "RUNNING", sweep.state
        assert sweep.config["parameters"]["code"]["values"] == ["008", "09"], sweep.config
        assert sweep.expected_run_count == 5
        assert sweep.name == "tuning" and sweep.order == "+summary_metrics.loss", sweep.order
        assert list(sweep.runs) == [] and sweep.best_run() is None
        assert sweep.agents() == []

        other = wandb.sweep({{"method": "random", "parameters": {{"x": {{"min": 1, "max": 2}}}}}},
                            project="search", entity="admin", prior_runs=["one"])
        assert {{s.id for s in api.project("search", "admin").sweeps()}} == {{"{name}", other}}
        assert api.sweep("admin/search/" + other).expected_run_count is None

        agent = _register_agent(api, "here", sweep_id="{name}", project="search", entity="admin")
        (command,) = _agent_heartbeat(api, agent["id"], {{}}, {{}})
        assert command["type"] == "run", command
        assert command["args"] == {{"x": {{"value": 1}}, "code": {{"value": "008"}}}}, command
        sweep = wandb.Api().sweep("{path}")
        run = sweep.runs[0]
        assert (run.id, run.state) == (command["run_id"], "pending"), run
        assert run.config == {{"x": 1, "code": "008"}}, run.config
        (known,) = sweep.agents()
        assert [r.id for r in known.runs()] == [run.id]
        assert sweep.agent(agent["id"]).id == agent["id"]
        sweep_run = sweep.enqueue_run({{"x": 9}}, "mine")
        assert sweep_run in [r.id for r in wandb.Api().sweep("{path}").runs]
        try:
            wandb.sweep({{"method": "grid", "parameters": {{"x": {{"min": 0.5, "max": 1.5}}}}}},
                        project="search", entity="admin")
        except Exception as error:
            assert "parameters.x" in str(error), error
        else:
            raise AssertionError("taken")
        """
    )
    client.wandb("sweep", "--cancel", path, env=PLACE)
    told = client.wandb("sweep", "--stop", path, env=PLACE, ok=False)
    assert "already canceled" in told


def test_an_agent_in_the_program_goes_through_a_grid(client: Client) -> None:
    client.python(
        """
        import wandb
        from wandb.agents.pyagent import Agent
        Agent.HEARTBEAT_SLEEP_SECONDS = 0.2
        seen = []

        def train():
            with wandb.init() as run:
                seen.append((run.config.x, run.config["o"]["y"], run.sweep_id))
                for step in range(3):
                    run.log({"loss": run.config.x * 10 + run.config["o"]["y"] + step})

        sweep = wandb.sweep({
            "method": "grid", "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"x": {"values": [3, 1, 2]},
                           "o": {"parameters": {"y": {"values": [7, 8, 9]}}}},
        }, project="search", entity="admin")
        wandb.agent(sweep, function=train, project="search", entity="admin", count=9)
        assert sorted(seen) == [(x, y, sweep) for x in (1, 2, 3) for y in (7, 8, 9)], seen
        found = wandb.Api().sweep("admin/search/" + sweep)
        assert found.expected_run_count == 9
        assert len(found.runs) == 9
        assert {r.state for r in found.runs} == {"finished"}
        best = found.best_run()
        assert best.config["x"] == 1 and best.config["o"] == {"y": 7}, best.config
        assert best.summary["loss"] == 19, best.summary
        assert found._attrs["bestLoss"] == 19, found._attrs
        """,
        env=PLACE,
    )


@on_sqlite
def test_an_agent_runs_a_command_with_macros(client: Client) -> None:
    (client.directory / "train.py").write_text(
        "import sys, wandb\n"
        "with wandb.init() as run:\n"
        "    run.log({'loss': run.config.x})\n"
        "    run.summary['argv'] = ' '.join(sys.argv[1:])\n"
    )
    (client.directory / "sweep.yaml").write_text(
        "program: train.py\nmethod: random\nrun_cap: 2\nparameters: {x: {min: 0.0, max: 1.0}}\n"
        "command: ['${env}', '${interpreter}', '${program}', '--fixed', '${args_no_equals}']\n"
    )
    told = client.wandb("sweep", "sweep.yaml", env=PLACE)
    name = told.split("Creating sweep with ID: ")[1].split()[0]
    path = os.pathsep.join([os.path.dirname(PYTHON), os.environ["PATH"]])
    client.wandb("agent", f"admin/search/{name}", env=PLACE | {"PATH": path})
    client.python(
        f"""
        import wandb
        sweep = wandb.Api().sweep("admin/search/{name}")
        assert sweep.state == "FINISHED", sweep.state
        runs = list(sweep.runs)
        assert [r.state for r in runs] == ["finished"] * 2, runs
        for run in runs:
            assert run.summary["argv"] == f"--fixed --x {{run.config['x']}}", run.summary
        """
    )


TRAIN = """
import os, time, wandb

with open(os.environ["MARKS"], "a") as marks:
    marks.write(f"+ {time.time()}\\n")
run = wandb.init()
run.log({"loss": run.config["x"] * 2})
time.sleep(3)
run.finish()
with open(os.environ["MARKS"], "a") as marks:
    marks.write(f"- {time.time()}\\n")
"""


@on_sqlite
def test_a_launched_sweep_keeps_to_its_workers(client: Client) -> None:
    process_queue(client)
    project(client, train=TRAIN)
    marks = client.directory / "marks"
    client.wandb("job", "create", "code", "code", "-p", "jobs", "-e", "admin", "-n", "train",
                 "-E", "python train.py")  # fmt: skip
    (client.directory / "sweep.yaml").write_text(
        "method: grid\nmetric: {name: loss}\njob: admin/jobs/train:latest\n"
        "parameters: {x: {values: [1, 2, 3, 4, 5]}}\nscheduler: {num_workers: 4}\n"
    )
    client.wandb("launch-sweep", "sweep.yaml", "-q", "lp", "-p", "jobs", "-e", "admin")
    with agent(client, "-q", "lp", "-j", "-1", MARKS=str(marks)):
        until(lambda: all(i["state"] in ("FINISHED", "FAILED") for i in items(client, "lp"))
              and len(items(client, "lp")) == 6, seconds=280)  # fmt: skip
    assert [i["state"] for i in items(client, "lp")] == ["FINISHED"] * 6
    at_once, most = 0, 0
    for line in sorted(marks.read_text().splitlines(), key=lambda line: line.split()[1]):
        at_once += 1 if line.startswith("+") else -1
        most = max(most, at_once)
    assert 2 <= most <= 4
    client.python(
        """
        import wandb

        (sweep,) = wandb.Api().project("jobs", "admin").sweeps()
        assert sweep.state == "FINISHED", sweep.state
        assert sorted(r.config["x"] for r in sweep.runs) == [1, 2, 3, 4, 5]
        assert {r.state for r in sweep.runs} == {"finished"}
        assert sweep.best_run().config["x"] == 1
        scheduler = wandb.Api().run("admin/jobs/" + sweep.id)
        assert scheduler.state == "finished", scheduler.state
        """
    )


@newest
@on_sqlite
def test_a_scheduler_of_the_clients_own_enqueues_the_runs(client: Client) -> None:
    (client.directory / "sweep.yaml").write_text(
        "method: bayes\nrun_cap: 2\nmetric: {name: loss, goal: minimize}\n"
        "scheduler: {engine: optuna}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
    )
    told = client.wandb("sweep", "sweep.yaml", env=PLACE)
    name = told.split("Creating sweep with ID: ")[1].split()[0]
    words = ("--batch-size", "1", "--poll-interval", "1", f"admin/search/{name}")
    scheduler = subprocess.Popen(
        [str(client.command), "sweep-scheduler", *words], cwd=client.directory, text=True,
        env=client.env(**PLACE), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        client.python(
            f"""
            import wandb
            from wandb.agents.pyagent import Agent
            Agent.HEARTBEAT_SLEEP_SECONDS = 0.3

            def train():
                with wandb.init() as run:
                    assert 0 <= run.config.x <= 1
                    run.log({{"loss": run.config.x}})

            wandb.agent("{name}", function=train, project="search", entity="admin", count=2)
            """
        )
        told = scheduler.communicate(timeout=90)[0]
    finally:
        scheduler.kill()
    assert "the run cap was hit" in told
    assert "failed to record" not in told
