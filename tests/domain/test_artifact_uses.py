"""Which artifacts a submission names, in all the ways in which the client writes one."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.artifact_uses import MOST, Use, known_uses


def uses(**overrides: Any) -> tuple[Use, ...]:
    return known_uses({"overrides": {"artifacts": {}, "run_config": {}, "files": {}, **overrides}})


DATA = Use(entity="red", project="vision", name="data:latest")
VERSION = {"_type": "artifactVersion", "id": "QXJ0", "version": "v3", "sequenceName": "data"}


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({}, ()),
        ({"run_config": {"data": "wandb-artifact://red/vision/data:latest"}}, (DATA,)),
        ({"run_config": {"a": [{"b": "wandb-artifact://red/vision/data:latest/file"}]}}, (DATA,)),
        ({"run_config": {"data": "wandb-artifact://_id/QXJ0"}}, (Use(id="QXJ0"),)),
        ({"artifacts": {"slot": VERSION}}, (Use(id="QXJ0"),)),
        ({"files": {"conf.json": {"x": VERSION}}, "run_config": {"x": VERSION}}, (Use(id="QXJ0"),)),
        ({"run_config": {"data": "red/vision/data:latest", "id": "QXJ0"}}, ()),
        ({"run_config": {"data": "wandb-artifact://red/vision"}}, ()),
        ({"run_config": {"data": "wandb-artifact://red//data"}}, ()),
        ({"run_config": {"data": "wandb-artifact://_id/"}}, ()),
        ({"run_config": {"data": {**VERSION, "id": 7}}}, ()),
        ({"run_config": {"data": "wandb-artifact://a/b/" + "c" * 500}}, ()),
    ],
)
def test_named_artifacts_are_found(overrides: dict[str, Any], found: tuple[Use, ...]) -> None:
    assert uses(**overrides) == found


def test_what_is_taken_is_bounded() -> None:
    many = {str(n): f"wandb-artifact://red/vision/data:v{n}" for n in range(100)}
    assert len(uses(run_config=many)) == MOST
    deep: Any = "wandb-artifact://red/vision/data:latest"
    for _ in range(500):
        deep = [deep]
    assert uses(run_config={"deep": deep}) == ()
