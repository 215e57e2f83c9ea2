"""Which images a Dockerfile is told to build upon, and the same by digest."""

from __future__ import annotations

import pytest

from runyard.builders.froms import after_each_from, pin, read

DIGEST = f"sha256:{'5c' * 32}"

TEXTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "one": ("FROM python:3.11-slim\nRUN id\n", ("python:3.11-slim",)),
    "lower case, blanks and a comment": ("# x\n\n  from\tpython:3.11 # y\n", ("python:3.11",)),
    "platform": ("FROM --platform=$BUILDPLATFORM python:3.11 AS a\n", ("python:3.11",)),
    "stages": ("FROM a AS One\nFROM one as two\nFROM b\nFROM two\nFROM A\n", ("a", "b")),
    "scratch": ("FROM scratch\nCOPY --from=0 /a /a\n", ()),
    "twice": ("FROM a\nFROM a\n", ("a",)),
    "default": ("ARG V=3.11\nFROM python:${V}-slim\n", ("python:3.11-slim",)),
    "default of a default": ("ARG A=x B=$A/y\nFROM $B:1\n", ("x/y:1",)),
    "quoted default": ('ARG I="python:3.11"\nFROM ${I}\n', ("python:3.11",)),
    "else": ("ARG V\nFROM python:${V:-3.12}\n", ("python:3.12",)),
    "if": ("ARG V=1\nFROM python${V:+:3.9}\n", ("python:3.9",)),
    "unknown": ("FROM $BASE\nFROM a:$V\n", ()),
    "an argument of a stage": ("FROM a\nARG V=1\nFROM b:$V\n", ("a",)),
    "continued": ("FROM \\\n# amid\n\n  python:3.11 \\\n AS x\nFROM x\n", ("python:3.11",)),
    "escape": ("# escape=`\nFROM `\n a\nRUN C:\\\nFROM b\n", ("a", "b")),
    "no directive": ("# x\n# escape=`\nFROM \\\n a\n", ("a",)),
    "in a command": ("FROM a\nRUN echo \\\n FROM b\n", ("a",)),
    "in a here-document": ("FROM a\nRUN <<-'E' <<F\nFROM b\n\tE\nFROM c\nF\nFROM d\n", ("a", "d")),
    "copied from": ("FROM a AS b\nFROM c\nCOPY --from=B . .\nCOPY --chown=1 --from=d:1 . .\n",
                    ("a", "c", "d:1")),
    "copied from a stage by number": ("FROM a\nFROM b\nCOPY --from=0 . .\n", ("a", "b")),
    "windows": ("\ufeffFROM a\r\nRUN x \\\r\n y\r\nFROM b\r\n", ("a", "b")),
    "pinned": (f"FROM a@{DIGEST}\n", (f"a@{DIGEST}",)),
    "nothing": ("", ()),
    "no end": ("FROM a\nRUN x \\", ("a",)),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_the_images_that_a_dockerfile_names_are_found(name: str) -> None:
    text, images = TEXTS[name]
    assert read(text) == images


@pytest.mark.parametrize("name", TEXTS)
def test_pinning_changes_nothing_but_the_names(name: str) -> None:
    text, images = TEXTS[name]
    pinned = pin(text, dict.fromkeys(images, DIGEST))
    assert pinned.count("\n") == text.count("\n")
    assert all(f"@{DIGEST}" in image for image in read(pinned))
    assert pin(text, {}) == text


def test_a_name_is_replaced_where_it_stands() -> None:
    text = "ARG V=3.11\nFROM --platform=linux/arm64 r.example:5000/python:${V} \\\n  AS python\n"
    text += "FROM python\nCOPY --chown=1:0 --from=b:1 b:1 /\n"
    found = {"r.example:5000/python:3.11": DIGEST, "b:1": DIGEST}
    assert pin(text, found) == (
        f"ARG V=3.11\nFROM --platform=linux/arm64 r.example:5000/python@{DIGEST} \\\n  AS python\n"
        f"FROM python\nCOPY --chown=1:0 --from=b@{DIGEST} b:1 /\n"
    )


def test_what_is_pinned_stays_as_its_author_had_it() -> None:
    text = f"FROM a@{DIGEST}\n"
    assert pin(text, {f"a@{DIGEST}": f"sha256:{'0' * 64}"}) == text


def test_an_instruction_is_put_at_the_beginning_of_each_stage() -> None:
    text = "ARG V\nFROM a \\\n AS b\nRUN x <<E\nFROM c\nE\nFROM b"
    assert after_each_from(text, "ARG T") == (
        "ARG V\nFROM a \\\n AS b\nARG T\nRUN x <<E\nFROM c\nE\nFROM b\nARG T\n"
    )
