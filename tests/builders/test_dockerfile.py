"""
The Dockerfile of each branch, compared with golden files.

    RUNYARD_WRITE_GOLDEN=1 pytest tests/builders/test_dockerfile.py     # then read the difference
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.builders.dockerfile import render
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import Install, Method, Packages, Recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "dockerfiles"
ODD = ("python", "a b.py", "$HOME ${X:-y} `id` $(id)", "it's", 'a "b"', "\n# no\nUSER 0", "\\", "é")
PLAIN = Recipe("python:3.11-slim", entry_point=("python", "train.py"))
LIST = replace(PLAIN, install=Install(Method.REQUIREMENTS, ("requirements.txt",)))
PROJECT = replace(PLAIN, install=Install(Method.PROJECT, ("pyproject.toml",)))
FROZEN = replace(PLAIN, install=Install(Method.FROZEN, ("requirements.frozen.txt",)))
LOCKED = replace(PLAIN, install=Install(Method.UV_LOCK, ("pyproject.toml", "uv.lock")))
CONDA = replace(PLAIN, install=Install(Method.CONDA, ("environment.yaml",)))
ACCELERATOR = replace(LIST, base="nvidia/cuda:12.8.1-runtime-ubuntu24.04", accelerator=True)

CASES = {
    "plain": PLAIN,
    "pinned": replace(PLAIN, base=f"registry.example.com:5000/ml/python@sha256:{'0a' * 32}"),
    "requirements": LIST,
    "requirements-mounts": replace(LIST, mounts=True, cache="vision-team"),
    "requirements-whole": replace(LIST, install=replace(LIST.install, whole=True)),
    "requirements-lenient": replace(LIST, packages=Packages.LENIENT),
    "requirements-secrets": replace(
        LIST, mounts=True, cache="vision-team", secrets=("netrc", "other", "pip.conf")
    ),
    "project": PROJECT,
    "project-lenient": replace(PROJECT, packages=Packages.LENIENT),
    "uv-project": replace(PLAIN, install=Install(Method.UV_PROJECT, ("pyproject.toml",))),
    "uv-lock": LOCKED,
    "uv-lock-mounts": replace(LOCKED, mounts=True, cache="t", secrets=("netrc",)),
    "conda": CONDA,
    "conda-accelerator": replace(CONDA, base=ACCELERATOR.base, accelerator=True),
    "frozen": FROZEN,
    "frozen-lenient": replace(FROZEN, packages=Packages.LENIENT, mounts=True, cache="t"),
    "accelerator": ACCELERATOR,
    "accelerator-python": replace(ACCELERATOR, python="3.12"),
    "root": replace(LIST, uid=0),
    "user": replace(LIST, uid=4711),
    "directory": replace(LIST, directory="services/train 2"),
    "odd-entry-point": replace(PLAIN, entry_point=ODD),
    "no-entry-point": replace(PLAIN, entry_point=()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_is_rendered_as_its_golden_file_says(name: str) -> None:
    text, file = render(CASES[name]), GOLDEN / f"{name}.Dockerfile"
    if os.environ.get("RUNYARD_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {file.name.partition(".")[0] for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_no_builder_needs_more_than_it_can(name: str) -> None:
    text = render(CASES[name])
    assert "# syntax" not in text
    assert "<<" not in text
    assert "--link" not in text
    assert ("--mount" in text) == CASES[name].mounts


def test_a_jobs_words_are_in_no_line_but_that_of_the_entry_point() -> None:
    plain, odd = render(PLAIN).splitlines(), render(replace(PLAIN, entry_point=ODD)).splitlines()
    assert odd[:-1] == plain[:-1]
    assert odd[-1].startswith("ENTRYPOINT [")
    assert tuple(json.loads(odd[-1].removeprefix("ENTRYPOINT "))) == ODD
    assert odd[-1].isascii()


@pytest.mark.parametrize(
    "directory",
    [
        "a\nUSER 0",
        "$HOME",
        "a'b",
        'a"b',
        "a\\",
        "../x",
        "a/../../x",
        "a  b",
        " a",
        "a#b",
        "/a",
        "a;b",
    ],
)
def test_a_directory_that_could_be_read_as_more_is_refused(directory: str) -> None:
    with pytest.raises(Invalid, match="build context"):
        render(replace(PLAIN, directory=directory))


@pytest.mark.parametrize(
    "recipe",
    [
        replace(PLAIN, base="python:3.11\nRUN id"),
        replace(PLAIN, base="python:3.11 AS x"),
        replace(PLAIN, base="$BASE"),
        replace(ACCELERATOR, python="3.11; id"),
        replace(LIST, mounts=True, cache="a,target=/etc"),
        replace(CONDA, install=Install(Method.CONDA, ("x; id",))),
    ],
)
def test_names_that_could_be_read_as_more_are_refused(recipe: Recipe) -> None:
    with pytest.raises(Invalid):
        render(recipe)


def test_secrets_that_a_builder_cannot_mount_are_an_error_and_not_left_out() -> None:
    with pytest.raises(Rejected, match=r"netrc, pip\.conf"):
        render(replace(LIST, secrets=("pip.conf", "netrc")))
