"""
The peer's `registry` block, which `builder.destination` took the place of.

It is read as long as people have files with it: what it names becomes the destination, unless
there is one, and the agent's log says so once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from runyard.agent.sections import Section
from runyard.domain.errors import Invalid
from runyard.domain.images import check_repository

_PARTS: Final = {
    "ecr": ("account_id", "region", "repo_name"),
    "gcr": ("region", "project", "repository", "image_name"),
    "acr": (),
}


class RegistrySettings(Section):
    """Where images were pushed to before there was `builder.destination`."""

    type: Literal["ecr", "gcr", "acr", "local"] = Field(
        description="Amazon's, Google's or Azure's registries; `local` pushes nothing.",
        examples=["ecr"],
    )
    uri: str | None = Field(
        default=None,
        description="The repository, without a tag.",
        examples=["registry.example.com/ml/jobs"],
    )
    account_id: str | None = Field(default=None, description="ECR: the account's number, quoted.")
    region: str | None = Field(default=None, description="ECR and Google: the region.")
    repo_name: str | None = Field(default=None, description="ECR: the repository.")
    project: str | None = Field(default=None, description="Google: the project.")
    repository: str | None = Field(default=None, description="Google: the repository.")
    image_name: str | None = Field(default=None, description="Google: the image's name in it.")

    @model_validator(mode="before")
    @classmethod
    def _dashes_are_understood(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {str(key).replace("-", "_"): value for key, value in given.items()}

    @field_validator("account_id", mode="before")
    @classmethod
    def _is_quoted(cls, number: Any) -> Any:
        if isinstance(number, int):  # YAML may have read it as an octal one
            raise ValueError("the account's number, in quotes")  # noqa: TRY004
        return number

    @model_validator(mode="after")
    def _names_a_repository(self) -> Self:
        if self.type == "local":
            return self
        parts = _PARTS[self.type]
        if self.uri is None and (not parts or any(not getattr(self, name) for name in parts)):
            both = f" or all of {', '.join(parts)}" if parts else ""
            raise ValueError(f"uri{both} must be given; better write `builder.destination`")
        try:
            check_repository(self._joined())
        except Invalid as error:
            raise ValueError(error.message) from error
        return self

    @property
    def destination(self) -> str | None:
        """What `builder.destination` would say; None is: push nothing."""
        return None if self.type == "local" else check_repository(self._joined())

    def _joined(self) -> str:
        if self.uri is not None:
            return self.uri.removeprefix("https://").rstrip("/")
        if self.type == "ecr":
            return f"{self.account_id}.dkr.ecr.{self.region}.amazonaws.com/{self.repo_name}"
        return f"{self.region}-docker.pkg.dev/{self.project}/{self.repository}/{self.image_name}"


def with_destination(settings: Any) -> Any:
    """Return an agent's settings, as they are written, with a destination from `registry`.

    A `registry` that is not valid is left to the check of its own field.
    """
    if not isinstance(settings, Mapping):
        return settings
    registry, builder = settings.get("registry"), settings.get("builder", {})
    if not isinstance(registry, Mapping) or not isinstance(builder, Mapping):
        return settings
    try:
        destination = RegistrySettings.model_validate(registry).destination
    except ValidationError:
        return settings
    if destination is None or builder.get("destination") is not None:
        return settings
    return {**settings, "builder": {**builder, "destination": destination}}
