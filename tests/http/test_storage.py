"""Links into our own store: what they grant, and all that they do not."""

from __future__ import annotations

import base64
import hashlib
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage, open_store
from runyard.store.db import Database
from runyard.store.objects.base import Link, blob_key
from tests.http.conftest import Clock, World

BASE = "http://localhost"
BODY = b"hello, artifact"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Yard:
    """Links of a running server, and requests without any key."""

    def __init__(self, world: World) -> None:
        self.world, self.storage = world, world.server.storage
        self.root = Path(str(world.server.settings.files_dir)) / "objects"

    def __call__(self, method: str, url: str | Link, **more: Any) -> Any:
        url = url.url if isinstance(url, Link) else url
        return self.world.http.request(method, url.removeprefix(BASE), **more)

    def put(self, data: bytes = BODY, of: bytes = BODY) -> Any:
        return self("PUT", self.storage.put_blob("e1", md5(of), base=BASE), content=data)

    def get(self, name: str = "a.txt", of: bytes = BODY) -> str:
        return self.storage.get_blob("e1", md5(of), name=name, base=BASE)

    def files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if path.is_file()]


@pytest.fixture
def yard(world: World) -> Yard:
    return Yard(world)


def test_what_was_put_is_got_and_needs_no_key(yard: Yard) -> None:
    answer = yard.put()
    assert (answer.status_code, answer.headers["etag"]) == (200, f'"{md5(BODY)}"')
    got = yard("GET", yard.get())
    assert (got.status_code, got.content) == (200, BODY)
    assert got.headers["content-type"].startswith("text/plain")
    head = yard("HEAD", yard.get())
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(BODY))
    assert yard("GET", yard.get(of=b"never")).status_code == 404


def test_other_content_than_announced_is_refused_and_leaves_nothing(yard: Yard) -> None:
    answer = yard.put(b"something else")
    assert answer.status_code == 422
    assert md5(b"something else") in answer.json()["detail"]
    assert yard.files() == []
    assert yard.put().status_code == 200
    assert yard.put(b"tampered").status_code == 422
    assert yard("GET", yard.get()).content == BODY


NAMES = [
    "a b.txt", "50%.txt", "%2e%2e", "ünï ☃.txt", "a?b#c&d=e.txt", "HT%3ML.html", "a;b,c.txt",
    "q\"u'o.txt",
    "back\\slash", "+plus", "日本.txt", "..", "", "dir/sub dir/x.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_survives_its_link(live: World, name: str) -> None:
    """On a port: what is quoted is unquoted by the real server."""
    yard, base = Yard(live), str(live.http.base_url).rstrip("/")
    yard.put()
    url = yard.storage.get_blob("e1", md5(BODY), name=name, base=base)
    assert url.isascii()
    assert " " not in url
    got = live.http.get(url)
    assert (got.status_code, got.content) == (200, BODY), got.text
    shown = name.rsplit("/", 1)[-1]
    shown = "file" if shown in ("", "..") else shown
    disposition = got.headers["content-disposition"]
    assert disposition == f"attachment; filename*=UTF-8''{quote(shown, safe='')}"


def test_T11_a_link_is_good_for_one_thing(yard: Yard) -> None:
    """Whatever is changed of it, by its holder or by somebody else, makes it none."""
    yard.put()
    put, get = yard.storage.put_blob("e1", md5(BODY), base=BASE).url, yard.get()
    assert yard("PUT", get, content=BODY).status_code == 403
    assert yard("GET", put).status_code == 403
    assert yard("HEAD", put).status_code == 403
    token = urlsplit(get).path.split("/")[2]
    assert yard("GET", get.replace("/a.txt", "/a.html")).status_code == 403
    for at, other in itertools.product((0, 5, len(token) // 2, len(token) - 3), "aZ0"):
        forged = token[:at] + other + token[at + 1 :]
        if forged != token:
            assert yard("GET", f"/storage/{forged}/a.txt").status_code == 403, at
    for nonsense in ("x", "", "é", token * 20, token[:20], "%00", "=" * 8):
        assert yard("GET", f"/storage/{nonsense}/a.txt").status_code in (401, 403), nonsense
    assert yard("GET", get).status_code == 200


def test_T11_no_part_of_a_name_can_be_taken_for_part_of_the_grant(yard: Yard) -> None:
    url = yard.storage.get_blob("e1", md5(BODY), name="a\0b", base=BASE)
    token = urlsplit(url).path.split("/")[2]
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    grant, mac = raw[:-32], raw[-32:]
    for changed, name in ((grant + b"\0a", "b"), (grant[:-1], grant[-1:].decode() + "\0a\0b")):
        forged = base64.urlsafe_b64encode(changed + mac).rstrip(b"=").decode()
        assert yard("GET", f"/storage/{forged}/{quote(name)}").status_code == 403


def test_T11_links_of_another_database_are_none(yard: Yard) -> None:
    yard.put()
    store = yard.world.server.storage.store
    theirs = type(store)(yard.root, type(store.signer)(yard.world.clock))  # type: ignore
    theirs.signer.unlock("another key")
    url = theirs.get_link(blob_key("e1", md5(BODY)), name="a", seconds=60, base=BASE)
    assert yard("GET", url).status_code == 403


def test_a_link_expires(yard: Yard) -> None:
    yard.put()
    put, get = yard.storage.put_blob("e1", md5(BODY), base=BASE), yard.get()
    seconds = yard.world.server.settings.link_seconds
    yard.world.clock.ahead = timedelta(seconds=seconds - 5)
    assert yard("GET", get).status_code == 200
    yard.world.clock.ahead = timedelta(seconds=seconds + 1)
    for answer in (yard("GET", get), yard("PUT", put, content=BODY)):
        assert answer.status_code == 403
        assert "expired" in answer.json()["detail"]


def test_servers_of_one_database_honour_each_others_links(yard: Yard) -> None:
    yard.put()
    settings = yard.world.server.settings
    other = Storage(open_store(settings, yard.world.clock), settings)
    yard.world.http.portal.call(other.unlock, yard.world.server.edge)
    assert yard("GET", other.get_blob("e1", md5(BODY), name="x", base=BASE)).content == BODY


RANGES = {
    "bytes=0-4": (206, BODY[:5], "bytes 0-4/15"),
    "bytes=5-": (206, BODY[5:], "bytes 5-14/15"),
    "bytes=-3": (206, BODY[-3:], "bytes 12-14/15"),
    "bytes=-99": (206, BODY, "bytes 0-14/15"),
    "bytes=3-999": (206, BODY[3:], "bytes 3-14/15"),
    "bytes=0-0": (206, BODY[:1], "bytes 0-0/15"),
    "bytes=15-": (416, b"", "bytes */15"),
    "bytes=9-5": (200, BODY, None),
    "bytes=0-1,4-5": (200, BODY, None),
    "bytes=-": (200, BODY, None),
    "lines=1-2": (200, BODY, None),
}


def test_a_part_of_a_file_is_given(yard: Yard) -> None:
    yard.put()
    for wanted, (status, content, told) in RANGES.items():
        got = yard("GET", yard.get(), headers={"Range": wanted})
        assert (got.status_code, got.content) == (status, content), wanted
        assert got.headers.get("content-range") == told, wanted
    assert yard("HEAD", yard.get()).headers["accept-ranges"] == "bytes"


def test_a_large_file_goes_through_in_pieces_and_ends_where_asked(yard: Yard) -> None:
    data = bytes(range(256)) * 20_000  # five pieces
    assert yard.put(data, data).status_code == 200
    assert yard("GET", yard.get(of=data)).content == data
    middle = yard("GET", yard.get(of=data), headers={"Range": "bytes=1000-3000000"})
    assert middle.content == data[1000:3000001]


def test_T25_what_people_upload_never_runs_as_a_page_of_ours(yard: Yard) -> None:
    page = b"<script>alert(1)</script>"
    yard.put(page, page)
    for name in ("x.html", "x.svg", "x.xhtml", 'x";filename=y.html'):
        got = yard("GET", yard.get(name, page))
        assert got.headers["content-disposition"].startswith("attachment; filename*=UTF-8''x")
        assert '"' not in got.headers["content-disposition"]
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in got.headers["content-security-policy"]


def test_any_site_may_read_what_a_link_opens_and_nothing_else(yard: Yard) -> None:
    yard.put()
    origin = {"Origin": "https://elsewhere.example"}
    asked = yard("OPTIONS", yard.get(), headers=origin)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert "Range" in asked.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in asked.headers
    for url, status in ((yard.get(), 200), ("/storage/x/y", 403)):
        got = yard("GET", url, headers=origin)
        assert got.status_code == status
        assert got.headers["access-control-allow-origin"] == "*"
    assert yard("PUT", yard.get(), headers=origin).status_code == 403  # T4
    other = yard.world.admin("GET", "/me", headers=origin)
    assert not [name for name in other.headers if name.startswith("access-control")]


def test_T14_the_log_names_no_link_even_where_we_fail(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    yard.put()
    url = yard.get()
    monkeypatch.setattr(yard.storage.store, "open", fail)
    with capture_logs() as logged:
        assert yard("GET", url).status_code == 500
    assert any("unexpectedly" in each["event"] for each in logged)
    assert not [each for each in logged if url.split("/")[4] in str(each)]


def test_a_file_that_is_too_large_is_refused_as_it_comes(
    database: Database, settings: ServerSettings, clock: Clock
) -> None:
    strict = settings.model_copy(update={"max_file_bytes": 10})
    server = create_app(strict, database=database, clock=clock, say=lambda _: None)
    with TestClient(server, base_url=BASE) as http:
        yard = Yard(World(server, http, clock))
        url = yard.storage.put_blob("e1", md5(BODY), base=BASE)
        assert yard("PUT", url, content=BODY).status_code == 413
        assert yard("PUT", url, content=iter([BODY[:8], BODY[8:]])).status_code == 413
        assert yard.files() == []


def test_a_file_in_parts_is_one_file(yard: Yard) -> None:
    store, parts = yard.storage.store, [b"a" * 1000, b"b" * 1000, b"c"]
    whole = b"".join(parts)
    key = blob_key("e1", md5(whole))
    upload = store.begin_parts(key)
    etags = []
    for n, data in enumerate(parts, 1):
        link = store.part_link(key, upload, n, md5=md5(data), seconds=60, base=BASE)
        assert yard("PUT", link, content=b"x").status_code == 422
        assert yard("GET", link).status_code == 403
        answer = yard("PUT", link, content=data)
        etags.append((n, answer.headers["etag"]))
    store.finish_parts(key, upload, etags)
    assert yard("GET", yard.get(of=whole)).content == whole
    assert yard("PUT", link, content=parts[-1]).status_code == 404  # it is over
    assert yard.files() == [store.path(key)]  # type: ignore[attr-defined]
