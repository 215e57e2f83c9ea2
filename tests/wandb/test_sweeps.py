"""Sweeps of the tracking client."""

from __future__ import annotations

from .conftest import Client

PLACE = {"WANDB_ENTITY": "admin", "WANDB_PROJECT": "search"}


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
