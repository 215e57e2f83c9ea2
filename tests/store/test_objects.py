"""What every store of objects must do: our directory, S3 (moto's), Google's (a double)."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from runyard.cli.children import free_port
from runyard.domain.errors import Invalid, NotFound, Rejected, RunyardError, TooMuch, Unavailable
from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.server.storage import open_store
from runyard.store.db import Database
from runyard.store.objects.base import Link, ObjectStore, blob_key, run_file_key
from tests import amazon
from tests.http.conftest import on_a_port
from tests.store import google as double_of_google

BODY = b"hello, object"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def key_of(data: bytes) -> str:
    return blob_key("e1", md5(data))


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Any


@dataclass
class Place:
    """A store, the address that its links are made for, and how to break it."""

    store: ObjectStore
    base: str = ""
    least_part: int = 1  # bytes of each part but the last
    checks_md5: bool = True  # moto takes what S3 refuses with BadDigest
    break_it: Callable[[], None] = field(default=lambda: None)

    def put(self, data: bytes, of: bytes = BODY, **headers: str) -> Answer:
        link = self.store.put_link(
            key_of(of), name="a.txt", md5=md5(of), seconds=60, base=self.base
        )
        return send("PUT", link, data, **headers)

    def get(self, of: bytes = BODY, name: str = "a.txt", **headers: str) -> Answer:
        url = self.store.get_link(key_of(of), name=name, seconds=60, base=self.base)
        return send("GET", Link(url), **headers)


def send(method: str, link: Link, data: bytes | None = None, **headers: str) -> Answer:
    told = {**link.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
    if data is not None:
        told.setdefault("Content-Type", "")  # as the tracking client does: none
    request = urllib.request.Request(link.url, data=data, method=method, headers=told)
    try:
        with closing(urllib.request.urlopen(request, timeout=30)) as answer:
            return Answer(answer.status, answer.read(), answer.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(), error.headers)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with amazon.serving() as url:
        yield url


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    import boto3

    amazon.give_account(monkeypatch, tmp_path)
    client = boto3.client("s3", endpoint_url=moto, region_name="us-east-1")
    bucket = f"b{time.monotonic_ns()}"
    client.create_bucket(Bucket=bucket)
    settings = ServerSettings(
        home=tmp_path, files_url=f"s3://{bucket}/some/prefix", files_endpoint=moto
    )

    def break_it() -> None:
        client.delete_bucket(Bucket=bucket)

    return Place(open_store(settings), least_part=5 << 20, checks_md5=False, break_it=break_it)


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    from google.auth import credentials

    # It would ask Google itself, in the background, where the account may be used.
    boundary = getattr(credentials, "CredentialsWithRegionalAccessBoundary", None)
    if boundary is not None:
        monkeypatch.setattr(
            boundary, "_maybe_start_regional_access_boundary_refresh", lambda *_: None
        )
    with double_of_google.serving() as double:
        double.write_account(tmp_path / "account.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        settings = ServerSettings(
            home=tmp_path, files_url="gs://bucket/some/prefix", files_endpoint=double.url
        )

        def break_it() -> None:
            double.broken = 403

        yield Place(open_store(settings), break_it=break_it)


@pytest.fixture
def local(tmp_path: Path, sqlite_template: Path) -> Iterator[Place]:
    path = tmp_path / "runyard.db"
    path.write_bytes(sqlite_template.read_bytes())
    settings = ServerSettings(home=tmp_path / "home")
    server = create_app(settings, database=Database(f"sqlite:///{path}"), say=lambda _: None)
    with on_a_port(server, settings) as url:
        yield Place(server.storage.store, url)


@pytest.fixture(params=["local", "s3", "gcs"])
def place(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_what_is_put_by_a_link_is_there_and_got_by_a_link(place: Place) -> None:
    assert place.store.stat(key_of(BODY)) is None
    assert place.store.verify(key_of(BODY), md5(BODY)) is None
    assert place.put(BODY).status == 200
    stat = place.store.stat(key_of(BODY))
    assert stat is not None
    assert (stat.size, stat.md5) == (len(BODY), md5(BODY))
    assert abs(stat.modified_at.timestamp() - time.time()) < 60
    assert place.store.verify(key_of(BODY), md5(BODY)) == len(BODY)
    got = place.get()
    assert (got.status, got.body) == (200, BODY)


def test_other_content_than_was_announced_never_becomes_an_object(place: Place) -> None:
    status = place.put(b"something else").status
    if place.checks_md5:
        assert 400 <= status < 500
        assert place.store.stat(key_of(BODY)) is None
    else:
        with pytest.raises(Invalid):
            place.store.verify(key_of(BODY), md5(BODY))
    assert place.store.stat(key_of(BODY)) is None


def test_an_outside_store_is_told_the_md5_under_the_signature(s3: Place, gcs: Place) -> None:
    for place in (s3, gcs):
        link = place.store.put_link(
            key_of(BODY), name="a", md5=md5(BODY), seconds=60, base=place.base
        )
        encoded = base64.b64encode(hashlib.md5(BODY).digest()).decode()
        assert link.headers == {"Content-MD5": encoded}
        assert "SignedHeaders=content-md5%3Bhost" in link.url


def test_content_that_came_all_the_same_is_found_and_removed(s3: Place, gcs: Place) -> None:
    """A store may be written to by others; ours takes nothing else under such a name."""
    for place in (s3, gcs):
        place.store.write(key_of(BODY), iter([b"something else"]))
        with pytest.raises(Invalid, match=md5(BODY)):
            place.store.verify(key_of(BODY), md5(BODY))
        assert place.store.stat(key_of(BODY)) is None


@pytest.mark.parametrize("name", ["a b.txt", "50%2f.txt", "dir/ünï ☃.html", 'q"x;y.txt', "+&=#?.x"])
def test_a_file_is_saved_under_its_name(place: Place, name: str) -> None:
    place.put(BODY)
    got = place.get(name=name)
    assert got.body == BODY
    shown = quote(name.rsplit("/", 1)[-1], safe="")
    assert got.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{shown}"


def test_a_part_of_an_object_is_given(place: Place) -> None:
    place.put(BODY)
    got = place.get(Range="bytes=2-5")
    assert (got.status, got.body) == (206, BODY[2:6])


def test_a_link_that_was_tampered_with_opens_nothing(local: Place, gcs: Place) -> None:
    """Not on moto, which checks no signature of a link."""
    for place in (local, gcs):
        place.put(BODY)
        place.put(b"other", b"other")
        url = place.store.get_link(key_of(BODY), name="a", seconds=60, base=place.base)
        host, path = url[: url.index("/", 8)], url[url.index("/", 8) :]
        for forged in (path.replace("/a", "/b"), path[:-9] + "0000000/a", path.replace("60", "99")):
            if forged != path:
                assert send("GET", Link(host + forged)).status in (403, 404), forged
        assert send("PUT", Link(url), b"mine").status == 403
        assert place.get().body == BODY


def test_an_object_is_read_whole_if_it_is_small_enough_and_in_pieces(place: Place) -> None:
    data = os.urandom(3 << 20)
    stat = place.store.write(key_of(data), iter([data[: 2 << 20], data[2 << 20 :]]))
    assert (stat.size, place.store.verify(key_of(data), md5(data))) == (len(data), len(data))
    assert place.store.read(key_of(data), at_most=len(data)) == data
    with pytest.raises(TooMuch):
        place.store.read(key_of(data), at_most=len(data) - 1)
    pieces = list(place.store.stream(key_of(data)))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1 << 20
    for ask in (lambda: place.store.read("blobs/e1/" + "0" * 32, at_most=9),
                lambda: list(place.store.stream("blobs/e1/" + "0" * 32))):  # fmt: skip
        with pytest.raises(NotFound):
            ask()


def test_a_write_that_breaks_off_leaves_what_was(place: Place) -> None:
    key = run_file_key("r1", "x")
    place.store.write(key, iter([b"first"]))

    def broken() -> Iterator[bytes]:
        yield b"second"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.store.write(key, broken())
    assert place.store.read(key, at_most=99) == b"first"
    place.store.write(key, iter([b"third"]))
    assert place.store.read(key, at_most=99) == b"third"


def test_objects_are_deleted_and_again_is_no_error(place: Place) -> None:
    kept, gone = run_file_key("r1", "kept"), run_file_key("r1", "gone")
    for key in (kept, gone):
        place.store.write(key, iter([b"x"]))
    for _ in range(2):
        place.store.delete([gone])
    assert place.store.stat(gone) is None
    assert place.store.stat(kept) is not None
    place.store.delete([])


def test_all_of_a_run_is_removed_and_nothing_of_another(place: Place) -> None:
    for run in ("r1", "r11"):
        for name in ("a", "b"):
            place.store.write(run_file_key(run, name), iter([b"x"]))
    for _ in range(2):
        place.store.clear("runs/r1")
    assert [place.store.stat(run_file_key("r1", name)) for name in "ab"] == [None, None]
    assert all(place.store.stat(run_file_key("r11", name)) for name in "ab")


def in_parts(place: Place, sizes: int = 3) -> tuple[list[bytes], str]:
    least = place.least_part
    parts = [bytes([n]) * least for n in range(1, sizes)] + [b"the end"]
    return parts, key_of(b"".join(parts))


def test_an_object_comes_in_parts(place: Place) -> None:
    parts, key = in_parts(place)
    whole = b"".join(parts)
    upload = place.store.begin_parts(key)
    etags = []
    for n, data in reversed(list(enumerate(parts, 1))):
        link = place.store.part_link(key, upload, n, md5=md5(data), seconds=60, base=place.base)
        if place.checks_md5:
            assert 400 <= send("PUT", link, b"something else").status < 500
        answer = send("PUT", link, data)
        assert answer.status == 200, answer.body
        etags.append((n, answer.headers["ETag"]))
    for _ in range(2):  # who did not hear the answer asks again
        place.store.finish_parts(key, upload, etags)
    assert place.store.verify(key, md5(whole)) == len(whole)
    assert b"".join(place.store.stream(key)) == whole


def test_parts_that_are_missing_or_others_make_no_object(place: Place) -> None:
    parts, key = in_parts(place)
    upload = place.store.begin_parts(key)
    link = place.store.part_link(key, upload, 1, md5=md5(parts[0]), seconds=60, base=place.base)
    etag = send("PUT", link, parts[0]).headers["ETag"]
    for etags in ([(1, etag), (2, f'"{md5(b"x")}"')], [(1, f'"{md5(b"y")}"')], []):
        with pytest.raises((Invalid, Rejected)):
            place.store.finish_parts(key, upload, etags)
    assert place.store.stat(key) is None


def test_an_upload_in_parts_is_given_up(place: Place) -> None:
    parts, key = in_parts(place)
    upload = place.store.begin_parts(key)
    link = place.store.part_link(key, upload, 1, md5=md5(parts[0]), seconds=60, base=place.base)
    etag = send("PUT", link, parts[0]).headers["ETag"]
    for _ in range(2):
        place.store.drop_parts(key, upload)
    with pytest.raises(RunyardError):
        place.store.finish_parts(key, upload, [(1, etag)])
    assert place.store.stat(key) is None


def test_more_parts_than_google_composes_at_once(gcs: Place) -> None:
    parts, key = [f"{n}.".encode() for n in range(70)], ""
    whole = b"".join(parts)
    key = key_of(whole)
    upload, etags = gcs.store.begin_parts(key), []
    for n, data in enumerate(parts, 1):
        link = gcs.store.part_link(key, upload, n, md5=md5(data), seconds=60, base="")
        etags.append((n, send("PUT", link, data).headers["ETag"]))
    gcs.store.finish_parts(key, upload, etags)
    assert gcs.store.verify(key, md5(whole)) == len(whole)
    gcs.store.clear("blobs/e1")
    assert gcs.store.stat(key) is None


def test_a_store_that_refuses_us_is_told_from_one_that_has_nothing(s3: Place, gcs: Place) -> None:
    for place in (s3, gcs):
        place.break_it()
        with pytest.raises(Rejected, match="refuses"):
            place.store.write(key_of(BODY), iter([BODY]))


def test_a_store_that_cannot_be_asked_is_not_one_that_has_nothing(
    s3: Place, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    settings = ServerSettings(home=tmp_path, files_url="s3://b", files_endpoint=nowhere)
    with pytest.raises(Unavailable):
        open_store(settings).stat(key_of(BODY))


@pytest.mark.parametrize(("url", "extra"), [("s3://b", "aws"), ("gs://b", "gcs")])
def test_a_missing_extra_is_named(
    url: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(Invalid) as caught:
        open_store(ServerSettings(home=tmp_path, files_url=url))
    assert caught.value.hint == f"pip install 'runyard[{extra}]'"


@pytest.mark.parametrize("url", ["b", "file:///x", "s3://", "s3://u:p@b", "s3://b?x=y", "s3:b"])
def test_an_address_that_is_no_stores_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="files_url"):
        open_store(ServerSettings(home=tmp_path, files_url=url))


@pytest.mark.parametrize(
    "key", ["", "x", "blobs/e1/../../etc", "runs/../x", "blobs/e1/x", "/etc/passwd",
            "blobs//" + "0" * 32],
)  # fmt: skip
def test_T11_a_key_that_is_none_leads_nowhere(local: Place, key: str) -> None:
    with pytest.raises(Invalid):
        local.store.stat(key)
    with pytest.raises(Invalid):
        local.store.clear(key)
