"""Bodies of the routes of secrets. A value goes in; none comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr

from runyard.wire.rest import In, Out


class SecretIn(In):
    """`value` is text of 64 KiB at most. What else is left out stays as it was."""

    value: SecretStr
    description: Annotated[str, Field(max_length=500)] | None = None
    for_jobs: bool | None = None


class SecretPatch(In):
    """What is left out stays."""

    description: Annotated[str, Field(max_length=500)] | None = None
    for_jobs: bool | None = None


class SecretOut(Out):
    """`version` counts the values so far, `created_by` wrote the present one, at `updated_at`.

    `for_jobs`: whether jobs may ask for it by name; queues of the entity may in any case.
    """

    entity: str
    name: str
    version: int
    description: str
    for_jobs: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
