"""Bodies of artifacts."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from runyard.wire.rest import Out


class CollectionOut(Out):
    """`kind` is sequence, where versions are born, or portfolio, where they are linked."""

    entity: str
    project: str
    name: str
    type: str
    kind: str
    description: str
    tags: list[str]
    versions: int
    created_at: datetime


class VersionOut(Out):
    """`version` and `aliases` are those of the collection that was asked for."""

    entity: str
    project: str
    name: str
    type: str
    version: int
    aliases: list[str]
    digest: str
    size: int
    files: int
    description: str
    tags: list[str]
    metadata: str = Field(description="JSON as it was logged; it may hold NaN and Infinity.")
    created_at: datetime


class FileOut(Out):
    """`url` is good for a while, without a key; of a reference it is the address that it names."""

    path: str
    size: int | None
    digest: str
    is_reference: bool
    url: str
