"""
The agent's settings: what they are. The reference in the docs is made from these fields, so each
says what it is for. `loading` reads them.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from runyard.agent.build_settings import BuilderSettings, EnvironmentSettings
from runyard.agent.cache_settings import CacheSettings
from runyard.agent.registry_settings import RegistrySettings, with_destination
from runyard.agent.sections import Section
from runyard.agent.volume_settings import VolumeSettings, settings_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class GitSettings(Section):
    """How the agent fetches jobs of kind git."""

    credentials: Literal["host", "none"] = Field(
        default="host",
        description="`host` uses the git and SSH configuration, credential helpers included, of "
        "the user that the agent runs as; `none` fetches public repositories only.",
        examples=["none"],
    )
    known_hosts: str | None = Field(
        default=None,
        description="A known_hosts file for SSH remotes, in place of the user's own.",
        examples=["/etc/runyard/known_hosts"],
    )
    insecure_hosts: list[str] = Field(
        default=[],
        description="Git hosts (`host` or `host:port`) that may be reached over plain http.",
        examples=[["git.internal:3000"]],
    )


class AgentConfig(Section):
    """The agent's file, `~/.config/runyard/agent.yaml` unless `--config` names another one."""

    entity: str | None = Field(
        default=None,
        description="The user or team whose queues are served; the key's own user if left out.",
        examples=["vision-team"],
    )
    name: str = Field(
        default_factory=lambda: default_name(),
        description="The agent's name, unique in its entity. A process that starts under the "
        "name of another one takes over its jobs and ends it. The default is made of the host's.",
        examples=["gpu-box-1"],
    )
    queues: list[str] = Field(
        default=["default"],
        description="Queues to serve, in turn. `queue`, for a single one, is understood too.",
        examples=[["default", "nightly"]],
        min_length=1,
    )
    max_jobs: int = Field(
        default=1,
        ge=-1,
        description="How many jobs may run at the same time; -1 is without limit. The default is "
        "careful, since training jobs expect the machine to themselves.",
        examples=[4],
    )
    max_schedulers: int = Field(
        default=1,
        ge=-1,
        description="How many sweep schedulers may run at the same time, beside `max_jobs`; "
        "-1 is without limit. Reserved: this version runs no sweeps.",
        examples=[1],
    )
    base_url: str | None = Field(
        default=None,
        description="The server's address; the one of `runyard login` if left out. Also read "
        "from RUNYARD_BASE_URL. Jobs are told the same address.",
        examples=["https://runyard.example.com"],
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="The key to register with; the one of `runyard login` if left out. Better "
        "given as RUNYARD_API_KEY than written here.",
        examples=["ry_…"],
        repr=False,
    )
    work_dir: str = Field(
        default="~/.local/state/runyard/agent",
        description="Where jobs' files, logs, caches and environments are kept, in a directory "
        "for each agent name. Must survive a restart for running jobs to be adopted.",
        examples=["/var/lib/runyard-agent"],
    )
    verbosity: Literal[0, 1, 2] = Field(
        default=0,
        description="0 tells what people want to know, 1 says more often what is going on, 2 "
        "shows everything.",
        examples=[1],
    )
    log_file: str = Field(
        default="-",
        description="Where the agent's own log goes; `-` is the standard error stream.",
        examples=["/var/log/runyard-agent.log"],
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="How the agent's own log is written: for people or for machines.",
        examples=["json"],
    )
    stopped_run_timeout: int | None = Field(
        default=None,
        ge=0,
        description="Seconds between asking a workload to leave and ending it by force, in place "
        "of the queue's policy `stop_grace`.",
        examples=[60],
    )
    macros: list[str] = Field(
        default=[],
        description="Variables of the agent's environment that a queue's configuration may read "
        "as `${NAME}`. None by default: whoever may submit could read the agent's secrets.",
        examples=[["SCRATCH_DIR"]],
    )
    env_passthrough: list[str] = Field(
        default=[],
        description="Variables of the agent's environment that a queue may pass to its jobs by "
        "naming them in `env` without a value.",
        examples=[["HF_HOME", "CUDA_HOME"]],
    )
    gpus: Literal["auto", "none"] | list[int | str] = Field(
        default="auto",
        description="GPUs to give out: `auto` asks nvidia-smi, `none` gives none, a list names "
        "them by index.",
        examples=[[0, 1]],
    )
    gpus_shared: bool = Field(
        default=False,
        description="Whether jobs may share GPUs. Otherwise a GPU belongs to one job at a time.",
        examples=[False],
    )
    resources: dict[str, dict[str, Any]] = Field(
        default={},
        description="Settings and grants for each resource, read by its driver: what jobs may "
        "have of this host.",
        examples=[{"local-container": {"networks": ["training"], "pull": "missing"}}],
    )
    git: GitSettings = Field(
        default=GitSettings(),
        description="How jobs of kind git are fetched.",
        examples=[{"credentials": "none"}],
    )
    cache: CacheSettings = Field(
        default=CacheSettings(),
        description="What is kept on disk for the next job: which caches jobs share, and limits.",
        examples=[{"shared": ["pip", "wandb-artifacts"], "shared_mb": 100_000}],
    )
    builder: BuilderSettings = Field(
        default=BuilderSettings(),
        description="How images are built for jobs of kind git and code.",
        examples=[{"type": "docker", "destination": "registry.example.com/ml/jobs"}],
    )
    environment: EnvironmentSettings = Field(
        default=EnvironmentSettings(),
        description="The cloud that the agent acts in, for registries and buckets.",
        examples=[{"type": "aws", "region": "eu-central-1"}],
    )
    registry: RegistrySettings | None = Field(
        default=None,
        description="Deprecated: write `builder.destination`, which wins over it.",
        examples=[{"type": "ecr", "uri": "registry.example.com/ml/jobs"}],
    )
    volumes: dict[str, VolumeSettings] = Field(
        default={},
        description="Directories of the host that a queue's jobs may use, by name: caches and "
        "data sets. Each has the fields `path`, `read_only`, `quota_mb`, `keep_days`, `queues` "
        "and `preset`, all optional; a text is a path, with `:ro` for read-only.",
        examples=[{"datasets": "/srv/datasets:ro", "pip": {"quota_mb": 10_000}}],
    )
    labels: dict[str, str] = Field(
        default={},
        description="Labels on everything that the agent starts, where the resource has labels.",
        examples=[{"cost-center": "vision"}],
    )
    secure_mode: bool = Field(
        default=False,
        description="Run jobs and queues as they are: refuse an item whose submission replaces "
        "the job's command, its image's build or working directory, or changes a setting of the "
        "queue. Run configs, arguments and template variables pass.",
        examples=[True],
    )
    exit_when_idle: bool = Field(
        default=False,
        description="Leave, with exit code 0, once nothing runs and the queues are empty.",
        examples=[True],
    )

    @model_validator(mode="before")
    @classmethod
    def _pushes_where_the_registry_says(cls, given: Any) -> Any:
        return with_destination(given)

    @field_validator("name")
    @classmethod
    def _names_a_directory_too(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("1 to 64 letters, digits, '-', '_' or '.', not beginning with '-'")
        return name

    @field_validator("max_jobs", "max_schedulers")
    @classmethod
    def _may_do_something(cls, most: int) -> int:
        if most == 0:
            raise ValueError("a number above 0, or -1 for no limit")
        return most

    @field_validator("queues")
    @classmethod
    def _each_once(cls, queues: list[str]) -> list[str]:
        return list(dict.fromkeys(queues))

    @field_validator("volumes", mode="before")
    @classmethod
    def _texts_are_paths(cls, volumes: Any) -> Any:
        if not isinstance(volumes, dict):
            return volumes
        for name in volumes:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: 1 to 64 letters, digits, '-', '_' or '.'")
        return {name: settings_of(each) for name, each in volumes.items()}

    @field_validator("resources")
    @classmethod
    def _volumes_have_one_place(cls, resources: dict[str, Any]) -> dict[str, Any]:
        if "volumes" in resources.get("local-container", {}):
            raise ValueError("volumes are named in the agent's own `volumes`, for all resources")
        return resources

    @field_validator("macros", "env_passthrough")
    @classmethod
    def _are_variables(cls, names: list[str]) -> list[str]:
        for name in names:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is no variable name")
        return names

    @property
    def root(self) -> Path:
        """Where this agent, and no other one, keeps its things."""
        return Path(self.work_dir).expanduser().absolute() / self.name

    def shown(self) -> dict[str, Any]:
        """Return what the server may show to people: no secrets."""
        return self.model_dump(
            mode="json",
            exclude={"api_key": True, "git": True, "builder": {"secrets", "cluster"}},
        )

    def warnings(self) -> list[str]:
        """Return what the agent's log should say once of settings that have had their day."""
        found = []
        if self.registry is not None:
            instead = self.registry.destination
            if instead is None:
                found.append("`registry` is deprecated and not used: leave it out")
            elif instead == self.builder.destination:
                found.append(
                    f"`registry` is deprecated: write `builder: {{destination: {instead}}}`"
                )
            else:
                found.append(
                    "`registry` is deprecated and not used: images are pushed where "
                    f"`builder.destination` says, {self.builder.destination}"
                )
        if self.environment.project is not None:
            found.append("`environment.project` is not used: the project is of the credentials")
        if self.builder.type == "kaniko":
            found.append("kaniko's own project was archived in 2025: consider `type: buildkit`")
        return found


def default_name() -> str:
    """Return a name that is the same after a restart: the host's."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname().partition(".")[0]).strip("-._")
    return (host or "agent")[:64]
