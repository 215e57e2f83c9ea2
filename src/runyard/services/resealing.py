"""Sealing anew with the newest key what an older one had sealed, a bounded batch at a time."""

from __future__ import annotations

from runyard.domain.errors import Rejected
from runyard.services import sealing, secrets
from runyard.services.call import Call
from runyard.store import secrets as store


def reseal(call: Call, *, after: str, limit: int) -> tuple[str, int, list[str]]:
    """Seal up to `limit` secrets with the newest key that another one had sealed.

    Returns the id to go on after (empty at the end), how many were done, and the names
    (`entity id/name`) of those that no key here opens.
    """
    sealer = sealing.need(call.seal)
    rows = store.not_sealed_with(call.tx, sealer.key_id, after=after, limit=limit)
    done, lost = 0, []
    for row in rows:
        words = secrets.about(row["entity_id"], row["name"], row["version"])
        old = sealing.Sealed(row["key_id"], bytes(row["sealed"]))
        try:
            new = sealer.seal(sealer.open(old, words), words)
        except Rejected:
            lost.append(f"{row['entity_id']}/{row['name']}")
            continue
        done += store.reseal(call.tx, row["id"], row["version"], new.key_id, new.data)
    return (rows[-1]["id"] if len(rows) == limit else ""), done, lost


def reseal_hooks(call: Call, *, after: str, limit: int) -> tuple[str, int, list[str]]:
    """As `reseal`, for the keys that sign notifications; they are bound to the hook's id."""
    sealer = sealing.need(call.seal)
    rows = store.hooks_not_sealed_with(call.tx, sealer.key_id, after=after, limit=limit)
    done, lost = 0, []
    for row in rows:
        words = sealing.about("hook", row["id"])
        old = sealing.Sealed(row["key_id"], bytes(row["secret"]))
        try:
            new = sealer.seal(sealer.open(old, words), words)
        except Rejected:
            lost.append(f"hook {row['id']}")
            continue
        done += store.reseal_hook(call.tx, row["id"], row["key_id"], new.key_id, new.data)
    return (rows[-1]["id"] if len(rows) == limit else ""), done, lost
