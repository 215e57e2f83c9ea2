"""`runyard db`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.options import Yes
from runyard.cli.server import DatabaseUrl, Home
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.store.db import Database

app = branch("Upgrade, back up and restore the database, from the machine it is reached from.")


@app.command(
    "upgrade",
    **examples("runyard db upgrade", "RUNYARD_DATABASE_URL=postgresql://… runyard db upgrade"),
)
def upgrade(home: Home = None, database_url: DatabaseUrl = None) -> None:
    """Bring the database to the schema of this version. Does nothing if it is there."""
    from runyard.cli.output import say
    from runyard.store import migrate

    with _opened(home, database_url) as (database, _):
        before = migrate.revision(database)
        migrate.upgrade(database)
        now = migrate.revision(database)
    say(f"The schema is at {now}." if before == now else f"Upgraded from {before} to {now}.")


@app.command(
    "backup", **examples("runyard db backup runyard-2026-01-31.tar", "runyard db backup b.tar -y")
)
def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it: one tar archive.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Write everything to one file, uploads included, while servers go on.

    It can be restored into the other kind of database, too.
    """
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.store import backup as backups

    if file.exists():
        confirm(f"Overwrite {file}?", yes=yes)
    with _opened(home, database_url) as (database, files):
        manifest = backups.backup(database, files, file)
    rows = sum(manifest.tables.values())
    say(f"Wrote {rows:,} rows and all uploads to {file} ({file.stat().st_size:,} bytes).")


@app.command(
    "restore",
    **examples("runyard db restore runyard-2026-01-31.tar --home /var/lib/runyard"),
)
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `runyard db backup` wrote.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Fill an empty database from a backup. One that holds anything is refused."""
    from runyard.cli.output import say
    from runyard.store import backup as backups

    with _opened(home, database_url) as (database, files):
        manifest = backups.restore(database, files, file)
    say(f"Restored {sum(manifest.tables.values()):,} rows and all uploads from {file}.")
    if number := manifest.tables.get("secrets"):
        say(f"Its {number:,} secrets need the key file of the server that it was made on.")


@app.command(
    "rotate-secrets",
    **examples("runyard db rotate-secrets", "runyard db rotate-secrets --prune"),
)
def rotate_secrets(
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Make no new key; remove the old ones that nothing is sealed with any more. "
            "Older backups cannot be used without them.",
        ),
    ] = False,
    home: Home = None,
    database_url: DatabaseUrl = None,
    yes: Yes = False,
) -> None:
    """Make a new key for secrets and seal all of them with it, while servers go on.

    The key file is the server's, RUNYARD_SECRETS_KEY_FILE or secrets.key in its home. Servers
    on other machines need the new file before this one's next secret is used.
    """
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.domain.errors import Rejected
    from runyard.server import rotating
    from runyard.server.settings import ServerSettings

    settings = ServerSettings.load(os.environ, home=home, database_url=database_url)
    with _opened(home, database_url) as (database, _):
        if prune:
            unused = rotating.unused(settings, database)
            if unused:
                confirm(f"Remove the keys {', '.join(unused)}?", yes=yes)
            rotating.forget(settings, database, unused)
            say(f"Removed {len(unused)} keys from {settings.secrets_key_file}.")
            return
        rotated = rotating.rotate(settings, database)
    say(f"The key {rotated.key_id} seals now; {rotated.done:,} secrets were sealed anew.")
    if rotated.lost:
        raise Rejected(
            f"no key in {settings.secrets_key_file} opens {', '.join(rotated.lost)}",
            hint="put the lost keys back into that file and do it again, or write those anew",
        )


@contextmanager
def _opened(home: Path | None, database_url: str | None) -> Iterator[tuple[Database, Path]]:
    """Give the database and the directory of uploads that a server would use."""
    from runyard.server.settings import ServerSettings
    from runyard.store.db import Database

    settings = ServerSettings.load(os.environ, home=home, database_url=database_url)
    assert settings.files_dir is not None
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.files_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database_url)
    try:
        yield database, settings.files_dir
    finally:
        database.close()
