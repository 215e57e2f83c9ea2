"""Declared inputs: kept with a job's version, enforced for what is submitted."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import select

from runyard.domain.errors import Invalid, TooMuch
from runyard.domain.jobs import JobVersion, Source, content_digest
from runyard.services import jobs, submitting
from runyard.store import tables as t
from runyard.store import views
from runyard.store.values import from_text

from .conftest import Yard

IMAGE = {"kind": "image", "image": "busybox"}
SCHEMA: dict[str, Any] = {
    "properties": {
        "lr": {"type": "number", "minimum": 0.001, "default": 0.1},
        "net": {"type": "object", "properties": {"depth": {"type": "integer", "default": 4}}},
    }
}
INPUTS = {"@wandb.config": SCHEMA}


def save(yard: Yard, inputs: Any = None, **source: Any) -> tuple[JobVersion, bool]:
    return jobs.save(
        yard.call(), entity="ann", project="p", name="train", source={**IMAGE, **source},
        input_schemas=inputs,
    )  # fmt: skip


def submit(yard: Yard, *configs: Any, **more: Any) -> list[submitting.Submitted]:
    specs = [{"job": "p/train", "overrides": {"run_config": c}} for c in configs]
    return submitting.submit(yard.call(), "ann", "q", specs, **more)


def test_inputs_are_kept_with_the_version_and_are_part_of_its_content(yard: Yard) -> None:
    first, _ = save(yard)
    assert first.input_schemas == {}
    second, created = save(yard, INPUTS)
    assert (second.version, second.input_schemas, created) == (1, INPUTS, True)
    again, created = save(yard, INPUTS)
    assert (again.version, created) == (1, False)


def test_new_code_keeps_what_the_job_promised_until_it_is_lifted(yard: Yard) -> None:
    save(yard, INPUTS)
    newer, created = save(yard, image="busybox:2")
    assert (newer.version, newer.input_schemas, created) == (1, INPUTS, True)
    assert not save(yard, image="busybox:2")[1]
    lifted, created = save(yard, {}, image="busybox:2")
    assert (lifted.version, lifted.input_schemas, created) == (2, {}, True)


def test_versions_without_inputs_keep_the_digest_that_they_have_always_had() -> None:
    source = Source.from_json(IMAGE)
    text = '{"image":"busybox","kind":"image"}'
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert content_digest(source, {}) == digest
    assert content_digest(source, INPUTS) != digest


def test_a_schema_that_is_none_is_refused(yard: Yard) -> None:
    with pytest.raises(Invalid) as raised:
        save(yard, {"@wandb.config": {"type": "flaot"}, "/etc/x.yaml": {}})
    paths = {v.path for v in raised.value.violations}
    assert paths == {"input_schemas[@wandb.config].type", "input_schemas[/etc/x.yaml]"}


def test_defaults_reach_the_program_and_the_run(yard: Yard) -> None:
    save(yard, INPUTS)
    (made,) = submit(yard, {"net": {"depth": 8}})
    filled = {"lr": 0.1, "net": {"depth": 8}}
    assert made.spec["overrides"]["run_config"] == filled
    row = yard.row(made.id)
    assert from_text(row["spec"])["overrides"]["run_config"] == filled
    config = yard.tx.scalar(select(t.runs.c.config).where(t.runs.c.item_id == made.id))
    assert from_text(config) == filled


def test_a_submission_is_refused_with_every_violation_of_every_item(yard: Yard) -> None:
    save(yard, INPUTS)
    with pytest.raises(Invalid) as raised:
        submit(yard, {"lr": 0}, {"lr": 1}, {"lr": "x", "net": {"depth": 0.5}})
    assert [str(v) for v in raised.value.violations] == [
        "items.0.overrides.run_config.lr: 0 is less than the minimum 0.001",
        'items.2.overrides.run_config.lr: "x" is not of type number',
        "items.2.overrides.run_config.net.depth: 0.5 is not of type integer",
    ]
    assert "runyard job describe ann/p/train:v0" in raised.value.hint
    assert views.last_event(yard.tx) == 0  # nothing was queued


def test_the_version_that_is_submitted_decides(yard: Yard) -> None:
    save(yard)
    save(yard, INPUTS)
    specs = [{"job": "p/train:v0", "overrides": {"run_config": {"lr": 0}}}]
    submitting.submit(yard.call(), "ann", "q", specs)


def test_a_key_that_the_job_does_not_know_is_warned_of_and_told_with_the_item(yard: Yard) -> None:
    save(yard, INPUTS)
    one, other = submit(yard, {"lrr": 1}, {"lr": 1})
    told = "overrides.run_config.lrr: is no input of the job; did you mean lr?"
    assert (one.warnings, other.warnings) == ((told,), ())
    kept = views.warnings(yard.tx, one.id)
    assert [(w["stage"], w["message"]) for w in kept] == [("submit", told)]
    assert submit(yard, {"lrr": 1}, dry_run=True)[0].warnings == (told,)
    assert not views.warnings(yard.tx, other.id)


def test_T20_the_items_of_a_submission_share_what_checking_may_cost(yard: Yard) -> None:
    wide = {"@wandb.config": {"allOf": [{"properties": {"a": {"minimum": 0}}}] * 400}}
    save(yard, wide)
    submit(yard, *[{"a": 1}] * 10)
    with pytest.raises(TooMuch, match="takes too long"):
        submit(yard, *[{"a": 1}] * 300)
