"""Ten jobs run; agent or server is killed in their midst; all end as they should, none twice."""

from __future__ import annotations

import time

import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from runyard.wire.rest import QueuePatch
from tests.e2e.conftest import until

JOBS = 10
SCRIPT = """
import os, pathlib, sys, time
n = int(sys.argv[1])
marks = pathlib.Path(sys.argv[2])
with open(marks / f"{n}.marks", "a") as f: f.write("start\\n")
print("begins", n, flush=True)
deadline = time.time() + 90
while not (marks / "go").exists() and time.time() < deadline:
    time.sleep(0.05)
print("ends", n, flush=True)
with open(marks / f"{n}.marks", "a") as f: f.write("end\\n")
sys.exit(n % 4)
"""


class Ten:
    """Ten jobs that wait for a sign, and tell by marks on disk that they ran, and how often."""

    def __init__(self, yard: Yard, kind: str) -> None:
        self.yard, self.kind = yard, kind
        self.marks = yard.root / "marks"
        self.marks.mkdir()
        yard.add_queue(kind, kind)
        self.job = yard.add_job({"work.py": SCRIPT}, ["python", "work.py"])

    def begin(self) -> None:
        with self.yard.api() as api:
            specs = [self._spec(n) for n in range(JOBS)]
            self.items = [i.id for i in api.submit(self.yard.entity, self.kind, specs).items]
        until(lambda: len(list(self.marks.glob("*.marks"))) == JOBS)

    def _spec(self, n: int) -> dict[str, object]:
        return {"job": self.job, "overrides": {"args": [str(n), str(self.marks)]}}

    def let_go(self) -> None:
        (self.marks / "go").touch()

    def check(self) -> None:
        with self.yard.api() as api:
            until(lambda: all(api.item(i).ended_at for i in self.items), seconds=90)
            ended = [api.item(i) for i in self.items]
            assert [i.exit_code for i in ended] == [n % 4 for n in range(JOBS)]
            assert [i.status for i in ended] == [
                "Failed" if n % 4 else "Finished" for n in range(JOBS)
            ]
            assert {i.attempt for i in ended} == {1}
            for n, item in enumerate(ended):
                assert self.read_log(api, item) == f"begins {n}\nends {n}\n"
        for n in range(JOBS):
            assert (self.marks / f"{n}.marks").read_text() == "start\nend\n"

    @staticmethod
    def read_log(api, item) -> str:
        return b"".join(follow.log(api, item.run)).decode()


def agent_of(ten: Ten) -> None:
    ten.yard.add_agent(ten.kind)
    ten.yard.wait_agents(ten.kind)


@pytest.fixture(params=["local-process", pytest.param("local-container", marks=pytest.mark.docker)])
def ten(yard: Yard, request: pytest.FixtureRequest) -> Ten:
    made = Ten(yard, request.param)
    if request.param == "local-container":
        share_marks_with_containers(made)
    agent_of(made)
    return made


def share_marks_with_containers(ten: Ten) -> None:
    """Let the agent mount the marks, by a name of its own config, as an operator would."""
    config = ten.yard.root / "agent-agent"
    config.mkdir(exist_ok=True)
    where = config / "config" / "runyard"
    where.mkdir(parents=True)
    # Root's directory, which the user of an image that we build could not write to.
    (where / "agent.yaml").write_text(f"volumes:\n  marks: {ten.marks}\nbuilder: {{type: none}}\n")
    with ten.yard.api() as api:
        api.edit_queue(
            ten.yard.entity, ten.kind, QueuePatch(config={"volumes": [f"marks:{ten.marks}"]})
        )


def test_an_agent_killed_in_the_midst_of_ten_jobs_loses_and_repeats_none(ten):
    ten.begin()
    agent = ten.yard.agents[0]
    agent.end()  # kill -9
    ten_running(ten)

    agent.start()
    ten.let_go()
    ten.check()


def test_jobs_that_end_while_no_agent_is_there_are_told_by_the_next(ten):
    ten.begin()
    agent = ten.yard.agents[0]
    agent.end()
    ten.let_go()
    until(lambda: all("end" in p.read_text() for p in ten.marks.glob("*.marks")))

    agent.start()
    ten.check()


def test_a_server_killed_in_the_midst_of_ten_jobs_loses_and_repeats_none(ten):
    ten.begin()
    server = ten.yard.servers[0]
    server.end()
    ten.let_go()
    until(lambda: all("end" in p.read_text() for p in ten.marks.glob("*.marks")))

    server.start()
    ten.yard.wait_ready(0)
    ten.check()


def ten_running(ten: Ten) -> None:
    with ten.yard.api() as api:
        assert {api.item(i).state for i in ten.items} == {"CLAIMED"}
        assert {api.item(i).run.run_id for i in ten.items}


def test_an_agent_killed_at_any_moment_of_starting_repeats_nothing(yard):
    """Killed again and again while it leases, claims, fetches and starts."""
    ten = Ten(yard, "local-process")
    agent = yard.add_agent(ten.kind)
    yard.wait_agents(ten.kind)
    ten.let_go()
    with yard.api() as api:
        specs = [ten._spec(n) for n in range(JOBS)]
        ten.items = [i.id for i in api.submit(yard.entity, ten.kind, specs).items]
        for delay in (0.005, 0.02, 0.05, 0.1):
            pass_the_agent(agent, delay)
    ten.check()


def pass_the_agent(agent, delay: float) -> None:
    time.sleep(delay)
    agent.end()
    agent.start()


@pytest.mark.postgres
def test_two_agents_and_two_servers_share_a_queue_and_each_item_runs_once(replicas):
    replicas.add_queue("shared")
    marks = replicas.root / "marks.txt"
    job = replicas.add_job({"work.py": MARK_ONCE}, ["python", "-S", "work.py"])
    for n in range(2):
        replicas.add_agent("shared", name=f"agent{n}", max_jobs=4, server=n)
    replicas.wait_agents("shared", 2)
    specs = [{"job": job, "overrides": {"args": [str(marks), str(n)]}} for n in range(200)]
    with replicas.api(0) as first, replicas.api(1) as second:
        ids = [i.id for i in first.submit(replicas.entity, "shared", specs[:100]).items]
        ids += [i.id for i in second.submit(replicas.entity, "shared", specs[100:]).items]
        until(lambda: marks.exists() and len(marks.read_text().split()) >= 200)
        until(lambda: all(first.item(i).ended_at for i in ids))
        ended = [second.item(i) for i in ids]

    assert sorted(map(int, marks.read_text().split())) == list(range(200))
    assert {i.status for i in ended} == {"Finished"}
    assert {i.agent for i in ended} == {"agent0", "agent1"}


MARK_ONCE = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(fd, (sys.argv[2] + "\\n").encode())
"""
