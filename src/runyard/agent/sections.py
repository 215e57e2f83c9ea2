"""What the parts of the agent's settings have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """Read strictly: no key that nobody knows, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _checked(path: str) -> str:
    if not Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError("an absolute path on the agent's host, without '..'")
    return path


HostPath = Annotated[str, AfterValidator(_checked)]
