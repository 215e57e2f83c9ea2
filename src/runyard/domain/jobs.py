"""
Jobs: named, versioned recipes whose source is an image, a git commit or a directory of code.

A version is its content: the digest of a canonical JSON text. Saving the same content again
makes no new version, and a submission is pinned to a version when it is made, so that an
alias that moves later changes nothing that waits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.secrets import job_ref_faults

LATEST: Final = "latest"
_ALIAS = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_VERSION = re.compile(r"v(\d{1,9})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class SourceKind(StrEnum):
    IMAGE = "image"
    GIT = "git"
    CODE = "code"
    COMMAND = "command"  # nothing but an entry point; of no job, only of a sweep's scheduler


@dataclass(frozen=True, slots=True)
class Source:
    """
    What to run and how to come by it.

    IMAGE uses `image`; GIT uses `remote`, `commit` (full), `submodules` and `patch`, the digest
    of an uploaded diff of uncommitted changes; CODE uses `archive`, the digest of an uploaded
    archive. `build_context`, `dockerfile` and `base_image` are for building, `runtime` is the
    Python version ("3.11"), `services` maps auxiliary services to "always" or "never", `secrets`
    variables to names of secrets.
    """

    kind: SourceKind
    image: str = ""
    remote: str = ""
    commit: str = ""
    patch: str = ""
    submodules: bool = False
    archive: str = ""
    entry_point: tuple[str, ...] = ()
    build_context: str = ""
    dockerfile: str = ""
    base_image: str = ""
    runtime: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that say something, ready for JSON."""
        # Not `asdict`, which copies deeply: every item of a large submission comes this way.
        said = {name: value for name in _FIELDS if (value := getattr(self, name))}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """Read a source, all mistakes at once.

        Raises:
            Invalid: with a violation per unknown, missing or misplaced field.
        """
        known = {f.name for f in fields(cls)}
        wrong = [Violation(f"source.{k}", "unknown field") for k in data if k not in known]
        kind = data.get("kind")
        if kind not in set(SourceKind):
            wrong.append(Violation("source.kind", f"{kind!r} is not image, git or code"))
            raise Invalid("the job's source is not valid", violations=wrong)
        for name in _NEEDS[SourceKind(kind)]:
            if not data.get(name):
                wrong.append(Violation(f"source.{name}", f"is needed by a job of kind {kind}"))
        wrong += [
            Violation(f"source.{name}", "is not sha256:<64 hex digits>")
            for name in ("archive", "patch")
            if data.get(name) and not _DIGEST.fullmatch(str(data[name]))
        ]
        wrong += _misfits(data)
        if wrong:
            raise Invalid("the job's source is not valid", violations=wrong)
        given = {**data, "kind": SourceKind(kind)}
        given["entry_point"] = tuple(data.get("entry_point", ()))
        return cls(**given)


_FIELDS: Final = tuple(f.name for f in fields(Source))
_NEEDS: Final = {
    SourceKind.IMAGE: ("image",),
    SourceKind.GIT: ("remote", "commit"),
    SourceKind.CODE: ("archive",),
    SourceKind.COMMAND: (),
}


def content_digest(source: Source, input_schemas: Mapping[str, Any]) -> str:
    """Return what tells a version from others: the digest of its canonical JSON text."""
    content = source.to_json()
    if input_schemas:
        content = {"source": content, "input_schemas": input_schemas}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _misfits(data: Mapping[str, Any]) -> list[Violation]:
    wrong = []
    for name in ("image", "remote", "commit", "build_context", "dockerfile", "base_image"):
        if not isinstance(data.get(name, ""), str):
            wrong.append(Violation(f"source.{name}", "is a string"))
    for name in ("build_context", "dockerfile"):
        path = data.get(name, "")
        if isinstance(path, str) and (path.startswith("/") or ".." in path.split("/")):
            wrong.append(Violation(f"source.{name}", f"{path!r} leads out of the job's directory"))
    words = data.get("entry_point", [])
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        wrong.append(Violation("source.entry_point", 'is a list of strings: ["python", "a.py"]'))
    services = data.get("services", {})
    if not isinstance(services, Mapping) or set(services.values()) - {"always", "never"}:
        wrong.append(Violation("source.services", "maps names to 'always' or 'never'"))
    return wrong + job_ref_faults(data.get("secrets", {}))


@dataclass(frozen=True, slots=True)
class JobVersion:
    """One version of a job, with where it lives and the aliases that point to it now."""

    id: str
    entity: str
    project: str
    name: str
    version: int
    source: Source
    created_at: datetime
    aliases: tuple[str, ...] = ()
    description: str = ""
    created_by: str = ""
    input_schemas: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}:v{self.version}"


@dataclass(frozen=True, slots=True)
class JobRef:
    """`[entity/][project/]name[:alias]`; what is left out is filled from the submission."""

    entity: str | None
    project: str | None
    name: str
    alias: str = LATEST

    @classmethod
    def parse(cls, text: str) -> JobRef:
        """Read a reference.

        Raises:
            Invalid: it has too many parts or an empty one.
        """
        path, _, alias = text.partition(":")
        parts = path.split("/")
        if not 1 <= len(parts) <= 3 or not all(parts) or (":" in text and not alias):
            raise Invalid(f"job {text!r} is not entity/project/name:alias")
        entity, project, name = [None] * (3 - len(parts)) + parts
        return cls(entity, project, str(name), alias or LATEST)

    @property
    def version(self) -> int | None:
        """The number in `:v3`; None for any other alias."""
        found = _VERSION.fullmatch(self.alias)
        return int(found[1]) if found else None


def check_aliases(aliases: tuple[str, ...]) -> tuple[str, ...]:
    """Return the aliases if people may set them.

    Raises:
        Invalid: letters, digits, `-`, `_`, `.` only; `latest` and `v3` are the server's.
    """
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or alias == LATEST or _VERSION.fullmatch(alias):
            raise Invalid(
                f"alias {alias!r}: letters, digits, '-', '_' and '.'; 'latest' and 'v<number>' "
                "are given by the server"
            )
    return aliases
