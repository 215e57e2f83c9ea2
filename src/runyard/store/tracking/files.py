"""Files of runs: their names, and what is known of their bytes. The bytes lie in the store."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, update

from runyard.store import tables as t
from runyard.store.db import Tx
from runyard.store.values import to_ms

_F = t.run_files.c
_NOTE: Final = (
    update(t.run_files)
    .where(_F.run_id == bindparam("of"), _F.name == bindparam("called"))
    .values(size=bindparam("size"), md5=bindparam("md5"), updated_at=bindparam("updated_at"))
)


def note(tx: Tx, run_id: str, name: str, *, size: int, md5: str | None, now: datetime) -> bool:
    """Note what lies in the store under a name; return False if the run has no such file."""
    values = {"of": run_id, "called": name, "size": size, "md5": md5, "updated_at": to_ms(now)}
    return tx.run(_NOTE, values) == 1
