"""What secure mode takes for a change, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.locked import changes_of

OVER = {"entry_point": None, "args": [], "dockerfile": "", "working_dir": "", "run_config": {}}
JOB = {"kind": "code", "entry_point": ["python", "train.py"]}


def told(over: Any = None, source: Any = JOB, **more: Any) -> dict[str, str]:
    spec = {"overrides": {**OVER, **(over or {})}, "source": source, "resource": "r", **more}
    return {v.path: v.message for v in changes_of(spec)}


def test_a_job_as_it_is_passes_with_values_and_arguments() -> None:
    assert not told()
    assert not told({"args": ["--lr", "1"], "run_config": {"lr": 1}, "files": {"a.yaml": {}}})
    assert not told({"entry_point": ["python", "train.py"]})  # what the job says itself
    assert not told(source={"kind": "image"})
    assert not told(laid_over={"memory": "9g"}, changed=[])  # an admin's rule for retries


@pytest.mark.parametrize(
    ("over", "path"),
    [
        ({"entry_point": ["sh"]}, "overrides.entry_point"),
        ({"entry_point": ["python", "train.py", "-x"]}, "overrides.entry_point"),
        ({"dockerfile": "Other"}, "overrides.dockerfile"),
        ({"working_dir": "other"}, "overrides.working_dir"),
    ],
)
def test_what_makes_another_command_of_it_is_told(over: Any, path: str) -> None:
    assert list(told(over)) == [path]


def test_another_image_to_build_upon_is_told_and_a_rebuild_is_not() -> None:
    builder = {"base_image": "other", "platform": "linux/arm64"}
    assert list(told(builder=builder)) == ["builder.base_image", "builder.platform"]
    assert not told(rebuild=True)  # of the same


def test_arguments_are_a_command_where_an_image_only_suggests_one() -> None:
    assert list(told({"args": ["sh"]}, {"kind": "image"})) == ["overrides.args"]
    assert not told({"args": ["sh"]}, {"kind": "image", "entry_point": ["python"]})


def test_all_is_told_at_once() -> None:
    found = told({"entry_point": ["sh"], "working_dir": "x"}, changed=["memory", "env"])
    assert list(found) == [
        "overrides.entry_point", "overrides.working_dir", "resource_args.r.memory",
        "resource_args.r.env",
    ]  # fmt: skip
