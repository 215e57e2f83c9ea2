"""The tracking client's own agent takes items and runs them; ours runs what the client pushed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from packaging.requirements import Requirement

from runyard.testing.git_server import git_server
from tests.http.conftest import Caller, World, world

from .conftest import PYTHON, Client, on_sqlite

__all__ = ["world"]

pytestmark = pytest.mark.timeout(300)  # the client's agent looks around every ten seconds

TRAIN = """
import sys
import wandb

run = wandb.init()
run.log({"loss": run.config["lr"] * 2})
run.summary["args"] = sys.argv[1:]
run.finish()
"""


def project(client: Client, **files: str) -> str:
    path = client.directory / "code"
    path.mkdir()
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    (path / "requirements.txt").write_text("")
    return "code"


def items(client: Client, queue: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.world.admin.ok(
        "GET", f"/items?queue={queue}&entity=admin"
    )["data"]
    return found


def until(true: Callable[[], object], *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def agent(client: Client, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """`wandb launch-agent` in a process group of its own, so that its jobs end with it."""
    out = client.directory / "agent.log"
    # The job's `python` has the client, as on a host of users.
    path = [str(client.command.parent), str(Path(PYTHON).parent), os.environ["PATH"]]
    env = client.env(PATH=os.pathsep.join(path), **more)
    with out.open("w") as log:
        process = subprocess.Popen(
            [str(client.command), "launch-agent", "-e", "admin", *words],
            cwd=client.directory, env=env, stdout=log, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        except BaseException:
            sys.stderr.write(out.read_text()[-6000:])
            raise
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def process_queue(client: Client, name: str = "lp", **policy: Any) -> None:
    body = {"name": name, "resource": "local-process", "policy": policy}
    client.world.admin.ok("POST", "/queues", json=body)


def test_the_client_s_agent_runs_a_job_from_push_to_end(client: Client) -> None:
    process_queue(client)
    code = project(client, train=TRAIN)
    config = json.dumps({"overrides": {"run_config": {"lr": 0.5}, "args": ["--fast"]}})
    client.wandb("launch", "-u", code, "-E", "python train.py", "-q", "lp", "-p", "jobs",
                 "-e", "admin", "-J", "train", "-c", config)  # fmt: skip
    with agent(client, "-q", "lp") as process:
        until(lambda: items(client, "lp")[0]["state"] not in ("PENDING", "LEASED", "CLAIMED"))
        (item,) = items(client, "lp")
        assert item["state"] == "FINISHED", item
        (listed,) = client.world.admin.ok("GET", "/agents?entity=admin")["data"]
        assert listed["name"].startswith("wandb-")
        client.world.admin.ok("DELETE", f"/agents/{listed['id']}")
        assert process.wait(40) == 0
    (listed,) = client.world.admin.ok("GET", "/agents?entity=admin")["data"]
    assert listed["status"] == "KILLED"
    told = (client.directory / "agent.log").read_text()
    assert "ryr_" not in told  # the run's own key is nobody else's to read
    client.python(
        f"""
        import wandb

        run = wandb.Api().run("admin/jobs/{item["run"]["run_id"]}")
        assert run.state == "finished", run.state
        assert run.config["lr"] == 0.5, run.config
        assert run.summary["loss"] == 1.0, run.summary
        assert list(run.summary["args"]) == ["--fast"], run.summary
        assert run.user.username == "admin"
        queued = wandb.Api().run_queue("admin", "lp").items[0]
        assert queued.state == "finished"
        """
    )


@on_sqlite
def test_a_job_from_git_is_made_pushed_and_run(client: Client) -> None:
    process_queue(client)
    with git_server(client.directory / "git") as git:
        commit = git.repository("code.git").commit({"train.py": TRAIN, "requirements.txt": ""})
        as_https = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{git.url}/.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://git.example/",
        }
        config = json.dumps({"overrides": {"run_config": {"lr": 1.5}}})
        client.wandb("launch", "-u", "https://git.example/code.git", "-E", "python train.py",
                     "-q", "lp", "-p", "jobs", "-e", "admin", "-J", "fromgit", "-c", config,
                     env=as_https)  # fmt: skip
        (item,) = items(client, "lp")
        source = client.world.admin.ok("GET", f"/items/{item['id']}")["spec"]["source"]
        assert (source["kind"], source["commit"]) == ("git", commit)
        assert source["remote"] == "https://git.example/code.git"
        with agent(client, "-q", "lp", **as_https):
            until(lambda: items(client, "lp")[0]["state"] in ("FINISHED", "FAILED"))
    (item,) = items(client, "lp")
    assert item["state"] == "FINISHED", item
    assert item["status"] == "Finished", item


@on_sqlite
def test_what_cannot_be_started_fails_with_the_agent_s_reason_and_its_file(client: Client) -> None:
    process_queue(client)
    code = project(client, train=TRAIN)
    client.wandb("launch", "-u", code, "-E", "python train.py", "-q", "lp", "-p", "jobs",
                 "-e", "admin", "-J", "train")  # fmt: skip
    client.python(
        """
        import wandb

        wandb.Api().artifact("admin/jobs/train:v0", type="job").delete(delete_aliases=True)
        """
    )
    with agent(client, "-q", "lp"):
        until(lambda: items(client, "lp")[0]["state"] == "FAILED")
        (item,) = items(client, "lp")
        whole = client.world.admin.ok("GET", f"/items/{item['id']}")
        failure = whole["failure"]
        assert failure["stage"] == "agent"
        assert "train:v0" in failure["message"]
        assert f"{item['id']}-" in failure["detail"]
        assert "/error/error.log" in failure["detail"]


@contextmanager
def our_agent(client: Client, queue: str) -> Iterator[None]:
    """`runyard agent`, as on a host that has the tracking client installed."""
    home = client.directory / "ours"
    home.mkdir()
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "RUNYARD_HOME": str(home),
        "RUNYARD_AGENT_WORK_DIR": str(home / "agent"),
        "RUNYARD_BASE_URL": client.url,
        "RUNYARD_API_KEY": client.key or "",
    }
    out = home / "agent.log"
    words = [sys.executable, "-m", "runyard.cli.main", "agent", "--name", "ours", "--queue", queue]
    with out.open("w") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        except BaseException:
            sys.stderr.write(out.read_text()[-6000:])
            raise
        finally:
            process.terminate()
            process.wait(20)


@on_sqlite
def test_ours_runs_what_the_client_pushed_with_the_values_of_each_push(client: Client) -> None:
    process_queue(client, "ours")
    code = project(client, train=TRAIN)
    words = ("-q", "ours", "-p", "jobs", "-e", "admin")
    for source, lr in (
        (("-u", code, "-E", f"{PYTHON} train.py", "-J", "train"), 0.5),
        (("-j", "admin/jobs/train:latest"), 3.0),
    ):
        config = json.dumps({"overrides": {"run_config": {"lr": lr}, "args": [f"{lr}"]}})
        client.wandb("launch", *source, *words, "-c", config)
    with our_agent(client, "ours"):
        until(lambda: {one["state"] for one in items(client, "ours")} == {"FINISHED"})
    second, first = [one["run"]["run_id"] for one in items(client, "ours")]
    client.python(
        f"""
        import wandb
        from wandb.sdk.launch import launch_add

        api = wandb.Api()
        for name, lr in (({first!r}, 0.5), ({second!r}, 3.0)):
            run = api.run(f"admin/jobs/{{name}}")
            assert (run.state, run.config["lr"]) == ("finished", lr), (run.state, run.config)
            assert run.summary["loss"] == lr * 2
            assert list(run.summary["args"]) == [str(lr)]
        assert {{run.id for run in api.runs("admin/jobs")}} == {{{first!r}, {second!r}}}
        newest = api.run_queue("admin", "ours").items[0]
        newest._project = "jobs"  # the client takes the queues' project for that of the run
        assert newest.wait_until_finished().summary["loss"] == 6.0
        """
    )


POP = """mutation popFromRunQueue($entity: String!, $queue: String!, $agent: ID) {
  popFromRunQueue(input: {entityName: $entity, projectName: "model-registry", queueName: $queue,
                          launchAgentId: $agent}) { runQueueItemId runSpec } }"""
ACK = """mutation ackRunQueueItem($item: ID!, $run: String!) {
  ackRunQueueItem(input: {runQueueItemId: $item, runName: $run}) { success } }"""
AGENT = """mutation createLaunchAgent($entity: String!, $queues: [ID!]!) {
  createLaunchAgent(input: {entityName: $entity, projectName: "model-registry", hostname: "h",
                            runQueues: $queues}) { launchAgentId } }"""
QUEUES = """query ProjectRunQueues($entity: String!) {
  project(entityName: $entity, name: "model-registry") { id runQueues { id name } } }"""
ITEM = """query GetRunQueueItem($entity: String!, $queue: String!, $item: ID!) {
  project(name: "model-registry", entityName: $entity) { runQueue(name: $queue) {
    runQueueItem(id: $item) { id state associatedRunId launchAgentId runSpec
      error { message stage } warnings { message } } } } }"""


def ask(who: Caller, document: str, **variables: Any) -> Any:
    body = {"query": document, "variables": variables}
    answer = who("POST", "/graphql", json=body, headers=basic(who)).json()
    assert "errors" not in answer, answer
    return answer["data"]


def basic(who: Caller) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"api:{who.key}".encode()).decode()}


def register(world: World, queue: str = "q") -> str:
    found = ask(world.admin, QUEUES, entity="admin")["project"]["runQueues"]
    ids = [one["id"] for one in found if one["name"] == queue]
    made = ask(world.admin, AGENT, entity="admin", queues=ids)
    return str(made["createLaunchAgent"]["launchAgentId"])


def test_ours_and_theirs_empty_one_queue_at_once_and_take_each_item_once(live: World) -> None:
    live.queue()
    made = [item["id"] for item in live.submit(60)]
    taken: list[str] = []

    def theirs() -> None:
        who = register(live)
        while (popped := pop(live.admin, who)) is not None:
            item, run = popped["runQueueItemId"], popped["runSpec"]["run_id"]
            done = ask(live.admin, ACK, item=item, run=run)["ackRunQueueItem"]["success"]
            taken.extend([item.partition("-")[0]] if done else [])

    def ours(name: str) -> None:
        who = live.agent(name)
        while held := who.poll(2)["leased"]:
            moved = who.move(*(who.to("claim", one) for one in held))
            taken.extend(
                one["item_id"] for one, m in zip(held, moved, strict=True) if not m["code"]
            )

    threads = [Thread(target=theirs) for _ in range(3)]
    threads += [Thread(target=ours, args=(f"ours-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(made)


def pop(who: Caller, agent_id: str, queue: str = "q") -> Any:
    return ask(who, POP, entity="admin", queue=queue, agent=agent_id)["popFromRunQueue"]


def test_T15_a_run_s_token_sees_the_items_of_its_project_and_takes_none(world: World) -> None:
    world.queue()
    world.queue("other")
    (item,) = world.submit(1)
    (foreign,) = world.submit(1, queue="admin/other")
    agent_id = register(world)
    popped = pop(world.admin, agent_id)
    run = world.caller(popped["runSpec"]["_wandb_api_key"])
    project = ask(run, QUEUES, entity="admin")["project"]
    assert [one["name"] for one in project["runQueues"]] == ["q"]
    seen = ask(run, ITEM, entity="admin", queue="q", item=item["id"])["project"]["runQueue"]
    assert seen["runQueueItem"]["state"] == "LEASED"
    hidden = ask(run, ITEM, entity="admin", queue="other", item=foreign["id"])["project"]
    assert hidden["runQueue"] is None
    for document, variables in (
        (POP, {"entity": "admin", "queue": "q", "agent": agent_id}),
        (AGENT, {"entity": "admin", "queues": [project["runQueues"][0]["id"]]}),
    ):
        answer = run("POST", "/graphql", json={"query": document, "variables": variables})
        assert answer.status_code in (403, 404), answer.text
    body = {"query": ACK, "variables": {"item": popped["runQueueItemId"], "run": item["id"]}}
    answer = run("POST", "/graphql", json=body).json()
    assert answer["data"]["ackRunQueueItem"]["success"] is False


def test_an_item_is_read_by_either_of_its_ids(world: World) -> None:
    world.queue()
    (item,) = world.submit(1)
    popped = pop(world.admin, register(world))
    fenced = popped["runQueueItemId"]
    assert ask(world.admin, ACK, item=fenced, run=popped["runSpec"]["run_id"])["ackRunQueueItem"]
    for item_id in (fenced, item["id"]):
        found = ask(world.admin, ITEM, entity="admin", queue="q", item=item_id)
        seen = found["project"]["runQueue"]["runQueueItem"]
        assert (seen["id"], seen["state"]) == (item["id"], "CLAIMED")
        assert seen["associatedRunId"] == popped["runSpec"]["run_id"]
        assert "_wandb_api_key" not in seen["runSpec"]
        assert (seen["error"], seen["warnings"]) == (None, [])
    gone = ask(world.admin, ITEM, entity="admin", queue="q", item="nothing")
    assert gone["project"]["runQueue"]["runQueueItem"] is None


IMAGE = "runyard-test-wandb:1"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with a Python, the tracking client, and a script that uses it."""
    if "RUNYARD_TEST_DOCKER" not in os.environ:
        pytest.skip("set RUNYARD_TEST_DOCKER where a Docker engine may be used; CI does")
    context = tmp_path_factory.mktemp("image")
    for name in sorted(needs("wandb")):
        for file in metadata.distribution(name).files or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and source.is_file():
                target = context / "site" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    (context / "train.py").write_text(TRAIN)
    (context / "Dockerfile").write_text(
        "FROM python:3.11-slim\nCOPY site /site\nCOPY train.py /train.py\n"
        'ENV PYTHONPATH=/site\nENTRYPOINT ["python", "/train.py"]\n'
    )
    subprocess.run(
        ["docker", "build", "-q", "-t", IMAGE, str(context)], check=True, capture_output=True,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    return IMAGE


def needs(name: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return a distribution and all that it needs, by name."""
    if name in known:
        return known
    known |= {name}
    for text in metadata.requires(name) or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            known = needs(wanted.name, known)
    return known


@pytest.mark.docker
@on_sqlite
def test_the_client_s_agent_runs_an_image_in_a_container(client: Client, image: str) -> None:
    client.world.queue("boxes")
    config = json.dumps({"overrides": {"run_config": {"lr": 2.0}, "args": ["--boxed"]}})
    client.wandb("launch", "-d", image, "-q", "boxes", "-p", "p1", "-e", "admin", "-c", config)
    here = client.url.replace("127.0.0.1", "localhost")  # then its containers share our network
    with agent(client, "-q", "boxes", WANDB_BASE_URL=here):
        until(lambda: items(client, "boxes")[0]["state"] in ("FINISHED", "FAILED"))
    (item,) = items(client, "boxes")
    assert item["state"] == "FINISHED", item
    run_id = item["run"]["run_id"]
    client.python(
        f"""
        import wandb

        run = wandb.Api().run("admin/p1/{run_id}")
        assert (run.state, run.summary["loss"]) == ("finished", 4.0), (run.state, run.summary)
        assert list(run.summary["args"]) == ["--boxed"]
        """
    )
