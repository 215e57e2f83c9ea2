"""
The server's keys, and sealing with them: AES-256-GCM, one file of keys, the newest first.

    k4f0c9a1d2e3b  plain    <32 bytes, base64>
    k81d7c2f9aa04  aws-kms  <the key as KMS wrapped it, base64>

A wrapped key needs a key-management service to be read, once in a process's life; sealing and
opening then go on without it, so no transaction waits for a network. All servers of a database
need the same file. It is read again when it changes, so keys are rotated while servers run.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import secrets
import stat
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runyard.domain.errors import Rejected, RunyardError
from runyard.server.settings import ServerSettings
from runyard.services.sealing import Sealed

log = structlog.get_logger(__name__)

_PLAIN: Final = "plain"
_NONCE: Final = 12  # bytes
_KEY: Final = 32  # bytes
_HEADER: Final = (
    "# The keys of Runyard's secrets. Without them no secret can be read: keep a copy.\n"
)


class Wrapper(Protocol):
    """A key-management service: it turns a key into something that only it turns back."""

    name: str  # as it stands in the key file

    def wrap(self, key: bytes, key_id: str) -> bytes:
        """Raises: Rejected, Unavailable."""
        ...

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """Raises: Rejected, Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the file."""

    id: str
    kind: str
    data: bytes = field(repr=False)

    @property
    def line(self) -> str:
        return f"{self.id} {self.kind} {base64.b64encode(self.data).decode()}\n"


class KeyFile:
    """A sealer (`runyard.services.sealing.Sealer`) whose keys are in a file.

    `wrapper` wraps new keys, and unwraps those of its kind that are in the file.
    """

    def __init__(self, path: Path, wrapper: Wrapper | None = None) -> None:
        self.path, self._wrapper = path, wrapper
        self._lock = threading.RLock()
        self._read_at: tuple[int, int, int] | None = None
        self._entries: tuple[_Entry, ...] = ()
        self._keys: dict[str, AESGCM] = {}

    @property
    def has_key(self) -> bool:
        return bool(self._current())

    @property
    def key_id(self) -> str:
        entries = self._current()
        return entries[0].id if entries else ""

    @property
    def key_ids(self) -> Sequence[str]:
        """All keys of the file, the one that seals first."""
        return [entry.id for entry in self._current()]

    def load(self) -> None:
        """Read the keys now, so that no request has to wait for the service that unwraps them.

        Raises:
            Rejected, Unavailable.
        """
        for entry in self._current():
            self._key(entry)

    def seal(self, value: bytes, about: bytes) -> Sealed:
        entries = self._current()
        if not entries:
            self.add_key(only_first=True)
            entries = self._current()
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._key(entries[0]).encrypt(nonce, value, about)
        return Sealed(entries[0].id, nonce + sealed)

    def open(self, sealed: Sealed, about: bytes) -> bytes:
        found = next((e for e in self._current() if e.id == sealed.key_id), None)
        if found is None:
            raise Rejected(
                f"it was sealed with the key {sealed.key_id}, which is not in {self.path}",
                hint="put back the file of the server that sealed it, or write the secret anew",
            )
        nonce, data = sealed.data[:_NONCE], sealed.data[_NONCE:]
        try:
            return self._key(found).decrypt(nonce, data, about)
        except (InvalidTag, ValueError):
            raise Rejected(
                "what is stored is not what this server sealed: the database was changed",
                hint="write the secret anew, and find out who changed it",
            ) from None

    def add_key(self, *, only_first: bool = False) -> str:
        """Put a new key before all others; return its id. `only_first`: unless there is one.

        Raises:
            Rejected, Unavailable: the file cannot be written, the key not wrapped.
        """
        with self._lock, self._alone():
            entries = self._current()
            if only_first and entries:
                return entries[0].id
            key_id, key = f"k{secrets.token_hex(6)}", secrets.token_bytes(_KEY)
            if self._wrapper is None:
                entry = _Entry(key_id, _PLAIN, key)
            else:
                entry = _Entry(key_id, self._wrapper.name, self._wrapper.wrap(key, key_id))
            self._write([entry, *entries], is_first=not entries)
            return self.key_id

    def remove(self, key_ids: Collection[str]) -> None:
        """Take keys out of the file. What they sealed can never be opened again."""
        with self._lock, self._alone():
            self._write([e for e in self._current() if e.id not in key_ids], is_first=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of this machine from writing the file at the same time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = self.path.with_name(f".{self.path.name}.lock")
            lock = os.open(place, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _current(self) -> tuple[_Entry, ...]:
        with self._lock:
            try:
                found = self.path.stat()
            except FileNotFoundError:
                self._read_at, self._entries = None, ()
                return ()
            except OSError as error:
                raise self._unreadable(error) from error
            seen = (found.st_ctime_ns, found.st_ino, found.st_size)  # ctime: chmod counts, too
            if seen != self._read_at:
                self._entries = self._read(found.st_mode)
                self._read_at = seen
            return self._entries

    def _read(self, mode: int) -> tuple[_Entry, ...]:
        if mode & stat.S_IRWXO:
            raise Rejected(
                f"{self.path} can be read by everybody on this machine",
                hint=f"chmod 600 {self.path}, and rotate: runyard db rotate-secrets",
            )
        try:
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        return tuple(
            self._entry(n, line)
            for n, line in enumerate(lines, 1)
            if line.strip() and not line.startswith("#")
        )

    def _entry(self, number: int, line: str) -> _Entry:
        try:
            key_id, kind, data = line.split()
            return _Entry(key_id, kind, base64.b64decode(data, validate=True))
        except (ValueError, binascii.Error):  # the line is not quoted: it may be a key
            raise Rejected(
                f"{self.path}, line {number}: is not a key", hint="take the file from a copy"
            ) from None

    def _key(self, entry: _Entry) -> AESGCM:
        with self._lock:
            if entry.id not in self._keys:
                key = entry.data if entry.kind == _PLAIN else self._unwrapped(entry)
                if len(key) != _KEY:
                    raise Rejected(f"{self.path}: {entry.id} is not a key of {_KEY} bytes")
                self._keys[entry.id] = AESGCM(key)
            return self._keys[entry.id]

    def _unwrapped(self, entry: _Entry) -> bytes:
        if self._wrapper is None or self._wrapper.name != entry.kind:
            raise Rejected(
                f"{self.path}: the key {entry.id} was wrapped by {entry.kind}, "
                "and this server is not set up for it",
                hint="set RUNYARD_SECRETS_KMS_KEY",
            )
        return self._wrapper.unwrap(entry.data, entry.id)

    def _write(self, entries: Sequence[_Entry], *, is_first: bool) -> None:
        text = _HEADER + "".join(entry.line for entry in entries)
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".secrets-")  # is 0600
            self._hand_to_owner(handle)
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            try:
                if is_first:  # two servers may start at once: the first one's key counts
                    os.link(name, self.path)
                else:
                    Path(name).replace(self.path)
            except FileExistsError:
                pass
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _hand_to_owner(self, handle: int) -> None:
        """Give a new file the owner and mode of the one before, should root have made it."""
        is_there = self.path.exists()
        before = (self.path if is_there else self.path.parent).stat()
        if is_there:
            os.fchmod(handle, stat.S_IMODE(before.st_mode))
        if os.geteuid() == 0:
            os.fchown(handle, before.st_uid, before.st_gid)

    def _unwritable(self, error: OSError) -> Rejected:
        return Rejected(
            f"the key file {self.path} cannot be written: {error.strerror}",
            hint="set RUNYARD_SECRETS_KEY_FILE to a place that the server may write",
        )

    def _unreadable(self, error: Exception) -> Rejected:
        return Rejected(
            f"the key file {self.path} cannot be read: {error}",
            hint="it has to belong to the server's user, mode 600",
        )


def sealer(settings: ServerSettings) -> KeyFile:
    """Return the sealer that the settings ask for; no key is touched yet."""
    assert settings.secrets_key_file is not None
    if not settings.secrets_kms_key:
        return KeyFile(settings.secrets_key_file)
    from runyard.server.kms import AwsKms

    return KeyFile(settings.secrets_key_file, AwsKms(settings.secrets_kms_key))


def warm(keys: KeyFile) -> None:
    """Read the keys before the first request; a failure is logged, and met again on use."""
    try:
        keys.load()
    except RunyardError as error:
        log.error("secrets cannot be read", why=error.message, hint=error.hint)  # noqa: TRY400
