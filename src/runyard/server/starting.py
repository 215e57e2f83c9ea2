"""What happens before the first request: the schema, the first admin, and how to log in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

from runyard.domain.errors import Conflict, NotFound
from runyard.server.settings import ServerSettings
from runyard.services import accounts
from runyard.services.call import Call
from runyard.store import migrate
from runyard.store.db import Database

_KEY_FILE: Final = "local-key"


def prepare(database: Database) -> None:
    """Bring a new or an embedded database to this version's schema.

    Raises:
        Conflict: a database of servers is at another revision; who runs them decides when.
    """
    at = migrate.revision(database)
    if at != migrate.head() and (at is None or not database.is_postgres):
        migrate.upgrade(database)
    migrate.check(database)


def own_key(call: Call, settings: ServerSettings, kept: str | None) -> tuple[str | None, bool]:
    """Make the first admin if there is nobody. Return a key, and whether it is the first ever.

    A server for this machine alone has a key at hand always, so that nobody who owns the
    machine has to log in: `kept` as long as it is good, a new one otherwise.
    """
    try:
        secret = accounts.bootstrap(call, settings.admin_name)
    except Conflict:  # another server on the same database was a moment faster
        secret = None
    if secret is not None or not _keeps_key(settings):
        return secret, secret is not None
    if kept and accounts.authenticate(call.tx, kept, call.now) is not None:
        return kept, False
    try:
        return accounts.admin_key(call, settings.admin_name, "this machine"), False
    except NotFound:  # the admin has another name by now
        return None, False


def hand_over(settings: ServerSettings, secret: str | None, *, is_first: bool) -> str:
    """Put the key where programs of this user find it, or return how to tell the operator."""
    if secret is None:
        return ""
    if _keeps_key(settings):
        write_private(settings.home / _KEY_FILE, secret)
        return ""
    if not is_first:
        return ""
    return (
        f"\nThis server is new. Its admin is {settings.admin_name!r}; the key is shown this "
        f"once:\n\n    {secret}\n\nLog in with it:  runyard login {settings.url}\n"
    )


def kept_key(settings: ServerSettings) -> str | None:
    """Return the key that an earlier start left in the home."""
    try:
        return (settings.home / _KEY_FILE).read_text().strip() or None
    except FileNotFoundError:
        return None


def _keeps_key(settings: ServerSettings) -> bool:
    return settings.is_loopback and settings.is_sqlite


def announce(settings: ServerSettings) -> None:
    """Write where the server is and how to enter it, for other programs of this user.

    Called just before it answers: whoever waited for an answer finds the file.
    """
    if _keeps_key(settings) and (key := kept_key(settings)):
        write_private(settings.home / "server.json", json.dumps({"url": settings.url, "key": key}))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # is 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
