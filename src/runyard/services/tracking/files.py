"""
Files of runs: announced, uploaded past us into the store, noted, listed, deleted.

A file is there once its size is known. What comes through our own store is noted as it comes;
an outside store has to be asked, when the program says that it has uploaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain import run_files
from runyard.domain.access import Action
from runyard.domain.errors import Invalid
from runyard.services.call import Call
from runyard.services.tracking import runs
from runyard.store.db import Row
from runyard.store.objects.base import Stat
from runyard.store.tracking import files as rows

_MOST_NAMES: Final = 1000  # that are asked for, or deleted, at once
_LONGEST_PATTERN: Final = 256


@dataclass(frozen=True, slots=True)
class File:
    """A file that somebody asked for by name; `row` is None where the run has none."""

    name: str
    row: Row | None


def announce(
    call: Call, entity: str | None, project: str | None, run: str, names: Sequence[str]
) -> tuple[Row, Mapping[str, str]]:
    """Return the run, and of the names those that may be uploaded, as they are kept.

    Raises:
        NotFound, Forbidden. Invalid: none of the names can be one.
    """
    kept = run_files.good(names)
    row = runs.find(call, entity, project, run, Action.TRACK)
    rows.announce(call.tx, row["pk"], set(kept.values()), call.now)
    return row, kept


def find_run(call: Call, entity: str | None, project: str | None, run: str) -> Row:
    """Return a run whose files the caller may write. Raises: NotFound, Forbidden."""
    return runs.find(call, entity, project, run, Action.TRACK)


def note_uploaded(call: Call, run_pk: str, names: Sequence[str]) -> list[str]:
    """Return those of the names that the run has announced, for an outside store to be asked of.

    A name that was not announced has no bytes and is not noted. The caller may write the run.
    """
    kept = set()
    for name in names[: run_files.MOST]:
        try:
            kept.add(run_files.normal(name))
        except Invalid:
            continue
    return sorted(rows.named(call.tx, run_pk, sorted(kept)))


def note_measured(call: Call, run_pk: str, found: Mapping[str, Stat]) -> None:
    """Note what an outside store has."""
    for name in sorted(found):
        stat = found[name]
        rows.note(call.tx, run_pk, name, size=stat.size, md5=stat.md5, now=stat.modified_at)


def count(call: Call, run_pk: str) -> int:
    """Return how many files a run has; the caller may see it."""
    return rows.count(call.tx, run_pk)


def named(call: Call, run_pk: str, names: Sequence[str]) -> list[File]:
    """Return a file for each name, there or not; the caller may see the run.

    Raises:
        Invalid: a name that no file can have, or too many.
    """
    if len(names) > _MOST_NAMES:
        raise Invalid(f"{len(names)} names of files; {_MOST_NAMES} may be asked for at once")
    kept = [run_files.normal(name) for name in names]
    found = rows.named(call.tx, run_pk, kept)
    return [File(name, found.get(name)) for name in kept]


def page(call: Call, run_pk: str, *, pattern: str | None, after: str, limit: int) -> Sequence[Row]:
    """Return files of a run that the caller may see, by name, those after `after`.

    Raises:
        Invalid: the pattern is too long.
    """
    if pattern is not None and len(pattern) > _LONGEST_PATTERN:
        raise Invalid(f"the pattern is longer than {_LONGEST_PATTERN} characters")
    return rows.page(call.tx, run_pk, pattern=pattern, after=after, limit=limit)


def delete(call: Call, wanted: Collection[tuple[str, str]]) -> None:
    """Forget files, given as (run, name). Their bytes are to be removed after the commit.

    Raises:
        NotFound: no such run that the caller may see. Forbidden. Invalid: too many.
    """
    if len(wanted) > _MOST_NAMES:
        raise Invalid(f"{len(wanted)} files; {_MOST_NAMES} may be deleted at once")
    by_run: defaultdict[str, set[str]] = defaultdict(set)
    for run_pk, name in wanted:
        by_run[run_pk].add(name)
    for run_pk, names in sorted(by_run.items()):
        runs.by_pk(call, run_pk, Action.TRACK)
        rows.drop(call.tx, run_pk, names)
