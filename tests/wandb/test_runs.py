"""Runs, as the real tracking client makes, resumes, finds, edits, stops and deletes them."""

from __future__ import annotations

import json

from tests.wandb.conftest import Client, on_sqlite


def test_a_run_from_init_to_the_end_and_everything_it_says_of_itself(client: Client) -> None:
    told = client.python("""
        import json, math, wandb
        run = wandb.init(project="p", name="first", notes="a note", tags=["x", "y"], group="g",
                         job_type="train", config={"lr": 0.1, "deep": {"a": [1]}})
        run.config["late"] = 3
        run.log({"loss": 1.5})
        run.summary["best"] = math.inf
        run.tags += ("z",)
        assert run.entity == "admin", run.entity
        path = run.path
        run.finish()

        unnamed = wandb.init(project="p")
        unnamed.finish()

        r = wandb.Api().run(path)
        r.config["bad"] = math.nan
        r.update()
        r = wandb.Api().run(path)
        print(json.dumps({
            "state": r.state, "name": r.name, "notes": r.notes, "tags": sorted(r.tags),
            "group": r.group, "job_type": r.job_type, "lr": r.config["lr"],
            "bad": math.isnan(r.config["bad"]), "deep": r.config["deep"], "late": r.config["late"],
            "best": math.isinf(r.summary["best"]), "loss": r.summary["loss"],
            "user": r.user.username, "raw": "_wandb" in r.rawconfig, "created": r.created_at[-1],
            "unnamed": wandb.Api().run(unnamed.path).name, "path": path,
        }))
        """)
    found = json.loads(told.splitlines()[-1])
    path, unnamed = found.pop("path"), found.pop("unnamed")
    assert found == {
        "state": "finished", "name": "first", "notes": "a note", "tags": ["x", "y", "z"],
        "group": "g", "job_type": "train", "lr": 0.1, "bad": True, "deep": {"a": [1]}, "late": 3,
        "best": True, "loss": 1.5, "user": "admin", "raw": True, "created": "Z",
    }  # fmt: skip
    assert unnamed.count("-") == 2
    assert unnamed.endswith("-2")
    shown = client.world.admin.ok("GET", f"/runs/{path}")
    assert (shown["status"], shown["tags"], shown["group"]) == ("Finished", ["x", "y", "z"], "g")
    assert (shown["config"]["bad"], shown["summary"]["best"]) == ("NaN", "Infinity")
    assert "_wandb" not in shown["config"]


def test_resuming_in_every_way(client: Client) -> None:
    client.python("""
        import wandb
        from wandb.errors import UsageError

        def log(n, **how):
            run = wandb.init(project="p", **how)
            start = run.starting_step
            for i in range(n):
                run.log({"i": start + i})
            run.finish(exit_code=how.get("id") == "bad" and 1 or 0)
            return start

        assert log(3, id="a", resume="allow", config={"lr": 1}, tags=["t"]) == 0
        assert log(2, id="a", resume="allow") == 3
        assert log(1, id="a", resume="must") == 5
        r = wandb.Api().run("p/a")
        assert (r.state, r.lastHistoryStep, r.config["lr"], r.tags) == ("finished", 5, 1, ["t"])
        for id, how in (("a", "never"), ("none", "must")):
            try:
                wandb.init(project="p", id=id, resume=how)
            except UsageError as error:
                print(how, error)
            else:
                raise AssertionError(how)
        assert log(1, id="bad") == 0
        assert wandb.Api().run("p/bad").state == "failed"
        """)
    client.python("""
        import wandb

        with wandb.init(project="p", id="a", resume_from="a?_step=2") as run:
            run.log({"i": 7})
        r = wandb.Api().run("p/a")
        assert [row["i"] for row in r.scan_history()] == [0, 1, 2, 7], list(r.scan_history())
        assert r.lastHistoryStep == 3
        """)


def test_finding_editing_relabelling_and_deleting(client: Client) -> None:
    client.python("""
        import wandb
        from wandb.apis.public import Run

        for n in range(3):
            with wandb.init(project="p", id=f"r{n}", name=f"run {n}", tags=[f"t{n % 2}"],
                            config={"lr": n / 10, "opt": {"name": "adam"}}) as run:
                run.log({"loss": 5 - n})
                made = wandb.Artifact(f"model{n}", "model")
                with made.new_file("a.txt") as file:
                    file.write(str(n))
                run.log_artifact(made).wait()
        api = wandb.Api()
        ids = lambda **q: [r.id for r in wandb.Api().runs("admin/p", **q)]
        assert ids() == ["r0", "r1", "r2"]
        assert ids(order="-created_at", per_page=1) == ["r2", "r1", "r0"]
        assert ids(order="+summary_metrics.loss", per_page=2) == ["r2", "r1", "r0"]
        assert ids(filters={"config.lr.value": {"$gte": 0.1}}) == ["r1", "r2"]
        assert ids(filters={"config.opt.name": "adam", "tags": "t1"}) == ["r1"]
        either = [{"display_name": "run 0"}, {"summary_metrics.loss": 3}]
        assert ids(filters={"$or": either}) == ["r0", "r2"]
        like = {"state": "finished", "display_name": {"$regex": "^run [12]$"}}
        assert ids(filters=like) == ["r1", "r2"]
        assert len(api.runs("admin/p", filters={"tags": {"$in": ["t0"]}})) == 2
        try:
            api.runs("admin/none")[0]
        except ValueError as error:
            print(error)
        else:
            raise AssertionError

        r = api.run("admin/p/r0")
        r.name, r.notes, r.tags, r.group = "renamed", "n", ["new"], "g2"
        r.config["lr"] = 7
        r.summary["extra"] = 1
        r.update()
        r = wandb.Api().run("admin/p/r0")
        assert (r.name, r.notes, r.tags) == ("renamed", "n", ["new"])
        assert (r.group, r.state) == ("g2", "finished")
        assert (r.config["lr"], r.config["opt"], r.summary["extra"]) == (7, {"name": "adam"}, 1)
        assert r.summary["loss"] == 5 and "_wandb" in r.rawconfig

        made = Run.create(api, run_id="later", project="p", entity="admin", state="pending")
        assert made.state == "pending" or wandb.Api().run("admin/p/later").state == "pending"
        assert wandb.Api().run("admin/p/later").update_state("failed")
        assert wandb.Api().run("admin/p/later").state == "failed"
        assert wandb.Api().run("admin/p/later").update_state("pending")

        gone = api.run("admin/p/r1")
        gone.delete()
        gone.delete()
        api.run("admin/p/r2").delete(delete_artifacts=True)
        assert ids() == ["r0", "later"]
        kept = [wandb.Api().artifact_exists(f"admin/p/model{n}:v0") for n in range(3)]
        assert kept == [True, True, False], kept
        try:
            wandb.Api().run("admin/p/r1")
        except Exception as error:
            assert "r1" in str(error), error
        else:
            raise AssertionError
        with wandb.init(project="p", id="r1") as run:
            run.log({"a": 1})
        assert wandb.Api().run("admin/p/r1").config == {}
        """)


@on_sqlite
def test_a_script_that_is_stopped_is_interrupted(client: Client) -> None:
    told = client.python("""
        import os, time, urllib.request, wandb
        soon = wandb.Settings(x_file_stream_transmit_interval=1)
        run = wandb.init(project="p", id="s", settings=soon)
        url = f"{os.environ['WANDB_BASE_URL']}/api/v1/runs/{run.path}/stop"
        asked = urllib.request.Request(url, method="POST", data=b"{}", headers={
            "Authorization": "Bearer " + os.environ["WANDB_API_KEY"],
            "Content-Type": "application/json"})
        urllib.request.urlopen(asked)
        try:
            for _ in range(60):
                time.sleep(0.5)
                run.log({"a": 1})
        except KeyboardInterrupt:
            print("interrupted")
        run.finish()
        print(wandb.Api().run("p/s").state)
        """)
    assert told.split()[-2:] == ["interrupted", "finished"]
    assert client.world.admin.ok("GET", "/runs/admin/p/s")["status"] == "Killed"


@on_sqlite
def test_a_run_token_goes_on_with_its_run_and_opens_no_other(client: Client) -> None:
    world = client.world
    world.queue()
    world.submit()
    held = world.agent().claim()
    launched = Client(world, client.directory, key=held["run_token"])
    program = """
        import sys, wandb
        run = wandb.init(project="elsewhere", resume="allow", id=sys.argv[1])
        assert (run.project, run.entity, run.id) == ("default", "admin", sys.argv[1]), run.path
        assert run.starting_step == int(sys.argv[2]), run.starting_step
        run.log({"a": 1})
        run.finish()
        try:
            wandb.init(project="elsewhere", id="other")
        except wandb.errors.CommError as error:
            assert "its own run" in str(error), error
        else:
            raise AssertionError
    """
    run_id = held["spec"]["run_id"]
    for step in ("0", "1"):  # again, as after a preemption
        launched.python(program, run_id, step)
    (found,) = world.admin.ok("GET", "/runs")["data"]
    assert (found["run_id"], found["state"], found["item_id"]) == (
        run_id,
        "running",
        held["item_id"],
    )
