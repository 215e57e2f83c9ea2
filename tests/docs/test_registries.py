"""The guide to registries: its examples are valid, and it quotes what is really said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runyard.agent.config import AgentConfig
from runyard.clouds.finding import cloud_of
from runyard.domain.images import ImageRef

from .documents import ROOT

GUIDE = (ROOT / "docs" / "guides" / "registries.md").read_text(encoding="utf-8")
SHOWN: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.M | re.S)
]


@pytest.mark.parametrize("settings", SHOWN)
def test_the_settings_in_the_guide_are_valid(settings: dict[str, Any]) -> None:
    config = AgentConfig(**settings)
    assert config.builder.destination is not None
    cloud = cloud_of(ImageRef(config.builder.destination).registry)
    assert config.environment.type == (cloud or "local")


def test_each_cloud_has_an_example() -> None:
    assert len(SHOWN) > 5
    shown = {settings.get("environment", {}).get("type", "local") for settings in SHOWN}
    assert shown == {"local", "aws", "gcp", "azure"}


def test_the_policy_allows_what_is_called() -> None:
    (text,) = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.M | re.S)
    allowed = {action for each in json.loads(text)["Statement"] for action in _many(each["Action"])}
    source = Path(ROOT, "src/runyard/clouds/aws.py").read_text(encoding="utf-8")
    called = re.findall(r'_ecr\.call\(\s*"(\w+)"', source)
    assert len(called) == 4
    for operation in called:
        name = "".join(word.title() for word in operation.split("_"))
        assert f"ecr:{name}" in allowed


def test_the_messages_are_those_that_are_said() -> None:
    _, _, section = GUIDE.partition("## When it does not work")
    told = re.findall(r"^\| `([^`]+)` \|", section, re.M)
    paths = sorted(Path(ROOT, "src/runyard/clouds").glob("*.py"))
    sources = "".join(path.read_text(encoding="utf-8") for path in paths)
    said = re.sub(r'"\n\s*f?"', "", sources)  # texts that go on in the next line
    assert len(told) == 8
    for message in told:
        for words in re.split(r"\b(?:REGISTRY|NAME|REGION|HOST|aws|\d+)\b", message):
            assert words in said, message


def _many(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions
