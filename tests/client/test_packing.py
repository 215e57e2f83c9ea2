import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from runyard.client.packing import pack, scan
from runyard.client.runtimes import dependency_file, python_version, reader
from runyard.domain.errors import Conflict, Invalid, TooMuch


def write(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def paths(root: Path) -> list[str]:
    return [entry.path for entry in scan(root).entries]


def archive(root: Path) -> tuple[str, bytes]:
    out = io.BytesIO()
    return pack(scan(root), out).digest, out.getvalue()


def test_the_same_content_gives_the_same_bytes_whatever_the_times_owners_and_order(
    tmp_path: Path,
) -> None:
    names = [f"d{n % 3}/f{n}" for n in range(20)]
    for copy in ("one", "two"):
        random.shuffle(names)
        write(tmp_path / copy, *names)
        (tmp_path / copy / "empty").mkdir()
        os.symlink("d0", tmp_path / copy / "link")
    os.utime(tmp_path / "two/d0/f0", (1, 1))
    (tmp_path / "two/d0/f0").chmod(0o600)
    digest, data = archive(tmp_path / "one")
    assert (digest, data) == archive(tmp_path / "two")
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert data[4:8] == bytes(4)  # the time in the header of gzip
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname) for m in members} == {(0, 0, 0, "")}
    assert "empty" in [m.name for m in members if m.isdir()]


@pytest.mark.parametrize("change", ["text", "name", "mode"])
def test_another_content_gives_another_digest(tmp_path: Path, change: str) -> None:
    write(tmp_path, "a", "b")
    before, _ = archive(tmp_path)
    if change == "text":
        write(tmp_path, "a", text="y")
    elif change == "name":
        (tmp_path / "a").rename(tmp_path / "c")
    else:
        (tmp_path / "a").chmod(0o755)
    assert archive(tmp_path)[0] != before


def test_git_environments_caches_and_wandb_never_belong_to_a_job(tmp_path: Path) -> None:
    write(
        tmp_path, "a.py", ".git/config", "sub/.git", "sub/.GIT/config", ".venv/x", "sub/.venv/x",
        "wandb/run", "__pycache__/a.pyc", "sub/__pycache__/a.pyc", ".runyard/x",
        "conf/wandb/base.yaml",
    )  # fmt: skip
    assert paths(tmp_path) == ["a.py", "conf/wandb/base.yaml", "sub"]


def test_ignore_files_hold_at_every_level_and_runyardignore_wins(tmp_path: Path) -> None:
    write(tmp_path, ".gitignore", text="*.bin\n/data\nlogs/\n")
    write(tmp_path, ".runyardignore", text="!model.bin\nnotes.md\n")
    write(tmp_path, "sub/.gitignore", text="!keep.bin\n/local\n")
    write(
        tmp_path, "model.bin", "other.bin", "data/x", "sub/data/x", "logs/x", "sub/logs/x",
        "notes.md", "sub/notes.md", "sub/keep.bin", "sub/model.bin", "sub/local", "sub/deep/local",
    )  # fmt: skip
    assert paths(tmp_path) == [
        ".gitignore", ".runyardignore", "model.bin", "sub/.gitignore", "sub/data/x",
        "sub/deep/local", "sub/keep.bin", "sub/model.bin",
    ]  # fmt: skip


def test_T11_a_link_stays_if_it_leads_within_and_is_refused_if_it_leads_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "a", "deep/er/b")
    os.symlink("../../a", root / "deep/er/link")
    os.symlink("deep", root / "dir")
    assert {e.path for e in scan(root).entries if e.kind == "link"} == {"deep/er/link", "dir"}
    for target in ("/etc/passwd", "../outside", str(root / "a"), "dir/../../outside", "../root/a"):
        os.symlink(target, root / "bad")
        with pytest.raises(Invalid, match="bad is a symbolic link") as refused:
            scan(root)
        assert "/bad to .runyardignore" in refused.value.hint
        (root / "bad").unlink()


def test_T11_a_link_over_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "a/b/c/x")
    os.symlink("../../..", root / "a/b/c/up")  # to the root: within
    os.symlink("a/b/c/up/../..", root / "out")  # looks like a/b, is above the root
    with pytest.raises(Invalid, match="out is a symbolic link"):
        scan(root)


def test_a_root_that_is_a_link_and_a_pipe_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "real", "a")
    os.symlink("real", tmp_path / "link")
    with pytest.raises(Invalid, match="is a symbolic link") as refused:
        scan(tmp_path / "link")
    assert refused.value.hint.endswith(str(tmp_path / "real"))
    os.mkfifo(tmp_path / "real/pipe")
    with pytest.raises(Invalid, match="pipe is a socket"):
        scan(tmp_path / "real")
    with pytest.raises(Invalid, match="not a directory"):
        scan(tmp_path / "real/a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a", "closed/b")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(Invalid, match="closed cannot be read"):
        scan(tmp_path)
    (tmp_path / "closed").chmod(0o755)


def test_too_much_names_what_is_large(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    write(tmp_path, "data/one", "data/two", text="x" * 3000)
    with pytest.raises(TooMuch, match=r"holds 5\.9 KiB") as refused:
        scan(tmp_path, max_bytes=4096)
    assert refused.value.hint.startswith("Largest: data (5.9 KiB), a.py")
    assert ".runyardignore" in refused.value.hint
    with pytest.raises(TooMuch, match="more than 2 files"):
        scan(tmp_path, max_files=2)


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    write(tmp_path, "a", "b", text="x" * 100_000)
    told: list[tuple[int, int]] = []
    packed = pack(
        scan(tmp_path), tmp_path / "out.tar.gz", lambda done, all_: told.append((done, all_))
    )
    assert told == sorted(told)
    assert told[-1] == (200_000, 200_000)
    assert packed.size == (tmp_path / "out.tar.gz").stat().st_size
    assert packed.files == 2


@pytest.mark.parametrize("became", ["longer", "shorter", "gone", "link"])
def test_a_file_that_changes_while_it_is_packed_is_an_error(tmp_path: Path, became: str) -> None:
    write(tmp_path, "a", text="x" * 1000)
    packing = scan(tmp_path)
    (tmp_path / "a").unlink()
    if became == "link":
        write(tmp_path, "secret", text="y" * 1000)
        os.symlink("secret", tmp_path / "a")
    elif became != "gone":
        write(tmp_path, "a", text="x" * (2000 if became == "longer" else 10))
    with pytest.raises(Conflict, match="a changed while it was packed"):
        pack(packing, io.BytesIO())


def test_the_python_is_what_was_asked_for_else_what_the_code_says(tmp_path: Path) -> None:
    read = reader(tmp_path)
    assert python_version(None, read, local="3.13") == "3.13"
    write(tmp_path, ".python-version", text="3.10.4\n3.9\n")
    assert python_version(None, read) == "3.10"
    write(tmp_path, "runtime.txt", text="python-3.12.1\n")
    assert python_version(None, read) == "3.12"
    assert python_version("3.11", read) == "3.11"
    with pytest.raises(Invalid, match="runtime"):
        python_version("3.11.2", read)


def test_requirements_come_before_the_project_and_a_bare_project_has_none(tmp_path: Path) -> None:
    assert dependency_file(tmp_path) is None
    write(tmp_path, "pyproject.toml", text="[tool.ruff]\n")
    assert dependency_file(tmp_path) is None
    write(tmp_path, "pyproject.toml", text='[project]\ndependencies = ["numpy"]\n')
    assert dependency_file(tmp_path) == "pyproject.toml"
    write(tmp_path, "requirements.txt")
    assert dependency_file(tmp_path) == "requirements.txt"
