"""The agent put together: real processes, a real cache, HTTP to the server's double."""

import asyncio
import hashlib
import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runyard.agent.config import AgentConfig
from runyard.agent.main import OK, REFUSED, REPLACED, run_agent
from runyard.client.agent_api import AgentApi
from runyard.domain.errors import StaleEpoch, Unauthenticated
from tests.agent.double import RUN_TOKEN, Double, spec

pytestmark = pytest.mark.anyio


def code(double: Double, **files: str) -> dict[str, str]:
    """Put an archive on the server; return a source that names it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    data = packed.getvalue()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    double.blobs[digest] = data
    return {"kind": "code", "archive": digest}


class Machine:
    """A host with an agent's directory on it; `process` is one agent process."""

    def __init__(self, root: Path, double: Double) -> None:
        self.root, self.double = root, double
        self.stop, self.leave = asyncio.Event(), asyncio.Event()

    def config(self, **settings: Any) -> AgentConfig:
        return AgentConfig(
            name="box",
            work_dir=str(self.root),
            base_url="http://double",
            api_key="key",
            **{"max_jobs": 4, **settings},
        )

    def start(self, **settings: Any) -> "asyncio.Task[int]":
        self.stop, self.leave = asyncio.Event(), asyncio.Event()
        serving = run_agent(
            self.config(**settings),
            stop=self.stop,
            leave=self.leave,
            environ={"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(self.root)},
            connect=lambda found: AgentApi(
                found.base_url, found.key, transport=self.double.transport()
            ),
        )
        return asyncio.create_task(serving)

    @asynccontextmanager
    async def process(self, **settings: Any) -> AsyncIterator["asyncio.Task[int]"]:
        async with asyncio.timeout(30):
            task = self.start(**settings)
            yield task
            self.stop.set()
            assert await task == OK


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def machine(tmp_path: Path, double: Double) -> Machine:
    return Machine(tmp_path, double)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_code_is_fetched_and_run_and_its_end_is_told(machine, double):
    script = "import os, sys; print(os.environ['WANDB_RUN_ID'], sys.argv[1]); sys.exit(3)"
    source = code(double, train_py=script)
    wanted = {"entry_point": ["python", "train.py"], "args": ["x y; $(id)"]}
    double.submit("i1", spec("i1", source=source, overrides=wanted))
    async with machine.process():
        item = await double.until("i1")

    assert (item.exit_code, item.log) == (3, b"run-i1 x y; $(id)\n")
    assert double.retired
    assert list((machine.root / "box" / "attempts").iterdir()) == []


async def test_a_program_can_use_its_runs_token_but_not_print_it(machine, double):
    script = "import os; k = os.environ['WANDB_API_KEY']; print(len(k), k)"
    source = code(double, a_py=script)
    wanted = {"entry_point": ["python", "a.py"]}
    double.submit("i1", spec("i1", source=source, overrides=wanted))
    async with machine.process():
        item = await double.until("i1")
    assert item.log == f"{len(RUN_TOKEN)} {'*' * len(RUN_TOKEN)}\n".encode()


async def test_jobs_are_left_running_and_adopted_by_the_next_process(machine, double):
    source = code(double, a_sh="echo one\nuntil [ -e go ]; do sleep 0.02; done\necho two; exit 4")
    for name in ("i1", "i2"):
        wanted = {"entry_point": ["sh", "a.sh"]}
        double.submit(name, spec(name, source=source, overrides=wanted))
    async with asyncio.timeout(30):
        first = machine.start()
        await until(lambda: all(i.handle for i in double.items.values()))
        machine.stop.set()
        await asyncio.sleep(0.05)
        assert not first.done()  # the first wish is to finish what runs
        machine.leave.set()
        assert await first == OK
    assert [i.state for i in double.items.values()] == ["CLAIMED", "CLAIMED"]

    for name in ("i1", "i2"):
        (machine.root / "box" / "attempts" / f"ry-{name}-1" / "files" / "go").touch()
    async with machine.process():
        await double.until("i1")
        await double.until("i2")
    assert all(i.log == b"one\ntwo\n" and i.exit_code == 4 for i in double.items.values())


async def test_a_workload_that_nobody_waits_for_is_ended_at_the_start(machine, double):
    source = code(double, a_sh="echo $$ > pid; exec sleep 60")
    wanted = {"entry_point": ["sh", "a.sh"]}
    double.submit("i1", spec("i1", source=source, overrides=wanted))
    async with asyncio.timeout(30):
        first = machine.start()
        files = machine.root / "box" / "attempts" / "ry-i1-1" / "files"
        await until(lambda: (files / "pid").exists() and (files / "pid").read_text().strip())
        pid = int((files / "pid").read_text())
        machine.leave.set()
        await first
    double.items["i1"].state = "FAILED"  # its claim ran out meanwhile

    async with machine.process():
        await until(lambda: not is_alive(pid))
        await until(lambda: not files.exists())


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_a_hundred_jobs_each_run_once(machine, double):
    source = code(double, a_sh="echo run >> $RUNS\n")
    runs = machine.root / "runs"
    for n in range(100):
        wanted = {"entry_point": ["sh", "a.sh"]}
        one = spec(f"j{n}", source=source, overrides=wanted, config={"env": [f"RUNS={runs}"]})
        double.submit(f"j{n}", one)
    async with machine.process(max_jobs=8):
        for n in range(100):
            assert (await double.until(f"j{n}")).exit_code == 0
    assert runs.read_text() == "run\n" * 100
    assert sum(call.startswith("claim") for call in double.calls) == 100


async def test_a_newer_process_of_the_name_makes_this_one_leave_with_code_3(machine, double):
    async with asyncio.timeout(10):
        task = machine.start()
        await until(lambda: double.polls)
        double.refusal = StaleEpoch("registered again by another process")
        double.tell()
        assert await task == REPLACED


async def test_a_key_that_is_refused_ends_the_agent_with_code_1(machine, double):
    double.refusal = Unauthenticated("no such key")
    assert await machine.start() == REFUSED


async def test_a_server_that_is_not_there_yet_is_waited_for(machine, double):
    double.is_up = False
    async with machine.process():
        await asyncio.sleep(0.1)
        double.is_up = True
        await until(lambda: double.polls)


async def test_an_agent_can_be_stopped_before_it_reached_its_server(machine, double):
    double.is_up = False
    async with machine.process():
        await asyncio.sleep(0.05)
    assert not double.retired


async def test_a_setting_that_its_driver_refuses_names_the_field(machine, double, capsys):
    task = machine.start(resources={"local-process": {"shells": True}})
    assert await task == REFUSED
    assert "resources.local-process" in capsys.readouterr().out


async def test_an_agent_that_was_set_aside_checks_its_host_and_comes_back(
    machine: Machine, double: Double
) -> None:
    double.set_aside = "three starts failed"
    async with machine.process():
        await until(lambda: double.checks)
        assert all(check.ok for check in double.checks[0])
        double.submit("i1", spec(source=code(double, a_py=""), overrides={"entry_point": ["true"]}))
        item = await double.until("i1")
    assert item.exit_code == 0


async def test_an_agent_whose_host_is_ill_stays_aside(
    machine: Machine, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.agent.health.MIN_FREE", 1 << 60)
    monkeypatch.setattr("runyard.agent.recovery.FIRST_PAUSE", 0.05)
    double.set_aside = "three starts failed"
    async with machine.process():
        await until(lambda: len(double.checks) >= 2)
        assert [c.name for c in double.checks[0] if not c.ok] == ["disk"]
        monkeypatch.setattr("runyard.agent.health.MIN_FREE", 0)
        await until(lambda: not double.set_aside)


async def test_what_is_amiss_is_said_before_the_first_lease_and_stops_nothing(
    machine: Machine,
    double: Double,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("runyard.agent.health.MIN_FREE", 1 << 60)
    double.submit("i1", spec(source=code(double, a_py=""), overrides={"entry_point": ["true"]}))
    async with machine.process():
        await double.until("i1")
    printed = capsys.readouterr()
    assert "check failed" in printed.out + printed.err
    assert double.checks == []
