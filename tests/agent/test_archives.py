import asyncio
import gzip
import io
import os
import random
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.agent.archives import CodeCache, materialise, tree_key
from runyard.agent.unpacking import digest, unpack
from runyard.client.packing import pack, scan
from runyard.domain.errors import Rejected, RunyardError, TooMuch, Unavailable


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for each in members:
            tar.addfile(each, io.BytesIO(b"x" * each.size))
    return path


def contents(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): os.readlink(path)
        if path.is_symlink()
        else path.is_dir() or (path.read_bytes(), os.access(path, os.X_OK))
        for path in sorted(root.rglob("*"))
    }


def code(root: Path) -> Path:
    (root / "sub/empty").mkdir(parents=True)
    (root / "train.py").write_text("print(42)\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub/ünï cödé").write_bytes(bytes(range(256)) * 1000)
    (root / ("long" * 40)).write_text("a name that the old header has no room for")
    os.symlink("../train.py", root / "sub/link")
    os.symlink("nowhere", root / "dangling")
    return root


def test_what_was_packed_is_what_is_unpacked(tmp_path: Path) -> None:
    root = code(tmp_path / "code")
    packed = pack(scan(root), tmp_path / "a.tar.gz")
    assert digest(tmp_path / "a.tar.gz") == packed.digest
    unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(root)


HOSTILE = {
    "a path above": [member("../out")],
    "a path above, deep": [member("a/../../out")],
    "an absolute path": [member("/tmp/runyard-T11-out")],
    "a backslash": [member("..\\out")],
    "an empty part": [member("a//b")],
    "a directory above": [member("../out", tarfile.DIRTYPE)],
    "git's own directory": [member(".GIT/hooks/post-checkout")],
    "an absolute link": [member("l", tarfile.SYMTYPE, "/etc/passwd")],
    "a link above": [member("l", tarfile.SYMTYPE, "../out")],
    "a link to nothing": [member("l", tarfile.SYMTYPE, "")],
    "a link over a link above": [
        member("a/b/up", tarfile.SYMTYPE, "../.."),
        member("l", tarfile.SYMTYPE, "a/b/up/../.."),
    ],
    "a file through a link": [member("l", tarfile.SYMTYPE, "../out"), member("l/x", size=1)],
    "a file in place of a link": [member("l", tarfile.SYMTYPE, "x"), member("l", size=1)],
    "a hard link": [member("a", size=1), member("l", tarfile.LNKTYPE, "a")],
    "a hard link above": [member("l", tarfile.LNKTYPE, "../../etc/passwd")],
    "a device": [member("d", tarfile.CHRTYPE)],
    "a block device": [member("d", tarfile.BLKTYPE)],
    "a pipe": [member("p", tarfile.FIFOTYPE)],
    "an unknown kind": [member("u", b"Z")],
    "a file twice": [member("a", size=1), member("a", size=2)],
    "a file below a file": [member("a", size=1), member("a/b", size=1)],
    "a name too long for a disk": [member("n" * 300)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_T11_a_hostile_archive_is_refused_and_nothing_lies_outside(
    tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    into = tmp_path / "deep/into"
    with pytest.raises(Rejected):
        unpack(archive(tmp_path / "a.tar.gz", *members), into)
    assert not (tmp_path / "deep/out").exists()
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/runyard-T11-out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "deep"]


def test_T11_names_that_differ_in_case_never_write_into_each_other(tmp_path: Path) -> None:
    both = archive(tmp_path / "a.tar.gz", member("readme", size=1), member("README", size=2))
    try:
        unpack(both, tmp_path / "into")
    except Rejected:
        return  # a file system that takes them for one
    assert (tmp_path / "into/readme").stat().st_size == 1
    assert (tmp_path / "into/README").stat().st_size == 2


def bomb(path: Path, write: Callable[[gzip.GzipFile], object]) -> Path:
    with gzip.open(path, "wb") as file:
        write(file)
    return path


def test_T11_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    big = archive(tmp_path / "a.tar.gz", member("zeros", size=50_000_000))
    with pytest.raises(TooMuch, match="more than 1 MiB"):
        unpack(big, tmp_path / "one", max_bytes=1 << 20)
    assert sum(p.stat().st_size for p in (tmp_path / "one").iterdir()) <= (1 << 20) + (1 << 18)
    many = archive(tmp_path / "b.tar.gz", *[member(f"f{n}") for n in range(11)])
    with pytest.raises(TooMuch, match="more than 10 files"):
        unpack(many, tmp_path / "two", max_files=10)

    tail = bomb(
        tmp_path / "d.tar.gz",
        lambda f: f.write(gzip.decompress(many.read_bytes()) + bytes(20_000_000)),
    )
    with pytest.raises(TooMuch, match="more than 1 MiB"):
        unpack(tail, tmp_path / "four", max_bytes=1 << 20)

    header = member("x", tarfile.XHDTYPE, size=100_000_000)
    long_header = bomb(
        tmp_path / "c.tar.gz", lambda f: f.write(header.tobuf() + b"1" * header.size)
    )
    with pytest.raises(TooMuch, match="header"):
        unpack(long_header, tmp_path / "three")


@pytest.mark.parametrize("cut", [0, 1, 10, 40, 200, -9, -1])
def test_a_torn_archive_is_refused(tmp_path: Path, cut: int) -> None:
    whole = archive(tmp_path / "a.tar.gz", *[member(f"f{n}", size=5000) for n in range(20)])
    (tmp_path / "b.tar.gz").write_bytes(whole.read_bytes()[:cut])
    with pytest.raises(Rejected, match="not a whole"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "into")


def test_any_bytes_at_all_give_an_archive_or_one_of_our_errors(tmp_path: Path) -> None:
    root = code(tmp_path / "code")
    packed = io.BytesIO()
    pack(scan(root), packed)
    plain = gzip.decompress(packed.getvalue())
    dice = random.Random(7)
    for n in range(150):
        broken = bytearray(plain)
        for _ in range(dice.randint(1, 8)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        path = bomb(tmp_path / "a.tar.gz", lambda file, data=broken: file.write(data))
        into = tmp_path / f"deep/{n}"
        try:
            unpack(path, into, max_bytes=1 << 22)
        except RunyardError:
            continue
        assert all(
            not p.is_symlink() or not os.readlink(p).startswith("/") for p in into.rglob("*")
        )


class Downloads:
    def __init__(self, source: Path) -> None:
        self.source, self.count = source, 0

    async def __call__(self, path: Path) -> None:
        self.count += 1
        await asyncio.sleep(0)
        path.write_bytes(self.source.read_bytes())


@pytest.fixture
def packed(tmp_path: Path) -> tuple[str, Downloads]:
    done = pack(scan(code(tmp_path / "code")), tmp_path / "a.tar.gz")
    return done.digest, Downloads(tmp_path / "a.tar.gz")


def test_many_who_want_the_same_code_download_it_once(
    tmp_path: Path, packed: tuple[str, Downloads]
) -> None:
    name, downloads = packed
    cache = CodeCache(tmp_path / "cache")

    async def all_at_once() -> list[Path]:
        return await asyncio.gather(*(cache.get(name, downloads) for _ in range(20)))

    places = asyncio.run(all_at_once())
    assert {place.name for place in places} == {name.removeprefix("sha256:")}
    assert asyncio.run(CodeCache(tmp_path / "cache").get(name, downloads)) == places[0]
    assert downloads.count == 1
    assert contents(places[0]) == contents(tmp_path / "code")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [places[0].name]


def test_T11_other_bytes_than_asked_for_are_refused_and_leave_nothing(
    tmp_path: Path, packed: tuple[str, Downloads]
) -> None:
    cache = CodeCache(tmp_path / "cache")
    with pytest.raises(Rejected, match="has the digest"):
        asyncio.run(cache.get("sha256:" + "0" * 64, packed[1]))
    for name in ("sha256:../../x", "x", "sha256:" + "A" * 64, ""):
        with pytest.raises(Rejected, match="not a digest"):
            asyncio.run(cache.get(name, packed[1]))
    assert list((tmp_path / "cache").iterdir()) == []


def test_after_a_failed_or_cancelled_download_the_next_one_is_tried(
    tmp_path: Path, packed: tuple[str, Downloads]
) -> None:
    name, downloads = packed
    cache = CodeCache(tmp_path / "cache")

    async def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise Unavailable("the server went away")

    async def hang(path: Path) -> None:
        await asyncio.Event().wait()

    async def story() -> Path:
        with pytest.raises(Unavailable):
            await cache.get(name, fail)
        first = asyncio.create_task(cache.get(name, hang))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(cache.get(name, downloads))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert contents(asyncio.run(story())) == contents(tmp_path / "code")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_copy_is_the_attempts_own(tmp_path: Path) -> None:
    cached = code(tmp_path / "code")
    before = contents(cached)
    materialise(cached, tmp_path / "work/attempt")
    assert contents(tmp_path / "work/attempt") == before
    for path in (tmp_path / "work/attempt").rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_text("overwritten")
    assert contents(cached) == before


def test_pruning_removes_what_was_used_longest_ago_and_spares_what_is_in_use(
    tmp_path: Path,
) -> None:
    cache = CodeCache(tmp_path / "cache")

    async def fill(tree: Path) -> None:
        (tree / "file").write_bytes(b"x" * 1000)

    keys = [tree_key("remote", str(n)) for n in range(4)]
    places = [asyncio.run(cache.get_tree(key, fill)) for key in keys]
    now = datetime.now(UTC)
    for age, place in zip((50, 40, 30, 0), places, strict=True):
        then = (now - timedelta(minutes=age)).timestamp()
        os.utime(place, (then, then))
    asyncio.run(cache.get_tree(keys[0], fill))  # used again, so the youngest
    assert asyncio.run(cache.prune(3000, now=now)) == 1
    assert [place.exists() for place in places] == [True, False, True, True]
    assert asyncio.run(cache.prune(0, now=now)) == 1
    assert [place.exists() for place in places] == [True, False, False, True]


def test_keys_of_trees_do_not_run_into_each_other() -> None:
    assert tree_key("ab", "c") != tree_key("a", "bc")
    assert tree_key("a", b"") != tree_key("a")
