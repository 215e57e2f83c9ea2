"""What a job's maker declares as its inputs, brought into the form that the server keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

from runyard.domain.errors import Invalid
from runyard.domain.input_names import CONFIG, SUFFIXES

Declared = Mapping[str, Any] | BaseModel | type[BaseModel]


def declared(inputs: Declared) -> dict[str, Any]:
    """Return schemas by name.

    `inputs` is a JSON schema or a pydantic model, its class or one of its instances, of the
    run's config; or several of these by their names: `@wandb.config` and files of the job.

    Raises:
        Invalid: it is something else, or a model that JSON schema has no words for.
    """
    if not isinstance(inputs, Mapping):
        return {CONFIG: _schema(inputs)}
    if not inputs:
        return {}
    named = [name == CONFIG or str(name).endswith(SUFFIXES) for name in inputs]
    if all(named):
        return {str(name): _schema(each) for name, each in inputs.items()}
    if any(named):
        other = [str(name) for name, is_name in zip(inputs, named, strict=True) if not is_name]
        raise Invalid(
            f"inputs: {', '.join(other[:5])}: neither {CONFIG} nor a file that ends in "
            + ", ".join(SUFFIXES)
        )
    return {CONFIG: dict(inputs)}


def _schema(given: Any) -> Any:
    if isinstance(given, Mapping):
        return dict(given)
    model = given if isinstance(given, type) else type(given)
    if not issubclass(model, BaseModel):
        raise Invalid(f"inputs: {given!r} is neither a JSON schema nor a pydantic model")
    try:
        schema = model.model_json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise Invalid(f"inputs: {model.__name__} has no JSON schema: {error.message}") from error
    return schema if isinstance(given, type) else _with_values(schema, given)


def _with_values(schema: dict[str, Any], model: BaseModel) -> dict[str, Any]:
    """An instance says what its fields are unless somebody says otherwise: defaults."""
    values = model.model_dump(mode="json", by_alias=True)
    fields = schema.get("properties", {})
    for name, field in fields.items():
        if name in values:
            fields[name] = {**field, "default": values[name]}
    required = [name for name in schema.get("required", []) if name not in values]
    return {**{key: value for key, value in schema.items() if key != "required"}} | (
        {"required": required} if required else {}
    )
