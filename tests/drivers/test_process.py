"""What is particular to workloads that are processes of this host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE

import pytest

from runyard.domain.errors import Invalid, Rejected
from runyard.domain.workloads import Handle, Mount, Observation, Phase, Workload
from runyard.drivers.process import ProcessDriver
from runyard.drivers.process_home import Home

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc"),
]
HOST = {"PATH": os.environ["PATH"], "HOME": "/home/agent", "AGENT_KEY": "the-agents-own"}


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver(tmp_path / "agent", host_env=HOST, env_passthrough=["HOME", "CACHE"])
    yield driver
    for handle in await driver.leftovers(()):
        await driver.stop(handle, grace=timedelta())
        await driver.discard(handle)
    await driver.close()


def shell(key: str, script: str) -> Workload:
    return Workload(key, ("/bin/sh", "-c"), (script,))


async def end(driver: ProcessDriver, handle: Handle) -> Observation:
    async with asyncio.timeout(20), aclosing(driver.watch(handle)) as seen:
        return [each async for each in seen][-1]


async def output(driver: ProcessDriver, handle: Handle) -> bytes:
    async with asyncio.timeout(20), aclosing(driver.logs(handle)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def said(driver: ProcessDriver, handle: Handle) -> bytes:
    async with asyncio.timeout(20), aclosing(driver.logs(handle)) as chunks:
        return await anext(chunks)


async def run(driver: ProcessDriver, workload: Workload) -> bytes:
    return await output(driver, await driver.submit(workload))


def wrapper(driver: ProcessDriver, key: str, tmp_path: Path) -> int:
    return int((tmp_path / "agent" / "workloads" / key / "born").read_text())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "arg",
    [
        "; echo pwned",
        "$(echo pwned)",
        "`echo pwned`",
        "a\nb",
        "' \" \\",
        "*",
        "&& exit 9",
        "-n",
        "",
    ],
)
async def test_T7_arguments_reach_the_program_as_they_are(
    driver: ProcessDriver, key: str, arg: str
) -> None:
    workload = Workload(key, (sys.executable, "-c", "import sys; print(sys.argv[1:])"), (arg,))
    assert await run(driver, workload) == f"{[arg]}\n".encode()


@pytest.mark.parametrize("word", ["exit", "eval", ".", "cd", "exec", "set", "trap", "A=1"])
async def test_T7_the_wrapper_obeys_no_builtin_of_a_job(
    driver: ProcessDriver, key: str, word: str
) -> None:
    seen = await end(driver, await driver.submit(Workload(key, (word,), ("echo pwned",))))
    assert seen.exit_code in (126, 127)  # no program of that name; not obeyed
    assert b"pwned\n" not in await run(driver, Workload(f"{key}-2", (word,), ("echo pwned",)))


@pytest.mark.parametrize(
    "change",
    [
        {"args": ("a\0b",)}, {"entry_point": ("a\0",)}, {"env": {"A": "\0"}}, {"env": {"A=B": "1"}},
        {"env": {"": "1"}}, {"env": {"1A": "1"}}, {"env": {"A\nB": "1"}}, {"env": {"Ä": "1"}},
        {"secrets": {"BAD NAME": "s3cret"}}, {"secrets": {"A": "s3cret\0"}},
        {"entry_point": ()}, {"entry_point": ("",)}, {"entry_point": ("-c",)},
        {"working_dir": "../x"}, {"working_dir": "/etc"}, {"working_dir": "a/../../b"},
        {"config": {"privileged": True}}, {"config": {"env": ["AGENT_KEY"]}},
        {"config": {"gpus": "x"}}, {"image": "alpine"},
        {"key": "../escape"}, {"key": "Upper"}, {"key": ""}, {"key": "a/b"},
    ],
    ids=str,
)  # fmt: skip
async def test_T7_what_cannot_be_started_safely_is_rejected_before_anything_is_made(
    driver: ProcessDriver, key: str, tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(Rejected) as caught:
        await driver.submit(replace(shell(key, "echo"), **change))  # type: ignore[arg-type]
    assert "s3cret" not in caught.value.message
    assert not list((tmp_path / "agent").glob("workloads/*"))


async def test_a_link_does_not_lead_out_of_the_jobs_directory(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "out").symlink_to("/etc")
    workload = replace(shell(key, "pwd"), directory=str(tmp_path / "job"), working_dir="out")
    with pytest.raises(Rejected, match="leaves"):
        await driver.submit(workload)


async def test_it_runs_in_the_jobs_directory(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    (tmp_path / "job" / "src").mkdir(parents=True)
    workload = replace(shell(key, "pwd"), directory=str(tmp_path / "job"), working_dir="src")
    assert await run(driver, workload) == f"{tmp_path}/job/src\n".encode()
    with pytest.raises(Rejected, match="no directory"):
        await driver.submit(replace(workload, key=f"{key}-2", working_dir="nowhere"))


async def test_T14_a_job_sees_nothing_of_the_agents_environment_but_what_is_listed(
    driver: ProcessDriver, key: str
) -> None:
    workload = replace(shell(key, "env"), env={"A": "1"}, config={"env": ["B=2", "CACHE"]})
    names = {line.split(b"=")[0] for line in (await run(driver, workload)).splitlines()}
    assert names - {b"PWD", b"OLDPWD", b"_", b"SHLVL"} == {
        b"A", b"B", b"HOME", b"PATH", b"PYTHONUNBUFFERED", b"RUNYARD_WORKLOAD",
    }  # fmt: skip


async def test_T15_secrets_are_in_no_argument_of_any_process(
    driver: ProcessDriver, key: str
) -> None:
    workload = replace(shell(key, "echo up; sleep 20"), secrets={"TOKEN": "s3cret-word"})
    await said(driver, await driver.submit(workload))
    listed = await asyncio.to_thread(subprocess.run, ["ps", "-ewwo", "args"], capture_output=True)
    assert f"/workloads/{key}".encode() in listed.stdout
    assert b"s3cret-word" not in listed.stdout


async def test_T14_what_is_kept_on_disk_is_for_the_agents_user_alone(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    await run(driver, shell(key, "echo hello"))
    for directory in (tmp_path / "agent", tmp_path / "agent" / "workloads" / key):
        assert directory.stat().st_mode & 0o077 == 0


async def test_a_killed_wrapper_is_an_end_without_an_exit_code(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    handle = await driver.submit(shell(key, "echo up; sleep 600"))
    await said(driver, handle)
    watcher = asyncio.create_task(end(driver, handle))
    os.kill(wrapper(driver, key, tmp_path), signal.SIGKILL)
    seen = await watcher
    assert (seen.phase, seen.exit_code) == (Phase.EXITED, None)
    assert "killed" in seen.reason
    await driver.stop(handle, grace=timedelta())  # and what it left behind ends as well
    assert b"sleep\x00600" not in everything(key)


def everything(key: str) -> bytes:
    """Return the arguments of all processes that carry the key."""
    found = b""
    for entry in Path("/proc").iterdir():
        try:
            if f"RUNYARD_WORKLOAD={key}".encode() in (entry / "environ").read_bytes():
                found += (entry / "cmdline").read_bytes()
        except OSError:
            continue
    return found


async def test_a_number_that_went_to_a_stranger_is_not_taken_for_the_wrapper(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    handle = await driver.submit(shell(key, "exit 0"))
    await end(driver, handle)
    home = tmp_path / "agent" / "workloads" / key
    stranger = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", "sleep 600 & echo $!; wait", stdout=PIPE, start_new_session=True
    )
    assert stranger.stdout is not None
    child = int(await stranger.stdout.readline())
    (home / "born").write_text(f"{stranger.pid}\n")  # as after a restart of the machine
    (home / "exit").unlink()
    assert (await end(driver, handle)).phase is Phase.EXITED
    await driver.stop(handle, grace=timedelta())
    await driver.discard(handle)
    assert lives(stranger.pid)
    assert lives(child)
    os.killpg(stranger.pid, signal.SIGKILL)
    await stranger.communicate()


async def test_stop_finds_what_left_the_session(driver: ProcessDriver, key: str) -> None:
    script = "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.1; done' & wait"
    handle = await driver.submit(shell(key, script))
    runaway = int(await said(driver, handle))
    await driver.stop(handle, grace=timedelta(seconds=0.2))
    assert not lives(runaway)
    assert everything(key) == b""


async def test_stop_finds_what_threw_its_environment_away(driver: ProcessDriver, key: str) -> None:
    script = "env -i /bin/sh -c 'echo $$; exec sleep 600' & wait"
    handle = await driver.submit(shell(key, script))
    bare = int(await said(driver, handle))
    await driver.stop(handle, grace=timedelta())
    assert not lives(bare)


async def test_of_many_wrappers_for_a_key_one_runs_the_job(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    workload = shell(key, f"echo ran >>{tmp_path}/ran; sleep 0.1")
    home = Home(tmp_path / "agent" / "workloads" / key)
    home.path.mkdir(parents=True)
    argv = home.wrapped([*workload.entry_point, *workload.args])
    wrappers = [await asyncio.create_subprocess_exec(*argv) for _ in range(8)]
    for each in wrappers:
        await each.wait()
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert (await end(driver, await driver.submit(workload))).exit_code == 0
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_a_polite_signal_from_outside_does_not_cost_the_exit_code(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    script = "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done"
    handle = await driver.submit(shell(key, script))
    await said(driver, handle)
    os.killpg(wrapper(driver, key, tmp_path), signal.SIGTERM)
    assert (await end(driver, handle)).exit_code == 4


async def test_what_a_workload_left_in_its_group_ends_with_discard(
    driver: ProcessDriver, key: str
) -> None:
    handle = await driver.submit(shell(key, "sleep 600 & echo $!; exit 0"))
    assert (await end(driver, handle)).exit_code == 0
    child = int(await output(driver, handle))
    assert lives(child)
    await driver.discard(handle)
    assert not lives(child)


async def test_a_stop_that_overtakes_the_start_prevents_it(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    handle = await driver.submit(shell(f"{key}-0", "exit 0"))
    unborn = Handle(handle.driver, handle.version, {**handle.data, "key": key})
    (tmp_path / "agent" / "workloads" / key).mkdir()  # its agent died before it started it
    async with asyncio.timeout(5):
        await driver.stop(unborn, grace=timedelta())
    again = await driver.submit(shell(key, f"touch {tmp_path}/ran"))
    seen = await end(driver, again)
    assert (seen.phase, seen.exit_code) == (Phase.EXITED, None)
    assert "before it started" in seen.reason
    assert not (tmp_path / "ran").exists()


async def test_wrappers_are_waited_for(driver: ProcessDriver, key: str, tmp_path: Path) -> None:
    await end(driver, await driver.submit(shell(key, "exit 0")))
    zombie = Path(f"/proc/{wrapper(driver, key, tmp_path)}")
    async with asyncio.timeout(5):  # it may write the exit code a moment before it leaves
        while zombie.exists():
            await driver.leftovers([])  # any call waits for those that have left
            await asyncio.sleep(0.01)


async def test_a_workload_survives_its_agent(tmp_path: Path, key: str) -> None:
    root = tmp_path / "agent"
    agent = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from runyard.drivers.process import ProcessDriver, Workload\n"
        f"work = Workload({key!r}, ('/bin/sh', '-c'), ('sleep 0.5; echo done; exit 6',))\n"
        f"asyncio.run(ProcessDriver(Path({str(root)!r})).submit(work)); os._exit(9)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", agent)
    assert await process.wait() == 9
    driver = ProcessDriver(root)
    (handle,) = await driver.leftovers(())
    assert (await end(driver, handle)).exit_code == 6
    assert await output(driver, handle) == b"done\n"


async def test_a_handle_of_another_host_is_refused_and_not_called_gone(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    elsewhere = ProcessDriver(tmp_path / "other-host")
    handle = await elsewhere.submit(shell(key, "exit 0"))
    with pytest.raises(Rejected, match="root"):
        await end(driver, handle)
    await end(elsewhere, handle)
    await elsewhere.close()


@pytest.mark.parametrize("key", ["../../etc", "", "a/b", ".."])
async def test_T22_a_handle_cannot_point_out_of_the_root(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    good = await driver.submit(shell("good", "exit 0"))
    with pytest.raises(Rejected, match="key"):
        await driver.discard(Handle(good.driver, good.version, {**good.data, "key": key}))
    await end(driver, good)


async def test_a_host_without_python_still_has_the_agents(
    driver: ProcessDriver, key: str, tmp_path: Path
) -> None:
    workload = Workload(key, ("python",), ("-c", "print(6*7)"), {"PATH": str(tmp_path)})
    assert await run(driver, workload) == b"42\n"


async def test_a_command_that_does_not_exist_says_so(driver: ProcessDriver, key: str) -> None:
    handle = await driver.submit(Workload(key, ("no-such-program",)))
    assert (await end(driver, handle)).exit_code == 127
    assert b"no-such-program" in await output(driver, handle)


async def test_gpus_are_shown_by_index(driver: ProcessDriver, key: str) -> None:
    workload = replace(shell(key, "echo $CUDA_VISIBLE_DEVICES"), gpus=("0", "2"))
    assert await run(driver, replace(workload, config={"gpus": 2})) == b"0,2\n"


async def test_what_is_printed_arrives_within_a_moment(driver: ProcessDriver, key: str) -> None:
    script = "import time\nfor _ in range(20): print(time.time()); time.sleep(0.02)"
    handle = await driver.submit(Workload(key, (sys.executable, "-c", script)))
    late, rest = [], b""
    async with asyncio.timeout(20), aclosing(driver.logs(handle)) as chunks:
        async for chunk in chunks:  # which may end in the midst of a line
            *lines, rest = (rest + chunk).split(b"\n")
            late += [time.time() - float(line) for line in lines]
    assert sorted(late)[len(late) // 2] < 0.05


def test_settings_are_read_and_every_fault_is_named(tmp_path: Path) -> None:
    ProcessDriver.from_settings({"env_passthrough": ["HF_HOME"]}, tmp_path)
    with pytest.raises(Invalid, match="env_passthrough"):
        ProcessDriver.from_settings({"env": ["HF_HOME"]}, tmp_path)
    with pytest.raises(Invalid, match="list"):
        ProcessDriver.from_settings({"env_passthrough": "HF_HOME"}, tmp_path)


async def test_a_root_that_cannot_be_used_is_said_when_the_agent_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Rejected, match="cannot be used"):
        await ProcessDriver(tmp_path / "file" / "agent").check()


async def test_a_volume_is_a_link_in_the_jobs_directory_and_a_variable(
    driver: ProcessDriver, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "job" / "cache").mkdir(parents=True)
    mount = Mount("pip", str(tmp_path / "shared"), "cache/pip", env=("PIP_CACHE_DIR",))
    script = "echo 1 > cache/pip/x; cat $PIP_CACHE_DIR/x"
    asked = replace(shell("v", script), directory=str(tmp_path / "job"), mounts=(mount,))
    assert driver.render(asked)["links"] == {"cache/pip": str(tmp_path / "shared")}
    assert await output(driver, await driver.submit(asked)) == b"1\n"
    assert (tmp_path / "shared" / "x").exists()
    again = replace(asked, key="again")  # the link is there already
    assert await output(driver, await driver.submit(again)) == b"1\n"


async def test_T11_a_link_is_not_made_where_the_job_has_laid_one_of_its_own(
    driver: ProcessDriver, tmp_path: Path
) -> None:
    for name in ("shared", "job", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "job" / "way").symlink_to(tmp_path / "outside")
    (tmp_path / "job" / "file").touch()
    for path in ("way/x", "way", "file", "file/x"):
        mount = Mount("data", str(tmp_path / "shared"), path)
        asked = replace(shell("t", "true"), directory=str(tmp_path / "job"), mounts=(mount,))
        with pytest.raises(Rejected, match=f"the link {path} cannot be made"):
            await driver.submit(asked)
    assert not list((tmp_path / "outside").iterdir())


async def test_what_a_process_could_write_is_not_called_read_only(
    driver: ProcessDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount("data", str(tmp_path), env=("DATA",), read_only=True)
    with pytest.raises(Rejected, match="could write it"):
        await driver.submit(replace(shell("r", "true"), mounts=(mount,)))
    monkeypatch.setattr(os, "access", lambda *_: False)  # nothing stops root, who runs this in CI
    handle = await driver.submit(replace(shell("s", "echo $DATA"), mounts=(mount,)))
    assert await output(driver, handle) == f"{tmp_path}\n".encode()
