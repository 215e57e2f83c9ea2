"""The page on monitoring names every figure that there is, and none that there is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import yaml

from runyard.domain.timeline import Ending, failure_class
from runyard.server.gauges import Standing
from runyard.server.metrics import Metrics

from .documents import ROOT

PAGE = ROOT.joinpath("docs/guides/monitoring.md").read_text("utf-8")
_SUFFIXES = re.compile(r"_(total|bucket|count|sum)$")


def exposed() -> set[str]:
    metrics = Metrics()
    collectors = (metrics.registry, metrics.queues.registry, Standing(datetime.now(UTC)))
    return {family.name for each in collectors for family in each.collect()}


def named(text: str) -> set[str]:
    found = set(re.findall(r"runyard_[a-z_]+", text))
    return {_SUFFIXES.sub("", name) for name in found}


def test_the_tables_list_every_figure_and_the_rules_use_no_other() -> None:
    assert named(PAGE) == exposed()


def test_the_rules_are_rules() -> None:
    (rules,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "groups:" in block
    ]
    (group,) = yaml.safe_load(rules)["groups"]
    for rule in group["rules"]:
        assert rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_the_outcomes_that_queues_end_with_are_listed() -> None:
    for ending in (Ending.FINISHED, Ending.FAILED, Ending.KILLED, Ending.CRASHED, Ending.EXPIRED,
                   Ending.PREEMPTED, Ending.RETRIED, Ending.GIVEN_BACK):  # fmt: skip
        assert f"`{ending}`" in PAGE
    failure = failure_class(Ending.FAILED, None, None)
    assert failure is not None
    assert f"`{failure[1]}`" in PAGE
