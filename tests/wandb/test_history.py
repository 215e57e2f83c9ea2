"""Rows, system metrics and the console of the real client, read back by the real client."""

from __future__ import annotations

from .conftest import Client

PROGRAM = """
import math, random, sys, time
import wandb

run = wandb.init(project="curves", id="r1", entity="admin", settings=wandb.Settings(
    x_stats_sampling_interval=0.5, x_file_stream_transmit_interval=0.5,
    x_file_stream_no_gzip=False))
logged = []
for step in range(1000):
    row = {"loss": random.random(), "train": {"acc": step / 7, "by.class": {"cat": -step}}}
    if step % 10 == 0:
        row["rare"] = f"epoch {step // 10}"
    if step == 500:
        row["odd"] = math.nan
        row["large"] = math.inf
    run.log(row)
    logged.append({"_step": step, **row})
print("the first line")
print("a warning", file=sys.stderr)
print("grüße ✓")
for _ in range(100):  # until the machine was looked at
    if wandb.Api().run(run.path).history(stream="system", pandas=False):
        break
    time.sleep(0.2)
run.finish()

run = wandb.Api().run("admin/curves/r1")

def flat(row):
    inner = row["train"]
    deep = inner["by.class"] if "by.class" in inner else {"cat": inner["by.class.cat"]}
    return (row["_step"], row["loss"], inner["acc"], deep["cat"], row.get("rare"))

rows = list(run.scan_history(page_size=300))
assert [flat(row) for row in rows] == [flat(row) for row in logged], rows[:2]
assert math.isnan(rows[500]["odd"]) and math.isinf(rows[500]["large"]), rows[500]
assert [row["_step"] for row in run.scan_history(min_step=990)] == list(range(990, 1000))
keyed = list(run.scan_history(keys=["loss", "train.by.class.cat"]))
assert [(r["loss"], r["train.by.class.cat"]) for r in keyed] == [
    (r["loss"], r["train"]["by.class"]["cat"]) for r in logged], keyed[:2]
rare = list(run.scan_history(keys=["rare", "_step"], page_size=77))
assert [(r["rare"], r["_step"]) for r in rare] == [(f"epoch {n}", n * 10) for n in range(100)]

some = run.history(samples=100, pandas=False)
assert len(some) == 100 and (some[0]["_step"], some[-1]["_step"]) == (0, 999)
some = run.history(samples=50, keys=["train.acc"], pandas=False)
assert len(some) == 50 and all(r["train.acc"] == r["_step"] / 7 for r in some), some[:2]
assert len(run.history(keys=["rare"], pandas=False)) == 100
system = run.history(stream="system", pandas=False)
assert any(k.startswith("system.") for row in system for k in row), system
assert run.system_metrics, run.system_metrics

assert run.lastHistoryStep == 999
keys = run.history_keys["keys"]
assert keys["loss"]["previousValue"] == logged[-1]["loss"], keys["loss"]
assert keys["train.acc"]["monotonic"] and not keys["train.by.class.cat"]["monotonic"]
assert keys["rare"]["typeCounts"] == [{"type": "string", "count": 100}]

lines = list(run.console_logs())
texts = [line.content for line in lines]
for text in ("the first line", "a warning", "grüße ✓"):
    assert text in texts, texts
assert [line.number for line in lines] == sorted(line.number for line in lines)
of = {line.content: line for line in lines}
assert of["a warning"].level == "error" and of["the first line"].level == ""
assert of["the first line"].timestamp is not None
assert [line.content for line in run.console_logs(last=1)] == texts[-1:]
assert [line.content for line in run.console_logs(per_page=2)] == texts
print("ALL READ")
"""


def test_a_thousand_rows_and_the_console_are_read_back_equal(client: Client) -> None:
    assert "ALL READ" in client.python(PROGRAM)
    text = client.world.admin("GET", "/runs/admin/curves/r1/logs").text
    assert "the first line\n" in text
    assert "grüße ✓\n" in text
