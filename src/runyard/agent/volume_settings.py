"""The agent's settings of one volume."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from runyard.agent.cache_settings import Kind
from runyard.agent.sections import HostPath, Section


class VolumeSettings(Section):
    """A directory of the host that jobs may use, by its name."""

    path: HostPath | None = Field(
        default=None,
        description="An absolute path on the agent's host. One of the agent's own, under "
        "`work_dir`, if left out.",
        examples=["/srv/datasets"],
    )
    read_only: bool = Field(
        default=False,
        description="Jobs may only read it, whatever their queue says.",
        examples=[True],
    )
    quota_mb: int | None = Field(
        default=None,
        ge=0,
        description="Megabytes that may stay in it between jobs; the least recently used files "
        "are deleted first.",
        examples=[50_000],
    )
    keep_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after which a file that was neither read nor written is deleted.",
        examples=[30],
    )
    queues: list[str] = Field(
        default=[],
        description="The queues that may use it; all that the agent serves if left out.",
        examples=[["gpu"]],
    )
    preset: Kind | None = Field(
        default=None,
        description="What it is a cache of, so that a queue need not say where it goes; known "
        "without this if the volume has that name.",
        examples=["pip"],
    )

    @model_validator(mode="after")
    def _is_written_by_jobs(self) -> Self:
        if self.read_only and self.path is None:
            raise ValueError("read_only needs a path: nobody would ever put anything in")
        if self.read_only and (self.quota_mb is not None or self.keep_days is not None):
            raise ValueError("what is read_only is not cleaned up: no quota_mb, no keep_days")
        return self


def settings_of(volume: Any) -> Any:
    """Return the fields that a short form means: a path, or nothing at all."""
    if volume is None:
        return {}
    if not isinstance(volume, str):
        return volume
    path, colon, mode = volume.rpartition(":")
    if colon and mode in ("ro", "rw"):
        return {"path": path, "read_only": mode == "ro"}
    return {"path": volume}
