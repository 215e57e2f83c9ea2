"""Names of images: as they are read, and as content makes them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from runyard.domain.errors import Invalid
from runyard.domain.images import (
    BaseImage,
    ImageRef,
    Packages,
    Plan,
    check_platform,
    check_repository,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4
PLAN = Plan(team="vision", source="sha256:1", base=BaseImage("python:3.11-slim", DIGEST))


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag"),
    [
        ("python", "docker.io", "library/python", ""),
        ("python:3.11-slim", "docker.io", "library/python", "3.11-slim"),
        ("you/jobs:1", "docker.io", "you/jobs", "1"),
        ("docker.io/python", "docker.io", "library/python", ""),
        ("localhost/jobs", "localhost", "jobs", ""),
        ("127.0.0.1:5000/ml/jobs:v1", "127.0.0.1:5000", "ml/jobs", "v1"),
        ("[::1]:5000/jobs", "[::1]:5000", "jobs", ""),
        ("1.dkr.ecr.eu-west-1.amazonaws.com/ml_jobs", "1.dkr.ecr.eu-west-1.amazonaws.com",
         "ml_jobs", ""),
    ],
)  # fmt: skip
def test_a_reference_is_read(text: str, registry: str, path: str, tag: str) -> None:
    ref = ImageRef.parse(text)
    assert (ref.registry, ref.path, ref.tag, str(ref)) == (registry, path, tag, text)
    pinned = ref.pinned(DIGEST)
    assert str(pinned) == f"{ref.repository}@{DIGEST}"  # the digest says more than the tag
    assert ImageRef.parse(f"{text}@{DIGEST}").digest == DIGEST


@pytest.mark.parametrize(
    "text",
    ["", " ", "Python", "a b", "a#b", "a:b c", "a:", "a@", "a@sha256:12", f"a@{DIGEST}0", "a//b",
     "/a", "a/", "-a", "a:-b", "a:" + "x" * 129, "x" * 256, "../a", "-o.x/a", "a..b/c", "a\n",
     "a\n:b", "https://a/b"],
)  # fmt: skip
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not"):
        ImageRef.parse(text)


def test_a_destination_is_a_repository() -> None:
    assert check_repository("r.example.com/ml/jobs") == "r.example.com/ml/jobs"
    for wrong in ("r.example.com/jobs:v1", f"jobs@{DIGEST}"):
        with pytest.raises(Invalid, match="without a tag"):
            check_repository(wrong)
    with pytest.raises(Invalid, match="leave https:// out"):
        check_repository("https://r.example/ml")


def test_a_platform_is_one_of_linux() -> None:
    assert check_platform("linux/arm64") == "linux/arm64"
    for wrong in ("amd64", "linux", "linux/amd64,linux/arm64", "linux/amd64\n", "linux/amd64 -x"):
        with pytest.raises(Invalid, match="platform"):
            check_platform(wrong)


def test_a_base_is_pinned_where_its_digest_is_known() -> None:
    assert BaseImage("python:3.11-slim", DIGEST).pinned == f"python@{DIGEST}"
    assert BaseImage("python:3.11-slim").pinned == "python:3.11-slim"


CHANGES: dict[str, Any] = {
    "team": "audio", "source": "sha256:2", "base": BaseImage("python:3.11-slim", ""),
    "entry_point": ("python", "a.py"), "notebooks": ("a.ipynb",), "build_context": "sub",
    "dockerfile": "Dockerfile", "bases": (BaseImage("debian"),), "accelerator": True,
    "python": "3.12", "platform": "linux/arm64", "uid": 0, "packages": Packages.LENIENT,
    "secrets": ("netrc",),
}  # fmt: skip


def test_equal_plans_have_one_tag_and_any_other_another() -> None:
    assert replace(PLAN).tag == PLAN.tag
    assert set(CHANGES) == {field.name for field in fields(Plan)}
    tags = {replace(PLAN, **{name: value}).tag for name, value in CHANGES.items()}
    assert len(tags | {PLAN.tag}) == len(CHANGES) + 1


def test_a_tag_can_be_one() -> None:
    assert ImageRef.parse(f"jobs:{PLAN.tag}").tag == PLAN.tag


def test_words_that_are_parted_otherwise_make_another_tag() -> None:
    one, other = replace(PLAN, entry_point=("a b",)), replace(PLAN, entry_point=("a", "b"))
    assert one.tag != other.tag
