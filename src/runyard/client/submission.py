"""What somebody asks to be launched, written as a launch spec. Pure: nothing is looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.domain.building import BASES, KEY
from runyard.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A submission as its maker sees it; None and empty say nothing.

    `base` is a whole spec, as in a file for `--config`; the other fields are laid over it.
    `entry_point` and `args` replace those of the base, and either image what it says of both;
    `run_config`, `template_variables` and `policy` are merged into it.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    job: str | None = None
    image: str | None = None
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    run_id: str | None = None
    resource: str | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    priority: str | int | None = None
    entry_point: Sequence[str] = ()
    args: Sequence[str] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str | None = None
    base_image: str | None = None
    accelerator_image: str | None = None
    rebuild: bool = False
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    hold: bool = False

    def spec(self) -> dict[str, Any]:
        """Return the launch spec to send.

        Raises:
            Invalid: what something is merged into is no mapping.
        """
        spec = dict(self.base)
        if self.job or self.image:
            spec.pop("job", None)
            spec.pop("docker", None)
        given = {
            "job": self.job,
            "docker": {"docker_image": self.image} if self.image else None,
            "entity": self.entity,
            "project": self.project,
            "name": self.name,
            "run_id": self.run_id,
            "resource": self.resource,
            "resource_args": dict(self.resource_args) or None,
            "priority": self.priority,
            "hold": self.hold or None,
            "rebuild": self.rebuild or None,
            "builder": self._builder(),
        }
        for name, over in (
            ("template_variables", self.template_variables),
            ("policy", self.policy),  # merged: else a flag would undo what the file narrows
        ):
            if over:
                given[name] = {**_mapping(self.base.get(name), name), **over}
        spec.update({key: value for key, value in given.items() if value is not None})
        if overrides := self._overrides():
            spec["overrides"] = overrides
        return spec

    def _builder(self) -> dict[str, Any] | None:
        images: dict[str, Any] = {}
        if self.base_image:
            images["base_image"] = self.base_image
        if self.accelerator_image:
            images["accelerator"] = {"base_image": self.accelerator_image}
        if not images:
            return None
        below = _mapping(self.base.get(KEY), KEY)
        return {key: value for key, value in below.items() if key not in BASES} | images

    def _overrides(self) -> dict[str, Any]:
        overrides = dict(_mapping(self.base.get("overrides"), "overrides"))
        if self.entry_point:
            overrides.pop("entrypoint", None)  # its other spelling
            overrides["entry_point"] = list(self.entry_point)
        if self.args:
            overrides["args"] = list(self.args)
        if self.dockerfile:
            overrides["dockerfile"] = self.dockerfile
        if self.run_config:
            below = _mapping(overrides.get("run_config"), "overrides.run_config")
            overrides["run_config"] = {**below, **self.run_config}
        return overrides


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Invalid(f"{where}: is a mapping, not {value!r}")
    return value
