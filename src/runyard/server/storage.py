"""The store of files that the settings name, and links into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from runyard.domain.errors import Conflict, Invalid
from runyard.server.edge import SERVER, Edge, utc_now
from runyard.server.settings import ServerSettings
from runyard.services import identities
from runyard.services.call import Call
from runyard.services.tracking import files
from runyard.store.objects.base import Link, ObjectStore, blob_key, run_file_key
from runyard.store.objects.gcs import GcsStore
from runyard.store.objects.links import Signer
from runyard.store.objects.local import LocalStore
from runyard.store.objects.s3 import S3Store

_AT_ONCE: Final = 16  # questions to an outside store


class Storage:
    """Makes links that are good for as long as the settings say."""

    def __init__(self, store: ObjectStore, settings: ServerSettings) -> None:
        self.store = store
        self.seconds = settings.link_seconds

    @property
    def is_own(self) -> bool:
        """Whether we serve the files ourselves; we know then at once what was uploaded."""
        return isinstance(self.store, LocalStore)

    async def unlock(self, edge: Edge) -> None:
        """Take the key of links, which all servers of the database share."""
        if not isinstance(self.store, LocalStore):
            return
        try:
            secret = await edge.write(SERVER, _link_key)
        except Conflict:  # another server made it at this moment
            secret = await edge.write(SERVER, _link_key)
        self.store.signer.unlock(secret)

    def put_blob(self, entity_id: str, md5: str, *, base: str, name: str = "file") -> Link:
        key = blob_key(entity_id, md5)
        return self.store.put_link(key, name=name, md5=md5, seconds=self.seconds, base=base)

    def get_blob(self, entity_id: str, md5: str, *, name: str, base: str) -> str:
        key = blob_key(entity_id, md5)
        return self.store.get_link(key, name=name, seconds=self.seconds, base=base)

    def put_run_file(self, run_id: str, name: str, *, base: str) -> Link:
        key = run_file_key(run_id, name)
        return self.store.put_link(key, name=name, md5=None, seconds=self.seconds, base=base)

    def get_run_file(self, run_id: str, name: str, *, base: str) -> str:
        key = run_file_key(run_id, name)
        return self.store.get_link(key, name=name, seconds=self.seconds, base=base)

    def settle(self, edge: Edge, run_id: str, names: Sequence[str]) -> None:
        """Ask an outside store what became of a run's files, and note it.

        For a thread, after the commit: it waits for the store. Names are those that
        `services.tracking.files.note_uploaded` returned.
        """
        if self.is_own or not names:
            return  # they were noted as they came
        keys = [run_file_key(run_id, name) for name in names]
        with ThreadPoolExecutor(min(_AT_ONCE, len(keys))) as threads:
            stats = list(threads.map(self.store.stat, keys))
        found = {name: stat for name, stat in zip(names, stats, strict=True) if stat is not None}
        edge.database.write(lambda tx: files.note_measured(edge.call(tx, SERVER), run_id, found))

    def remove_run_files(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Remove the bytes of files, given as (run, name); it waits for the store."""
        self.store.delete([run_file_key(run_id, name) for run_id, name in wanted])


def open_store(settings: ServerSettings, clock: Callable[[], datetime] = utc_now) -> ObjectStore:
    """Return the store that `files_url` names; nothing is asked of it yet.

    Raises:
        Invalid: the address, or the extra that it needs is not installed.
    """
    if settings.files_url:
        return _outside(settings.files_url, settings.files_endpoint)
    assert settings.files_dir is not None
    return LocalStore(settings.files_dir / "objects", Signer(clock))


def _outside(url: str, endpoint: str) -> ObjectStore:
    parts = urlsplit(url)
    stores: dict[str, type[S3Store] | type[GcsStore]] = {"s3": S3Store, "gs": GcsStore}
    plain = not (parts.query or parts.fragment or "@" in parts.netloc or ":" in parts.netloc)
    if parts.scheme not in stores or not parts.netloc or not plain:
        raise Invalid(
            f"files_url {url!r} is neither s3://BUCKET/PREFIX nor gs://BUCKET/PREFIX",
            hint="leave it empty to keep files in files_dir",
        )
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise Invalid(f"files_endpoint {endpoint!r} is no address: https://HOST")
    return stores[parts.scheme](parts.netloc, parts.path, endpoint)


def _link_key(call: Call) -> str:
    return identities.server_key(call, "file-links")
