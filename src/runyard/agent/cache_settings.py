"""The agent's settings of what it keeps on disk for the next job."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from runyard.agent.sections import HostPath, Section

Kind = Literal["pip", "uv", "huggingface", "wandb-artifacts"]


class CacheSettings(Section):
    """How much the agent keeps on disk for the next job, and what jobs share."""

    code_mb: int = Field(
        default=4096,
        ge=0,
        description="Megabytes of fetched code archives; the least recently used go first.",
        examples=[1024],
    )
    environments_days: int = Field(
        default=30,
        ge=0,
        description="Days after which a Python environment that no job has used goes.",
        examples=[7],
    )
    shared: list[Kind] = Field(
        default=[],
        description="Caches that every job of this agent shares with the other jobs of its team, "
        "without its queue asking for them. None by default: what one job leaves in a cache, the "
        "next one believes.",
        examples=[["pip", "uv", "huggingface", "wandb-artifacts"]],
    )
    path: HostPath | None = Field(
        default=None,
        description="Where the shared caches are: an absolute path, which several agents may "
        "have in common. One of the agent's own, under `work_dir`, if left out.",
        examples=["/var/cache/runyard"],
    )
    shared_mb: int = Field(
        default=50_000,
        ge=0,
        description="Megabytes of the shared caches of all teams together; the least recently "
        "used files go first.",
        examples=[200_000],
    )
    shared_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after which a file that was neither read nor written leaves the shared "
        "caches.",
        examples=[30],
    )

    @field_validator("shared")
    @classmethod
    def _each_once(cls, shared: list[Kind]) -> list[Kind]:
        return list(dict.fromkeys(shared))
