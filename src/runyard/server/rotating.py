"""
Changing the key of secrets while servers go on: a new key in the file, then row after row.

What a server seals meanwhile with the older key is sealed anew by the next rotation; the older
keys stay in the file until somebody removes them, since backups need them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from runyard.domain.errors import Conflict
from runyard.server.edge import SERVER, Ids, new_secret, utc_now
from runyard.server.sealing import KeyFile, sealer
from runyard.server.settings import ServerSettings
from runyard.services import resealing
from runyard.services.audit import note
from runyard.services.call import Call
from runyard.store import migrate, secrets
from runyard.store.db import Database, Tx

BATCH: Final = 100  # rows in one transaction
_Reseal = Callable[..., tuple[str, int, list[str]]]


@dataclass(frozen=True, slots=True)
class Rotated:
    """`lost` are the names of what no key opens."""

    key_id: str
    done: int
    lost: Sequence[str]


def rotate(settings: ServerSettings, database: Database) -> Rotated:
    """Make a new key, and seal with it all that older ones had sealed.

    Raises:
        Conflict: the schema is not this version's. Rejected, Unavailable: the keys.
    """
    migrate.check(database)
    keys = sealer(settings)
    key_id = keys.add_key()
    done = 0
    lost: list[str] = []
    for reseal in (resealing.reseal, resealing.reseal_hooks):
        more, missing = _all(database, keys, reseal)
        done, lost = done + more, [*lost, *missing]
    told = {"sealed": done, "lost": len(lost)}
    database.write(partial(_note, keys, "secrets.rotate", key_id, told))
    return Rotated(key_id, done, lost)


def unused(settings: ServerSettings, database: Database) -> list[str]:
    """Return the keys in the file that nothing in the database is sealed with; never the newest."""
    used = database.read(secrets.key_ids)
    return [key_id for key_id in sealer(settings).key_ids[1:] if key_id not in used]


def forget(settings: ServerSettings, database: Database, key_ids: Sequence[str]) -> None:
    """Remove keys from the file.

    Raises:
        Conflict: one of them is in use after all.
    """
    still = set(key_ids) - set(unused(settings, database))
    if still:
        raise Conflict(f"in use: {', '.join(sorted(still))}", hint="runyard db rotate-secrets")
    keys = sealer(settings)
    keys.remove(key_ids)
    for key_id in key_ids:
        database.write(partial(_note, keys, "secrets.forget_key", key_id, {}))


def _all(database: Database, keys: KeyFile, reseal: _Reseal) -> tuple[int, list[str]]:
    after, done = "", 0
    lost: list[str] = []
    while True:
        after, more, missing = database.write(partial(_some, keys, reseal, after))
        done, lost = done + more, [*lost, *missing]
        if not after:
            return done, lost


def _some(keys: KeyFile, reseal: _Reseal, after: str, tx: Tx) -> tuple[str, int, list[str]]:
    return reseal(_call(tx, keys), after=after, limit=BATCH)


def _note(keys: KeyFile, action: str, key_id: str, after: dict[str, int], tx: Tx) -> None:
    note(_call(tx, keys), action, key_id, after=after)


def _call(tx: Tx, keys: KeyFile) -> Call:
    return Call(tx, SERVER, utc_now(), Ids(utc_now), new_secret, keys)
