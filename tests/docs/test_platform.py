"""The guide to platforms as code says all that a document may have, and its examples are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from runyard.sdk.platform.document import read_text
from runyard.sdk.platform.parts import Document

from .documents import ROOT

PAGE = ROOT.joinpath("docs/guides/as-code.md").read_text(encoding="utf-8")


def fields(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from fields(field.annotation)
    for inner in get_args(annotation):
        yield from fields(inner)


def test_every_field_is_in_the_guide() -> None:
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    said = " ".join(re.findall(r"`[^`]+`", prose))
    names = set(fields(Document)) - {"users", "teams", "apiVersion", "value"}
    assert {"permissions", "for_jobs", "wait_s", "label"} <= names
    assert not [name for name in names if not re.search(rf"\b{name}\b", said)]


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_documents_in_the_guide_are_valid(text: str) -> None:
    assert read_text(text).things
