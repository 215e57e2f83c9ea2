"""The guides to templates and policies: their examples are valid, and what they tell is so."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from runyard.domain import sharing
from runyard.domain.configs import template_faults
from runyard.domain.errors import Invalid
from runyard.domain.items import Failure, Stage
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Resource
from runyard.domain.rules import NARROWABLE, RULES
from runyard.domain.templates import TYPES, chosen, fill, parse_variables

from .documents import ROOT

GUIDES = ROOT / "docs" / "guides"
TEMPLATES = (GUIDES / "templates.md").read_text(encoding="utf-8")
POLICIES = (GUIDES / "policies.md").read_text(encoding="utf-8")
HOUR = 3600.0


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


RULES_SHOWN: list[dict[str, Any]] = [yaml.safe_load(text) for text in blocks(POLICIES, "yaml")]


# -- policies ------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", RULES_SHOWN, ids=lambda rules: next(iter(rules)))
def test_the_rules_in_the_guide_are_valid(rules: dict[str, Any]) -> None:
    assert QueuePolicy.parse(rules)


def test_the_guide_has_an_example_of_every_rule() -> None:
    assert {name for rules in RULES_SHOWN for name in rules} == set(RULES)


def test_the_guide_names_what_a_submission_may_narrow() -> None:
    section = POLICIES.partition("## Narrowing")[2].partition("```bash")[0]
    assert not [name for name in NARROWABLE if f"`{name}`" not in section]


def test_the_mistakes_are_told_as_the_guide_says() -> None:
    with pytest.raises(Invalid) as error:
        QueuePolicy.parse(
            {"max_runing": 2, "run_timeout": -1, "retry": [{"exit_codes": [1], "stage": ["run"]}]}
        )
    assert not [v for v in error.value.violations if str(v) not in POLICIES]
    with pytest.raises(Invalid) as error:
        QueuePolicy(run_timeout=7200).narrowed({"run_timeout": 14_400})
    assert str(error.value.violations[0]) in POLICIES


def test_retries_wait_and_match_as_the_guide_says() -> None:
    (rules,) = [rules for rules in RULES_SHOWN if "retry" in rules]
    policy = QueuePolicy.parse(rules)

    def rule(message: str, stage: Stage, code: int | None, retries: int = 0) -> int | None:
        found = policy.retry_of(Failure(stage, message), code, retries)
        return None if found is None else policy.retry.index(found)

    assert [policy.retry[0].delay(n) for n in range(3)] == [
        timedelta(seconds=s) for s in (60, 120, 240)
    ]
    assert rule("exit code 75", Stage.RUN, 75, 2) == 0
    assert rule("exit code 75", Stage.RUN, 75, 3) is None
    assert rule("out of memory; exit code 137", Stage.RUN, 137) == 1
    assert rule("no such commit", Stage.FETCH, None) == 2
    assert rule("exit code 99", Stage.RUN, 99) == 3
    assert rule("exit code 1", Stage.RUN, 1) is None


def test_images_match_as_the_guide_says() -> None:
    (rules,) = [rules for rules in RULES_SHOWN if "images" in rules]
    policy = QueuePolicy.parse(rules)
    assert policy.allows_image("docker.io/library/python:3.11-slim")
    assert not policy.allows_image("python:3.11-slim")
    assert not policy.allows_image("registry.example.org/vision/deep/er:1")


def test_use_fades_and_turns_alternate_as_the_guide_says() -> None:
    day, now = 86_400.0, 1.7e9
    level = sharing.added(sharing.NEVER, 8 * HOUR, day, now)
    hours = [round(sharing.use_at(level, day, now + n * day) / HOUR, 3) for n in range(4)]
    assert hours == [8, 4, 2, 1]
    assert " | ".join(f"{h:.0f} h" for h in hours) in POLICIES

    def standing(used: float) -> sharing.Standing:
        level = sharing.added(sharing.NEVER, used * HOUR, day, now)
        return sharing.Standing(level, level, HOUR)

    turns = sorted(
        (round(place.turn, 6), user, sharing.use_at(place.turn, day, now) / HOUR)
        for user, used, n in (("ada", 4, 2), ("linus", 1, 5))
        for place in sharing.places(standing(used), n, half_life=day, now=now)[0]
    )
    shown = re.findall(r"^\| (?:of|who will have used) \| (.*) \|$", POLICIES, re.MULTILINE)
    users, used = (line.split(" | ") for line in shown)
    assert [f"{hours:.0f} h" for _, _, hours in turns[:6]] == used
    assert users[:3] == [user for _, user, _ in turns[:3]]
    # Of two with the same use whoever queued first goes first, which numbers do not say.
    assert sorted(users[3:5]) == sorted(user for _, user, _ in turns[3:5])
    assert turns[3][0] == turns[4][0]


# -- templates -----------------------------------------------------------------------------


def test_the_template_in_the_guide_is_valid_and_filled_as_it_says() -> None:
    config, declared, values = (yaml.safe_load(text) for text in blocks(TEMPLATES, "yaml")[:3])
    variables = parse_variables(declared)
    assert not template_faults(Resource.LOCAL_CONTAINER, config, variables)
    filled = fill(config, chosen(variables, values["template_variables"]))
    assert filled == {"gpus": 2, "memory": "16g", "shm-size": "8g", "env": ["MODE=train"]}


def test_values_out_of_bounds_are_told_as_the_guide_says() -> None:
    variables = parse_variables(yaml.safe_load(blocks(TEMPLATES, "yaml")[1]))
    with pytest.raises(Invalid) as error:
        chosen(variables, {"gpus": 8, "mode": "fast", "memgb": 16})
    assert len(error.value.violations) == 4
    assert not [v for v in error.value.violations if str(v) not in TEMPLATES]


def test_mistakes_in_a_declaration_are_told_as_the_guide_says() -> None:
    with pytest.raises(Invalid) as error:
        parse_variables(
            {"gpus": {"type": "int"}, "mem": {"type": "integer", "maxmum": 64, "default": 4}}
        )
    assert not [v for v in error.value.violations if str(v) not in TEMPLATES]


def test_every_type_of_a_variable_is_in_the_guide() -> None:
    assert not [kind for kind in TYPES if f"`{kind}`" not in TEMPLATES]


# -- all guides ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(GUIDES.glob("*.md")), ids=lambda page: page.stem)
def test_blocks_of_yaml_and_json_can_be_read(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for language in ("yaml", "json"):
        for block in blocks(text, language):
            assert yaml.safe_load(block) is not None
