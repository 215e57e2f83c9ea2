"""The guide to builders: its examples are valid, and what it tells is so."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import yaml

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.config import AgentConfig
from runyard.builders.none import explain

from .documents import ROOT

GUIDE = (ROOT / "docs" / "guides" / "builders.md").read_text(encoding="utf-8")
SHOWN: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.M | re.S)
]


@pytest.mark.parametrize("settings", SHOWN)
def test_the_settings_in_the_guide_are_valid(settings: dict[str, Any]) -> None:
    config = AgentConfig(**settings)
    assert config.builder.type == settings["builder"]["type"]
    if config.builder.type in ("buildkit", "kaniko"):
        assert config.builder.in_cluster("agents").config == config.builder.cluster.config


def test_the_guide_has_every_type_of_builder() -> None:
    types = get_args(BuilderSettings.model_fields["type"].annotation)
    assert len(types) > 5
    assert not [kind for kind in types if f"`{kind}`" not in GUIDE]


def test_the_guide_says_what_the_refusal_says() -> None:
    assert "`-d IMAGE`" in explain("x").hint
    assert "`-d IMAGE`" in GUIDE
