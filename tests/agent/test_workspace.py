import stat
from pathlib import Path

import pytest

from runyard.agent.workspace import Note, Workspaces

pytestmark = pytest.mark.anyio


async def test_files_that_are_there_are_never_fetched_again(tmp_path: Path) -> None:
    spaces, fetched = Workspaces(tmp_path), []

    async def fetch(into: Path) -> None:
        fetched.append(into)
        (into / "a.py").write_text("1")

    first = await spaces.fill("k", fetch)
    (first / "a.py").write_text("changed by the job")
    assert await Workspaces(tmp_path).fill("k", fetch) == first
    assert ((first / "a.py").read_text(), len(fetched)) == ("changed by the job", 1)


async def test_half_of_a_fetch_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path)

    async def fail(into: Path) -> None:
        (into / "half").write_text("")
        raise OSError("disk full")

    async def fetch(into: Path) -> None:
        assert not list(into.iterdir())

    with pytest.raises(OSError, match="disk full"):
        await spaces.fill("k", fail)
    assert not list((await spaces.fill("k", fetch)).iterdir())


async def test_two_processes_that_fetch_the_same_attempt_do_not_mix(tmp_path: Path) -> None:
    async def fetch(into: Path) -> None:
        (into / "a").write_text("mine")

    async def fetch_slowly(into: Path) -> None:
        (await Workspaces(tmp_path).fill("k", fetch)).joinpath("b").write_text("in use")
        (into / "a").write_text("late")

    files = await Workspaces(tmp_path).fill("k", fetch_slowly)
    assert {f.name: f.read_text() for f in files.iterdir()} == {"a": "mine", "b": "in use"}


async def test_T14_a_note_is_for_the_owners_eyes(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path)
    assert spaces.read_note("k") == Note()
    spaces.write_note("k", Note(secrets=["s"], gpus=["0"]))
    assert spaces.read_note("k") == Note(secrets=["s"], gpus=["0"])
    assert stat.S_IMODE((tmp_path / "k" / "note").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o700


async def test_sweeping_spares_what_is_kept(tmp_path: Path) -> None:
    spaces = Workspaces(tmp_path)
    assert await spaces.sweep(()) == []
    for key in ("a", "b"):
        spaces.write_note(key, Note())
    assert await spaces.sweep({"b"}) == ["a"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
    await spaces.remove("b")
    await spaces.remove("b")
