"""
Objects in Google Cloud Storage. The only place that knows its library.

Links are V4-signed with the key of a service account, so nothing is asked to make one. A large
object comes as objects of its parts, which are then composed; the service keeps no MD5 of what
was composed, so `verify` reads it.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from runyard.domain.errors import Invalid, NotFound, Rejected, TooMuch, Unavailable
from runyard.store.objects.base import Link, Stat
from runyard.store.objects.content import PIECE, attachment, content_md5, spooled, verified

_PATIENCE: Final = 20  # seconds for an answer
_MOST_COMPOSED: Final = 32  # objects at once; the service's limit
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class GcsStore:
    """An `ObjectStore` in a bucket; `endpoint` is the address of a service that is not Google's."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str = "") -> None:
        """Raises: Invalid: the library is not installed."""
        try:
            from google.cloud import storage  # noqa: F401
        except ImportError as error:
            raise Invalid(
                "files_url gs:// needs google-cloud-storage", hint="pip install 'runyard[gcs]'"
            ) from error
        self._name, self._endpoint = bucket, endpoint.rstrip("/")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._made: Any = None
        self._lock = threading.Lock()

    def stat(self, key: str) -> Stat | None:
        with _understood():
            blob = self._bucket.get_blob(self._prefix + key, timeout=_PATIENCE)
        if blob is None:
            return None
        md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
        return Stat(int(blob.size), md5, blob.updated)

    def read(self, key: str, *, at_most: int) -> bytes:
        found = bytearray()
        for piece in self.stream(key):
            found += piece
            if len(found) > at_most:
                raise TooMuch(f"the file is larger than {at_most} bytes")
        return bytes(found)

    def stream(self, key: str) -> Iterator[bytes]:
        with _understood():
            # One generation from the first byte to the last, whatever is written meanwhile.
            blob = self._bucket.get_blob(self._prefix + key, timeout=_PATIENCE)
            if blob is None:
                raise NotFound("there is no such file; it was never uploaded, or is deleted")
            with blob.open("rb", chunk_size=8 * PIECE, timeout=_PATIENCE) as file:
                while piece := file.read(PIECE):
                    yield piece

    def write(self, key: str, pieces: Iterator[bytes]) -> Stat:
        with spooled(pieces) as (spool, size), _understood():
            self._blob(key).upload_from_file(spool, size=size, timeout=_PATIENCE)
        stat = self.stat(key)
        if stat is None:
            raise Unavailable("Google Cloud Storage does not find what it has just taken")
        return stat

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                with _understood():
                    self._blob(key).delete(timeout=_PATIENCE)
            except NotFound:
                continue

    def clear(self, prefix: str) -> None:
        with _understood():
            found = self._client.list_blobs(
                self._name, prefix=f"{self._prefix}{prefix}/", timeout=_PATIENCE
            )
            names = [blob.name.removeprefix(self._prefix) for blob in found]
        self.delete(names)

    def verify(self, key: str, md5: str) -> int | None:
        return verified(self, key, md5)

    def put_link(
        self,
        key: str,
        *,
        name: str,  # noqa: ARG002
        md5: str | None,
        seconds: int,
        base: str,  # noqa: ARG002
    ) -> Link:
        if md5 is None:
            return Link(self._signed(key, seconds, method="PUT"))
        encoded = content_md5(md5)
        url = self._signed(key, seconds, method="PUT", content_md5=encoded)
        return Link(url, {"Content-MD5": encoded})

    def get_link(self, key: str, *, name: str, seconds: int, base: str) -> str:  # noqa: ARG002
        how, kind = attachment(name)
        return self._signed(
            key, seconds, method="GET", response_disposition=how, response_type=kind
        )

    def begin_parts(self, key: str) -> str:  # noqa: ARG002
        return secrets.token_hex(16)

    def part_link(
        self, key: str, upload: str, n: int, *, md5: str, seconds: int, base: str
    ) -> Link:
        part = _part(upload, n)
        return self.put_link(part, name=key, md5=md5, seconds=seconds, base=base)

    def finish_parts(self, key: str, upload: str, etags: Sequence[tuple[int, str]]) -> None:
        parts = [(_part(upload, n), etag.strip('"')) for n, etag in sorted(etags)]
        stats = [self.stat(part) for part, _ in parts]
        if not any(stats) and self.stat(key) is not None:
            return  # somebody asks again who did not hear the answer
        wrong = [
            part
            for (part, md5), stat in zip(parts, stats, strict=True)
            if stat is None or stat.md5 != md5
        ]
        if wrong or not parts:
            raise Invalid(f"the upload lacks {len(wrong) or 'its'} parts, or has others")
        self._compose(key, upload, [part for part, _ in parts])
        self.drop_parts(key, upload)

    def drop_parts(self, key: str, upload: str) -> None:  # noqa: ARG002
        self.clear(f"parts/{upload}")

    def _compose(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Make one object of many, level by level: a few are composed of at most 32 each."""
        level = 0
        while len(parts) > _MOST_COMPOSED:
            level, groups = level + 1, range(0, len(parts), _MOST_COMPOSED)
            made = [f"parts/{upload}/level-{level}-{at:06d}" for at in groups]
            for at, name in zip(groups, made, strict=True):
                self._compose_some(name, parts[at : at + _MOST_COMPOSED])
            parts = made
        self._compose_some(key, parts)

    def _compose_some(self, key: str, parts: Sequence[str]) -> None:
        with _understood():
            self._blob(key).compose([self._blob(part) for part in parts], timeout=10 * _PATIENCE)

    def _signed(self, key: str, seconds: int, **more: Any) -> str:
        where = {"api_access_endpoint": self._endpoint} if self._endpoint else {}
        with _understood():
            try:
                url = self._blob(key).generate_signed_url(
                    version="v4", expiration=timedelta(seconds=seconds), **more, **where
                )
            except AttributeError as error:  # so the library says that these cannot sign
                raise Rejected(
                    "the server's credentials for Google Cloud Storage cannot sign links",
                    hint="GOOGLE_APPLICATION_CREDENTIALS=FILE, with the key of a service account",
                ) from error
        return str(url)

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._prefix + key)

    @property
    def _bucket(self) -> Any:
        return self._client.bucket(self._name)

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _client(self._endpoint)
            return self._made


def _part(upload: str, n: int) -> str:
    return f"parts/{upload}/{n:05d}"


def _client(endpoint: str) -> Any:
    from google.cloud import storage

    options = {"api_endpoint": endpoint} if endpoint else None
    with _understood():
        return storage.Client(client_options=options)


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what Google's libraries raise into our errors."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.cloud.exceptions import NotFound as Missing
    from requests.exceptions import RequestException

    try:
        yield
    except Missing as error:
        raise NotFound("there is no such file; it was never uploaded, or is deleted") from error
    except DefaultCredentialsError as error:
        raise Rejected(
            "the server has no credentials for Google Cloud Storage",
            hint="GOOGLE_APPLICATION_CREDENTIALS=FILE, with the key of a service account",
        ) from error
    except GoogleAPICallError as error:
        if error.code in _PASSING:
            raise Unavailable(f"Google Cloud Storage: {error.code}") from error
        raise Rejected(
            f"Google Cloud Storage refuses the server: {error.code}",
            hint="an operator should look at files_url and the service account",
        ) from error
    except (GoogleAuthError, RetryError, RequestException) as error:
        raise Unavailable(
            f"Google Cloud Storage could not be asked: {type(error).__name__}"
        ) from error
