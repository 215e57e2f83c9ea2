"""
Where the agent's settings come from, and what is wrong with them.

Later wins: defaults, the file, the environment (`RUNYARD_AGENT_<KEY>`), the command line. A key
that nobody knows is an error, and every bad field is named at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from runyard.agent.config import AgentConfig
from runyard.domain.errors import Invalid

ENV_PREFIX: Final = "RUNYARD_AGENT_"


def load(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
) -> AgentConfig:
    """Read the settings. `file` None is the default one, which need not exist.

    `flags` are those that were given on the command line, by the names of the fields.

    Raises:
        Invalid: `file` is missing or no YAML, or fields are wrong: all of them, one a line.
    """
    path = file or default_file(environ)
    origin = {f"{ENV_PREFIX}{key.upper()}": key for key in AgentConfig.model_fields}
    from_file = _with_queue(_read(path, must_exist=file is not None))
    from_env = _with_queue(_from(environ))
    unknown = [
        f"{ENV_PREFIX}{key.upper()}: unknown; see the agent's configuration reference"
        for key in from_env
        if key not in AgentConfig.model_fields
    ]
    merged = {**from_file, **from_env, **_with_queue(dict(flags or {}))}
    try:
        config = AgentConfig.model_validate(merged)
    except ValidationError as error:
        lines = [_line(e, path, from_env, flags or {}) for e in error.errors()]
        raise Invalid("\n".join(dict.fromkeys(lines))) from error
    if unknown:
        raise Invalid("\n".join(unknown), hint="known are " + ", ".join(sorted(origin)))
    return config


def default_file(environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "runyard" / "agent.yaml"


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not must_exist:
            return {}
        raise Invalid(f"agent config {path}: there is no such file") from error
    except OSError as error:
        raise Invalid(f"agent config {path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"agent config {path}: is not YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise Invalid(f"agent config {path}: is not a mapping of fields, such as `max_jobs: 4`")
    return data


def _from(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in environ.items():
        if name.startswith(ENV_PREFIX):
            key = name.removeprefix(ENV_PREFIX).lower()
            found[key] = _value(key, text)
    for key in ("base_url", "api_key"):
        if given := environ.get(f"RUNYARD_{key.upper()}"):
            found.setdefault(key, given)
    return found


def _value(key: str, text: str) -> Any:
    """Read a variable: lists may be separated by commas, other kinds are written as in YAML."""
    field = AgentConfig.model_fields.get(key)
    kind = field.annotation if field else str
    if kind == list[str] and not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    if kind in (str, str | None, SecretStr | None):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # the check of the field will say what is wrong with it


def _with_queue(data: dict[str, Any]) -> dict[str, Any]:
    """Understand `queue` as the peer's documents have it: one more of `queues`."""
    if not isinstance(data.get("queue"), str):
        return data
    queues = data.get("queues") or []
    rest = {key: value for key, value in data.items() if key != "queue"}
    return {**rest, "queues": [*queues, data["queue"]]} if isinstance(queues, list) else data


def _line(error: Any, path: Path, from_env: Mapping[str, Any], flags: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    if location[0] == "gpus":
        location = location[:1]  # what follows names the kinds that were tried
    field = ".".join(location)
    if location[0] in flags:
        where = "command line"
    elif location[0] in from_env:
        where = f"variable {ENV_PREFIX}{location[0].upper()}"
    else:
        where = f"agent config {path}"
    if error["type"] == "extra_forbidden":
        return f"{where}: field {field}: unknown{_nearest(location)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "dataclass_type", "dict_type"):
        message = "should be a mapping of keys to values"
    # A whole section is no news to who wrote it, and a password may stand where its file belongs.
    hidden = location[0] == "api_key" or "secrets" in location or isinstance(error["input"], dict)
    given = "" if hidden else f" (given: {error['input']!r})"
    return f"{where}: field {field}: {message[:1].lower()}{message[1:]}{given}"


def _nearest(location: list[str]) -> str:
    """Return the name that may have been meant, of those of the same section."""
    section: Any = AgentConfig
    for part in location[:-1]:
        field = section.model_fields.get(part)
        section = field.annotation if field else None
        if not isinstance(section, type) or not issubclass(section, BaseModel):
            return ""
    near = difflib.get_close_matches(location[-1], section.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else ""
