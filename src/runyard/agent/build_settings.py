"""
The agent's settings for building images: by which program, for which registry, as whom.

The peer's spellings are understood. Where its agent refuses a `builder` block without a `type`,
it is `auto` here: the other fields are of use with any builder.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from runyard.agent.cluster_settings import ClusterSettings
from runyard.agent.sections import Section
from runyard.builders.cluster_base import ClusterBuildSettings
from runyard.domain.errors import Invalid
from runyard.domain.images import UID, ImageRef, check_platform, check_repository

_PEERS: Final = {
    "build-context-store": "context_store",
    "build-job-name": "job_name",
    "kaniko-image": "image",
    "kaniko-config": "config",
    "secret-name": "secret_name",
    "secret-key": "secret_key",
}
_IN_CLUSTER: Final = ("buildkit", "kaniko")


class AcceleratorSettings(Section):
    """A base image for jobs on accelerators."""

    base_image: str | None = Field(
        default=None,
        description="A Debian-like image with the libraries of the accelerator. Python is "
        "installed into it with apt, unless it has one.",
        examples=["nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04"],
    )


class SecretSettings(Section):
    """Where a build's secret comes from: exactly one of both."""

    env: str | None = Field(
        default=None,
        description="A variable of the agent's own environment.",
        examples=["PIP_TOKEN"],
    )
    file: str | None = Field(
        default=None,
        description="A file of the agent's host.",
        examples=["/etc/runyard/pip.conf"],
    )

    @model_validator(mode="after")
    def _is_one(self) -> SecretSettings:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of `env` and `file`")
        return self


class BuilderSettings(Section):
    """How images are built for jobs of kind git and code."""

    type: Literal["auto", "docker", "buildah", "buildkit", "kaniko", "none", "noop"] = Field(
        default="auto",
        description="`docker` and `buildah` build on the agent's host by the program of that name; "
        "`buildkit`, `kaniko`, and `buildah` for a kubernetes queue, build in the cluster. `none` "
        "builds nothing: jobs run in a base image, with their files mounted. `auto` takes the "
        "first of docker and buildah that is there, else none; so does a block without a type. An "
        "agent that is root does not get buildah by `auto`, unless BUILDAH_ISOLATION keeps the "
        "steps apart from the host. "
        "`noop` is the peer's word for none.",
        examples=["docker"],
    )
    destination: str | None = Field(
        default=None,
        description="The repository that images are pushed to, without a tag. Left out, they stay "
        "with the engine that built them, for jobs of this host only.",
        examples=["registry.example.com/ml/jobs"],
    )
    base_image: str | None = Field(
        default=None,
        description="The image to build upon, in place of python:<version of the job>-slim.",
        examples=["registry.example.com/ml/python:3.11"],
    )
    accelerator: AcceleratorSettings = Field(
        default=AcceleratorSettings(),
        description="For jobs on accelerators: used in place of `base_image`. `cuda` is the older "
        "name of this key.",
        examples=[{"base_image": "nvidia/cuda:12.8.1-runtime-ubuntu24.04"}],
    )
    platform: str | None = Field(
        default=None,
        description="The platform to build for; that of the builder if left out.",
        examples=["linux/amd64"],
    )
    packages: Literal["strict", "lenient"] = Field(
        default="strict",
        description="`strict` fails a build if a package of the job cannot be installed; `lenient` "
        "leaves it out, and warns on the item.",
        examples=["lenient"],
    )
    user_id: int = Field(
        default=UID,
        ge=0,
        le=2**31 - 1,
        description="The user id that the job runs as in its image; the group is 0. 0 is root, as "
        "SageMaker needs it.",
        examples=[1000],
    )
    secrets: dict[str, SecretSettings] = Field(
        default={},
        description="Secrets that a step of the build may mount, by their id. `netrc` and "
        "`pip.conf` are mounted where packages are installed.",
        examples=[{"pip.conf": {"file": "/etc/runyard/pip.conf"}}],
    )
    insecure_registries: list[str] = Field(
        default=[],
        description="Registries (`host` or `host:port`) that are spoken to over plain http.",
        examples=[["registry.internal:5000"]],
    )
    timeout_s: int = Field(
        default=3600,
        ge=10,
        description="Seconds after which a build is given up. Fetching and building are part of "
        "the way from claim to start, which may have less: `start_timeout` of the queue's policy.",
        examples=[7200],
    )

    cluster: ClusterSettings = Field(
        default=ClusterSettings(),
        description="For builders in a cluster: how the Jobs that build look.",
        examples=[{"context_store": "s3://my-bucket/contexts", "namespace": "builds"}],
    )

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, given: Any) -> Any:
        if isinstance(given, dict) and "cuda" in given and "accelerator" not in given:
            given = dict(given)
            given["accelerator"] = given.pop("cuda")
        return given

    @model_validator(mode="before")
    @classmethod
    def _peers_names(cls, given: Any) -> Any:
        peers = [key for key in _PEERS if isinstance(given, dict) and key in given]
        cluster = given.get("cluster", {}) if peers else None
        if not isinstance(cluster, dict):
            return given
        for key in peers:
            if _PEERS[key] in cluster:
                raise ValueError(f"give one of {key} and cluster.{_PEERS[key]}")
        named = {_PEERS[key]: given[key] for key in peers}
        rest = {key: value for key, value in given.items() if key not in _PEERS}
        return {**rest, "cluster": {**cluster, **named}}

    @model_validator(mode="after")
    def _is_enough_for_a_cluster(self) -> Self:
        if self.type not in _IN_CLUSTER:
            return self
        if self.destination is None:
            raise ValueError(f"{self.type} pushes what it builds: give `destination`")
        if self.cluster.context_store is None and self.cluster.claim is None:
            raise ValueError(
                f"{self.type} builds in a pod, which gets the files from a bucket or a claim: give "
                "`cluster.context_store` or `cluster.claim`"
            )
        if self.type == "kaniko" and self.cluster.image is None:
            raise ValueError(
                "kaniko's own project was archived in 2025: name an image of it that you have as "
                "`kaniko-image`, or use `type: buildkit`"
            )
        return self

    @field_validator("destination")
    @classmethod
    def _is_repository(cls, text: str | None) -> str | None:
        return text and _said(check_repository, text)

    @field_validator("base_image")
    @classmethod
    def _is_image(cls, text: str | None) -> str | None:
        return text and str(_said(ImageRef.parse, text)) and text

    @field_validator("platform")
    @classmethod
    def _is_platform(cls, text: str | None) -> str | None:
        return text and _said(check_platform, text)

    def in_cluster(self, namespace: str) -> ClusterBuildSettings:
        """Return what a build in the cluster is told; `namespace` is the agent's own."""
        return self.cluster.for_builds(namespace=namespace, timeout_s=self.timeout_s)


def _said(check: Any, text: str) -> Any:
    try:
        return check(text)
    except Invalid as error:
        raise ValueError(error.message) from error


class EnvironmentSettings(Section):
    """The cloud that the agent acts in; its credentials are those of the surroundings."""

    type: Literal["local", "aws", "gcp", "azure"] = Field(
        default="local",
        description="Which cloud; its identity is checked when the agent starts, and printed.",
        examples=["aws"],
    )
    region: str | None = Field(
        default=None,
        description="The cloud's region, where it has one; else as the surroundings say.",
        examples=["eu-central-1"],
    )
    project: str | None = Field(
        default=None,
        description="Accepted, since the peer's documents have it, and not used: the project is "
        "that of the credentials.",
    )
