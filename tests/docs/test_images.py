"""The guide to images: what it tells of them is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from runyard import builders
from runyard.agent.build_settings import BuilderSettings
from runyard.builders.dockerfile import render
from runyard.domain.configs import faults
from runyard.domain.images import HOME, Install, Method, Recipe
from runyard.domain.queues import Resource

from .documents import ROOT

GUIDE = (ROOT / "docs" / "guides" / "images.md").read_text(encoding="utf-8")
BUILT = {"git", "code"}


def section(title: str) -> str:
    return GUIDE.partition(f"# {title}\n")[2].partition("\n#")[0]


def table(title: str) -> list[list[str]]:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section(title).splitlines()
        if line.startswith("|")
    ]
    return rows[2:]


def done(recipe: Recipe) -> list[str]:
    """Return what an image gets, in the words of the guide, from its Dockerfile."""
    text = render(recipe)
    signs = (
        "apt-get install" in text,
        "pip install" in text,
        f"USER {recipe.uid}:0" in text and f"WORKDIR {HOME}" in text,
        re.search(rf"^COPY .*src/ {HOME}/$", text, re.MULTILINE) is not None,
        "ENTRYPOINT" in text,
    )
    return ["yes" if sign else "–" for sign in signs]


def test_the_table_tells_what_is_done_for_which_job() -> None:
    rows = table("How an image is built")
    assert len(rows) == 5
    for job, *cells in rows:
        if job == "image":
            assert cells == ["–"] * 5  # nothing is rendered for it
            continue
        assert job.partition(",")[0] in BUILT
        recipe = Recipe(
            base="debian:12",
            install=Install(Method.REQUIREMENTS, ("requirements.txt",)),
            entry_point=("python", "train.py"),
            accelerator="accelerator" in job,
            python="3.11",
        )
        assert done(recipe) == cells, job


def test_the_settings_in_the_guide_are_valid() -> None:
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
    assert found
    for config in found:
        assert not faults(Resource.LOCAL_CONTAINER, config), config


def test_the_failures_are_told_in_the_words_that_are_used() -> None:
    folder = Path(builders.__file__).parent
    files = (folder / "diagnosis.py", folder / "causes.py")
    words = "".join(file.read_text(encoding="utf-8") for file in files)
    said = [re.findall(r"`([^`]+)`", row[0]) for row in table("Follow a build")]
    assert said
    parts = [part.strip() for (one,) in said for part in one.split("…")]
    assert not [part for part in parts if part not in words]


@pytest.mark.parametrize("setting", ["accelerator", "base_image", "user_id", "destination"])
def test_the_settings_of_the_agent_that_it_names_exist(setting: str) -> None:
    assert setting in GUIDE
    assert setting in BuilderSettings.model_fields
