"""Files of runs: their names, and what is known of their bytes. The bytes lie in the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Integer, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_F = t.run_files.c
_AT_ONCE: Final = 1000  # names in one statement
_OF: Final = _F.run_id == bindparam("run_id")
_THERE: Final = select(t.run_files).where(_OF, _F.size.is_not(None))
_PAGE: Final = (
    _THERE.where(_F.name > bindparam("after"))
    .order_by(_F.name)
    .limit(bindparam("limit", type_=Integer))
)
_COUNT: Final = select(func.count()).where(_OF, _F.size.is_not(None))
_NAMED: Final = select(t.run_files).where(_OF, _F.name.in_(bindparam("names", expanding=True)))
_NOTE: Final = (
    update(t.run_files)
    .where(_F.run_id == bindparam("of"), _F.name == bindparam("called"))
    .values(size=bindparam("size"), md5=bindparam("md5"), updated_at=bindparam("updated_at"))
)
_DROP: Final = delete(t.run_files).where(_OF, _F.name == bindparam("called"))


def announce(tx: Tx, run_id: str, names: Collection[str], now: datetime) -> None:
    """Note that files of these names are to come; those that are there stay as they are."""
    dialect = postgresql if tx.is_postgres else sqlite
    new = dialect.insert(t.run_files).on_conflict_do_nothing()
    # In one order always, so that two who announce the same wait for each other, not forever.
    rows = [{"run_id": run_id, "name": n, "updated_at": to_ms(now)} for n in sorted(names)]
    if rows:
        tx.run(new, rows)


def note(tx: Tx, run_id: str, name: str, *, size: int, md5: str | None, now: datetime) -> bool:
    """Note what lies in the store under a name; return False if the run has no such file."""
    values = {"of": run_id, "called": name, "size": size, "md5": md5, "updated_at": to_ms(now)}
    return tx.run(_NOTE, values) == 1


def named(tx: Tx, run_id: str, names: Sequence[str]) -> dict[str, Row]:
    """Return those of the names that the run knows; `size` is None until the file is there."""
    found: dict[str, Row] = {}
    for at in range(0, len(names), _AT_ONCE):
        params = {"run_id": run_id, "names": names[at : at + _AT_ONCE]}
        found |= {row["name"]: row for row in tx.all(_NAMED, params)}
    return found


def page(tx: Tx, run_id: str, *, pattern: str | None, after: str, limit: int) -> Sequence[Row]:
    """Return files that are there, by name; `pattern` is one of SQL's LIKE, in either case."""
    found = _PAGE
    params: dict[str, Any] = {"run_id": run_id, "after": after, "limit": limit}
    if pattern is not None:
        found = found.where(_F.name.ilike(bindparam("pattern"), escape="\\"))
        params["pattern"] = pattern
    return tx.all(found, params)


def count(tx: Tx, run_id: str) -> int:
    return int(tx.scalar(_COUNT, {"run_id": run_id}) or 0)


def drop(tx: Tx, run_id: str, names: Collection[str]) -> None:
    tx.run(_DROP, [{"run_id": run_id, "called": name} for name in sorted(names)])
