"""Declared inputs the whole way: from Python, the command line and REST, to the agent."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

import runyard
from runyard.cli.main import run
from runyard.domain.errors import Invalid

from .conftest import World


class Kind(Enum):
    ADAM = "adam"
    SGD = "sgd"


class Optimizer(BaseModel):
    kind: Kind = Kind.ADAM
    betas: list[float] = [0.9, 0.999]


class Inputs(BaseModel):
    lr: float = Field(gt=0, le=1, description="Step size")
    epochs: int = Field(3, ge=1)
    optimizer: Optimizer = Optimizer()
    note: str | None = None


@pytest.fixture
def client(live: World) -> Any:
    with runyard.Client(str(live.http.base_url), live.admin.key) as client:
        client.create_queue("code", "local-process")
        yield client


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)\n")
    return tmp_path / "code"


def test_a_pydantic_model_declares_what_a_job_takes(
    client: runyard.Client, project: Path, live: World
) -> None:
    made = client.create_job(project, entry_point="python train.py", name="train", inputs=Inputs)
    assert made.input_schemas["@wandb.config"]["properties"]["lr"]["exclusiveMinimum"] == 0
    queued = client.launch("train", queue="code", run_config={"lr": 0.5, "epoch": 3})
    config = {
        "lr": 0.5, "epoch": 3, "epochs": 3, "note": None,
        "optimizer": {"kind": "adam", "betas": [0.9, 0.999]},
    }  # fmt: skip
    assert queued.spec["overrides"]["run_config"] == config
    told = "overrides.run_config.epoch: is no input of the job; did you mean epochs?"
    assert queued.warnings == [told]
    assert [w.message for w in queued.item().warnings] == [told]
    (held,) = live.agent(queues=("code",)).poll()["leased"]
    assert held["spec"]["overrides"]["run_config"] == config
    with pytest.raises(Invalid) as raised:
        client.launch("train", queue="code", run_config={"lr": 2, "optimizer": {"kind": "x"}})
    assert {v.path for v in raised.value.violations} == {
        "overrides.run_config.lr", "overrides.run_config.optimizer.kind",
    }  # fmt: skip


def test_an_instance_says_what_is_not_said(client: runyard.Client, project: Path) -> None:
    client.create_job(project, entry_point="python train.py", name="t", inputs=Inputs(lr=0.25))
    queued = client.launch("t", queue="code", run_config={"optimizer": {"kind": "sgd"}})
    config = queued.spec["overrides"]["run_config"]
    assert (config["lr"], config["optimizer"]["kind"]) == (0.25, "sgd")


def test_inputs_are_declared_for_files_too_and_with_a_launch(
    client: runyard.Client, project: Path
) -> None:
    inputs = {"@wandb.config": Inputs, "conf/data.yaml": {"properties": {"n": {"minimum": 1}}}}
    wrong = {"overrides": {"run_config": {"lr": 1}, "files": {"conf/data.yaml": {"n": 0}}}}
    with pytest.raises(Invalid, match=r"overrides\.files\[conf/data\.yaml\]\.n: 0 is less"):
        client.launch(
            uri=project, entry_point="python train.py", queue="code", inputs=inputs, config=wrong
        )
    with pytest.raises(Invalid, match="neither"):
        client.create_job(project, entry_point="python x.py", inputs={"a.yaml": {}, "b": {}})
    with pytest.raises(Invalid, match="no JSON schema"):
        client.create_job(project, entry_point="python x.py", inputs=Unspeakable)
    with pytest.raises(Invalid, match="declared with uri"):
        client.launch("digits", inputs=Inputs)


class Unspeakable(BaseModel):
    hook: Callable[[], int]


def test_the_command_line_declares_shows_and_refuses(
    client: runyard.Client,
    project: Path,
    live: World,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", client.api.base_url)
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path / "home"))
    file = tmp_path / "inputs.yaml"
    file.write_text(
        "type: object\nproperties:\n  lr: {type: number, minimum: 0.001, default: 0.1,"
        " description: Step size}\n"
    )
    words = ["job", "create", "code", str(project), "-E", "python train.py", "-n", "digits"]
    assert run([*words, "--inputs", str(file)]) == 0
    capfd.readouterr()
    assert run(["job", "describe", "digits"]) == 0
    shown = capfd.readouterr().out
    assert "Inputs" in shown
    assert ["lr", "number", "0.1", "≥", "0.001", "Step", "size"] in [
        line.split() for line in shown.splitlines()
    ]
    launch = ["launch", "-j", "digits", "-q", "code"]
    assert run([*launch, "-c", '{"overrides": {"run_config": {"lr": 0}}}']) == 1
    assert "overrides.run_config.lr: 0 is less than the minimum 0.001" in capfd.readouterr().err
    assert run([*launch, "-c", '{"overrides": {"run_config": {"lrr": 1}}}', "--dry-run"]) == 0
    done = capfd.readouterr()
    assert "did you mean lr?" in done.err
    assert '"lr": 0.1' in done.out
    file.write_text("properties: {lr: {minimun: 1, label: Rate}}\n")
    assert run([*words, "--inputs", str(file)]) == 0
    told = "inputs[@wandb.config].properties.lr.minimun: no keyword of JSON schema; did you mean"
    assert capfd.readouterr().err.count(f"note: {told} minimum?") == 1
    file.write_text("properties: {lr: {type: flaot}}\n")
    assert run([*words, "--inputs", str(file)]) == 1
    assert "input_schemas[@wandb.config].properties.lr.type" in capfd.readouterr().err


def test_rest_bounds_what_is_declared(world: World) -> None:
    body = {"source": {"kind": "image", "image": "busybox"}}
    path = "/jobs/admin/p/train/versions"
    deep: Any = {}
    for _ in range(100):
        deep = {"not": deep}
    answer = world.admin("POST", path, json={**body, "input_schemas": {"@wandb.config": deep}})
    assert answer.status_code == 422
    made = world.admin.ok("POST", path, json={**body, "input_schemas": {"a.yaml": True}})
    assert made["input_schemas"] == {"a.yaml": True}
    assert world.admin.ok("GET", path)["data"][0]["input_schemas"] == {"a.yaml": True}
