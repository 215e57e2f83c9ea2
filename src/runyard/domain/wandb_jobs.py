"""
Jobs as the tracking client writes them (`wandb-job.json`), read into ours and written from ours.

    {"source_type": "image", "source": {"image": …}}
    {"source_type": "repo", "source": {"git": {"remote": …, "commit": …}, "entrypoint": […], …}}
    {"source_type": "artifact", "source": {"artifact": "wandb-artifact://_id/…", "entrypoint": …}}

Its code is another artifact of files; ours is an archive of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from runyard.domain.errors import Invalid
from runyard.domain.input_names import CONFIG
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.sources import check_commit, check_entry_point, check_image, check_remote

TYPE: Final = "job"  # of artifacts
CODE: Final = "code"
FILE: Final = "wandb-job.json"
REQUIREMENTS: Final = "requirements.frozen.txt"
PATCH: Final = "diff.patch"
_BY_ID: Final = "wandb-artifact://_id/"
_RUNTIME: Final = re.compile(r"3\.\d{1,3}")
# What the client makes of "CPython 3.11.7" when a run's own command becomes a job's: no program.
_ODD_PYTHON: Final = re.compile(r"python[A-Z]\w* 3\.\d{1,3}")
_EMPTY: Final = {"wb_type": "typedDict", "params": {"type_map": {}}}
_DEEPEST: Final = 20
_LEAVES: Final = {"number": "number", "string": "string", "boolean": "boolean"}


def read(data: bytes) -> dict[str, Any]:
    """Return what the file says. Raises: Invalid: it is not such a file."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{FILE} is not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("source"), dict):
        raise Invalid(f"{FILE} names no source")
    return found


def code_of(told: Mapping[str, Any]) -> str | None:
    """Return the id of the artifact that has the code, None if the job has none.

    Raises:
        Invalid: it is named in another way than by its id.
    """
    if told.get("source_type") != "artifact":
        return None
    address = told["source"].get("artifact")
    if not isinstance(address, str) or not address.startswith(_BY_ID):
        raise Invalid(f"{FILE}: the code is not named by the id of an artifact")
    return address.removeprefix(_BY_ID)


def source_of(told: Mapping[str, Any], *, archive: str = "", patch: str = "") -> Source:
    """Return the source; `archive` and `patch` are the digests of what was made of files.

    Raises:
        Invalid: it cannot be a job of ours, and why.
    """
    given = told["source"]
    kind = told.get("source_type")
    common: dict[str, Any] = {"entry_point": _words(given.get("entrypoint"))}
    for name in ("build_context", "dockerfile", "base_image"):
        if given.get(name):
            common[name] = given[name]
    if told.get("services"):
        common["services"] = told["services"]
    if kind == "image":
        image = check_image(str(given.get("image")))
        return Source.from_json({"kind": "image", "image": image, **common})
    runtime = _RUNTIME.search(str(told.get("runtime") or ""))
    common["runtime"] = runtime[0] if runtime else ""
    if kind == "repo":
        git = given.get("git") if isinstance(given.get("git"), dict) else {}
        remote, commit = check_remote(str(git.get("remote"))), check_commit(str(git.get("commit")))
        return Source.from_json(
            {"kind": "git", "remote": remote, "commit": commit, "patch": patch, **common}
        )
    if kind == "artifact":
        return Source.from_json({"kind": "code", "archive": archive, **common})
    raise Invalid(f"{FILE}: source_type {str(kind)[:50]!r} is not image, repo or artifact")


def schemas_of(told: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that a job declares, by schemas of its own or by what its run had."""
    declared = metadata.get("input_schemas")
    if isinstance(declared, dict):
        return declared
    schema = _schema(told.get("input_types"), _DEEPEST)
    return {CONFIG: schema} if schema.get("properties") else {}


def tell(source: Source, code_id: str = "") -> dict[str, Any]:
    """Return what the file says of a source of ours; `code_id` names the artifact of its code."""
    given: dict[str, Any] = {}
    if source.kind is SourceKind.IMAGE:
        given["image"] = source.image
    elif source.kind is SourceKind.GIT:
        given |= {"git": {"remote": source.remote, "commit": source.commit}, "notebook": False}
    else:
        given |= {"artifact": f"{_BY_ID}{code_id}", "notebook": False}
    if source.entry_point or source.kind is not SourceKind.IMAGE:
        given["entrypoint"] = list(source.entry_point)
    for name in ("build_context", "dockerfile", "base_image"):
        if getattr(source, name):
            given[name] = getattr(source, name)
    types = {SourceKind.IMAGE: "image", SourceKind.GIT: "repo", SourceKind.CODE: "artifact"}
    told = {
        "_version": "v0",
        "source_type": types[source.kind],
        "source": given,
        "input_types": _EMPTY,
        "output_types": _EMPTY,
        "runtime": source.runtime or None,
        "_partial": True,  # so that the client does not hold a launch to the types above
    }
    if source.services:
        told["services"] = dict(source.services)
    return told


def _words(given: Any) -> list[str]:
    if not given:
        return []
    words = given.split() if isinstance(given, str) else given
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Invalid(f"{FILE}: the entry point is not a list of words")
    if words and _ODD_PYTHON.fullmatch(words[0]):
        words = ["python", *words[1:]]
    return list(check_entry_point(words))


def _schema(told: Any, deep: int) -> dict[str, Any]:
    """Return what is certain of a type; of what was empty, mixed or unknown nothing is."""
    if not isinstance(told, dict) or deep == 0:
        return {}
    kind, params = told.get("wb_type"), told.get("params")
    if kind in _LEAVES:
        return {"type": _LEAVES[kind]}
    if not isinstance(params, dict):
        return {}
    if kind == "typedDict" and isinstance(params.get("type_map"), dict):
        fields = {str(name): _schema(each, deep - 1) for name, each in params["type_map"].items()}
        return {"type": "object", "properties": fields}
    if kind == "list":
        items = _schema(params.get("element_type"), deep - 1)
        return {"type": "array", **({"items": items} if items else {})}
    return {}
