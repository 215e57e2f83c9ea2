"""
The document: what may be written in it, and reading it with all mistakes at once.

Several files, a directory, standard input and several documents in one file all add up to one
platform; only the same thing may not be described twice.
"""

from __future__ import annotations

import copy
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from runyard.domain.errors import Invalid, Violation
from runyard.sdk.platform.kinds import KINDS, OWNERS, below
from runyard.sdk.platform.kinds.base import Kind
from runyard.sdk.platform.parts import VERSION, Document
from runyard.sdk.platform.reading import Mistake, Read, documents
from runyard.sdk.platform.things import Key, Platform, Section, Thing

_DEPTH: Final = 4  # of the path of one thing: teams, team, section, name


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a document, for editors."""
    schema = Document.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Runyard platform",
    }


def read_files(paths: Sequence[str | Path]) -> Platform:
    """Read YAML files, the YAML files in directories, and standard input (`-`).

    Raises:
        Invalid: with a violation for each mistake, by file and line.
    """
    reads: list[Read] = []
    mistakes: list[Mistake] = []
    for file in _files(paths, mistakes):
        reads += documents(_text(file, mistakes), str(file))
    return gather(reads, mistakes)


def read_text(text: str, file: str = "-") -> Platform:
    """Read one text. Raises as `read_files`."""
    return gather(documents(text, file), [])


def gather(reads: Iterable[Read], mistakes: list[Mistake]) -> Platform:
    """Return what all documents ask for together. Raises as `read_files`."""
    things: dict[Key, Thing] = {}
    managed: set[Section] = set()
    for read in reads:
        if not read.mistakes and (document := _checked(read)) is not None:
            for thing, path in _things(document, read, managed):
                _add(things, thing, path, read)
        mistakes += sorted(read.mistakes, key=lambda one: one.line)
    if mistakes:
        wrong = [Violation(m.where, m.message) for m in mistakes]
        what = "1 mistake" if len(wrong) == 1 else f"{len(wrong)} mistakes"
        raise Invalid(
            f"the document has {what}; nothing was sent anywhere",
            hint="what may be written: runyard apply --schema",
            violations=wrong,
        )
    return Platform(things, frozenset(managed))


def _files(paths: Sequence[str | Path], mistakes: list[Mistake]) -> Iterator[str | Path]:
    for path in paths:
        if path == "-" or not Path(path).is_dir():
            yield path
            continue
        found = sorted(p for p in Path(path).iterdir() if p.suffix in (".yaml", ".yml"))
        if not found:
            mistakes.append(Mistake(str(path), 0, "", "has no *.yaml or *.yml in it"))
        yield from found


def _text(file: str | Path, mistakes: list[Mistake]) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        mistakes.append(Mistake(str(file), 0, "", f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        mistakes.append(Mistake(str(file), 0, "", "is not a text in UTF-8"))
    return ""


# -- checking ----------------------------------------------------------------------------


def _checked(read: Read) -> Document | None:
    """Return the document; what is wrong in it is noted and left out, the rest is looked at."""
    try:
        return Document.model_validate(read.value)
    except ValidationError as error:
        sound = {**copy.deepcopy(read.value), "apiVersion": VERSION} if _is_map(read.value) else {}
        for one in error.errors():
            in_name = one["loc"][-1:] == ("[key]",)
            path = one["loc"][:-1] if in_name else one["loc"]
            read.mistake(path, _said(one, path, in_name=in_name))
            _drop(sound, path[:_DEPTH])
    try:
        return Document.model_validate(sound)
    except ValidationError:
        return None


def _drop(value: Any, path: tuple[str | int, ...]) -> None:
    for step in path[:-1]:
        if not _is_map(value) or step not in value:
            return
        value = value[step]
    if _is_map(value) and path and path[-1] != "apiVersion":
        value.pop(path[-1], None)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _said(error: Any, path: tuple[str | int, ...], *, in_name: bool) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if in_name:
        return f"{path[-1]!r} cannot be a name: letters, digits, '-', '_' and, in some, '.'"
    if kind == "missing":
        return "must be given"
    if kind == "extra_forbidden":
        known = _known(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        return f"unknown; did you mean {near[0]}?" if near else f"unknown; known: {_list(known)}"
    if kind in ("dict_type", "model_type"):
        given = error["input"]
        return "is a mapping of names to values" + ("; {} is none" if given is None else "")
    if kind == "literal_error":
        return f"is {context['expected']}"
    return str(error["msg"][:1].lower() + error["msg"][1:]).replace("input should be", "must be")


def _known(path: tuple[str | int, ...]) -> list[str]:
    """Return the names that a model at this path has."""
    here: Any = Document
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(step)].annotation
        else:
            here = get_args(here)[-1]  # of what a dict or list is made
    return list(here.model_fields)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


# -- taking apart ------------------------------------------------------------------------


def _things(
    document: Document, read: Read, managed: set[Section]
) -> Iterator[tuple[Thing, tuple[str | int, ...]]]:
    for kind in OWNERS:
        for name, part in getattr(document, kind.section).items():
            path: tuple[str | int, ...] = (kind.section, name)
            yield _thing(kind, "", name, part, path, read), path
            for own in below(kind.name):
                if own.section not in part.model_fields_set:
                    continue
                managed.add((own.name, name))
                for below_name, below_part in getattr(part, own.section).items():
                    inner = (*path, own.section, below_name)
                    yield _thing(own, name, below_name, below_part, inner, read), inner


def _thing(
    kind: Kind, owner: str, name: str, part: Any, path: tuple[str | int, ...], read: Read
) -> Thing:
    fields = kind.wanted(part)
    for wrong in kind.check(fields):
        # Names with dots in them are taken apart as well: the line of what is around it then.
        steps = tuple(int(s) if s.isdigit() else s for s in wrong.path.split(".") if s)
        read.mistake((*path, *steps), wrong.message)
    base = Path() if read.file == "-" else Path(read.file).parent
    return Thing(Key(kind.name, owner, name), fields, f"{read.file}:{read.line(path)}", base)


def _add(things: dict[Key, Thing], thing: Thing, path: tuple[str | int, ...], read: Read) -> None:
    first = things.get(thing.key)
    if first is None:
        things[thing.key] = thing
    elif KINDS[thing.key.kind] in OWNERS and (first.fields == thing.fields or not thing.fields):
        pass  # a team may be spread over files
    elif KINDS[thing.key.kind] in OWNERS and not first.fields:
        things[thing.key] = thing
    else:
        read.mistake(path, f"is given twice; first in {first.where}")
