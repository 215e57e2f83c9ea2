"""A training script as people write them: everything it logs is read back equal."""

from __future__ import annotations

import json

from .conftest import Client

TRAIN = """
import math, os, random
import wandb

config = {"lr": 0.1, "layers": [64, 64], "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
          "note": "gr\\u00fc\\u00dfe", "limit": float("inf")}
run = wandb.init(project="vision", name="first", config=config, tags=["a", "b"],
                 notes="two parts", group="g1", job_type="train")
for step in range(1000):
    run.log({"loss": 1 / (step + 1), "val": {"acc": step / 1000, "top": {"k": step}},
             "odd": float("nan") if step == 7 else step % 2})
pixels = [[[random.randrange(256) for _ in range(3)] for _ in range(8)] for _ in range(8)]
import numpy
run.log({"picture": wandb.Image(numpy.array(pixels, dtype=numpy.uint8), caption="noise")})
table = wandb.Table(columns=["x", "y"], data=[[1, "one"], [2, "two"]])
run.log({"table": table})
run.summary["best"] = 0.25
run.summary["nested"] = {"a": 1}
with open("notes with space & %.txt", "w") as file:
    file.write("kept")
run.save("notes with space & %.txt")
print("a line on the console")
data = wandb.Artifact("data", type="dataset", description="numbers", metadata={"rows": 2})
with data.new_file("deep/er/numbers.txt") as file:
    file.write("1\\n2\\n")
data.add_reference("file://" + os.path.abspath("notes with space & %.txt"), name="elsewhere")
run.log_artifact(data, aliases=["fresh"]).wait()
run.finish()
print("ID", run.id)
"""

RESUME = """
import sys, wandb
run = wandb.init(project="vision", id=sys.argv[1], resume="must")
assert run.resumed and run.starting_step == 1002, run.starting_step
assert run.config["lr"] == 0.1 and run.config["optimizer"]["name"] == "adam"
for step in range(50):
    run.log({"loss": -step})
used = run.use_artifact("data:fresh")
directory = used.download()
assert open(directory + "/deep/er/numbers.txt").read() == "1\\n2\\n"
run.finish()
"""

READ = """
import json, math, sys, wandb
api = wandb.Api()
run = api.run("vision/" + sys.argv[1])
assert run.state == "finished", run.state
assert (run.name, run.group, run.job_type, run.notes) == ("first", "g1", "train", "two parts")
assert sorted(run.tags) == ["a", "b"]
assert run.config["optimizer"] == {"name": "adam", "betas": [0.9, 0.999]}
assert run.config["note"] == "gr\\u00fc\\u00dfe" and run.config["limit"] in (math.inf, "Infinity")
rows = list(run.scan_history())
losses = [row["loss"] for row in rows if row.get("loss") is not None]
assert losses == [1 / (step + 1) for step in range(1000)] + [-step for step in range(50)]
deep = [r["val"]["top"]["k"] if "val" in r and isinstance(r["val"], dict) else r.get("val.top.k")
        for r in rows[:1000]]
assert deep == list(range(1000)), deep[:5]
assert [row["_step"] for row in rows] == list(range(1052))
some = run.history(keys=["loss"], samples=100, pandas=False)
assert 50 <= len(some) <= 110 and all("loss" in row for row in some), len(some)
keyed = list(run.scan_history(keys=["loss", "_step"]))
assert [row["loss"] for row in keyed] == losses
assert run.lastHistoryStep == 1051
assert run.summary["best"] == 0.25 and run.summary["nested"]["a"] == 1
assert run.summary["loss"] == -49
names = {file.name for file in run.files()}
assert "notes with space & %.txt" in names, names
assert any(name.startswith("media/images/picture") for name in names), names
assert any(name.startswith("media/table/table") for name in names), names
kept = run.file("notes with space & %.txt").download(root="got", replace=True)
assert kept.read() == "kept"
assert run.metadata["program"].endswith("program.py"), run.metadata
artifact = api.artifact("vision/data:latest")
assert artifact.version == "v0" and "fresh" in artifact.aliases
assert artifact.metadata == {"rows": 2} and artifact.description == "numbers"
assert set(artifact.manifest.entries) == {"deep/er/numbers.txt", "elsewhere"}
assert artifact.logged_by().id == run.id
assert [user.id for user in artifact.used_by()] == [run.id]
assert "data:v0" in [a.name for a in run.logged_artifacts()]
assert [a.name for a in run.used_artifacts()] == ["data:v0"]
lines = [line for line in run.console_logs()] if hasattr(run, "console_logs") else []
print(json.dumps({"rows": len(rows), "files": len(names), "lines": len(lines)}))
"""


def test_all_that_a_script_logs_is_read_back_equal(client: Client) -> None:
    told = client.python(TRAIN)
    run_id = next(line.split()[1] for line in told.splitlines() if line.startswith("ID "))
    client.python(RESUME, run_id)
    read = json.loads(client.python(READ, run_id).splitlines()[-1])
    assert read["rows"] == 1052
    assert read["files"] >= 6
