"""From an item to the image that it runs: what is looked for, asked, built and told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from runyard.agent import images as way_of_images
from runyard.agent.bench import Fetched
from runyard.agent.build_settings import BuilderSettings
from runyard.agent.building import Workshop
from runyard.agent.images import Images
from runyard.agent.planning import LOCAL, Builds
from runyard.agent.registries import Registries
from runyard.agent.rendering import Draft
from runyard.builders.base import BuildFailed
from runyard.builders.packages import MARK
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.images import Login
from runyard.testing.scripted import Stage, ends, runs_until_stopped
from runyard.testing.scripted_builder import ScriptedBuilder, ScriptedRegistry, Shelf, fails, prints
from runyard.wire.agent import Claim, Held, MayBuild, Moved
from tests.agent.double import RUN_TOKEN, Double, spec
from tests.agent.test_attempt import Yard, until

pytestmark = pytest.mark.anyio

REPOSITORY = "registry.example.com/ml/jobs"
PYTHON = f"sha256:{'a' * 64}"
CUDA = f"sha256:{'c' * 64}"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way_of_images, "ASK_EVERY", 0.01)


class Tree:
    """Sources that bring the same files to whoever asks."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        self.root, self.files, self.asked = root, files, list[str]()
        self.act: Callable[[], Any] = lambda: None

    async def fetch(self, held: Held, drafted: Draft, *, log: Callable[[bytes], None]) -> Fetched:
        self.asked.append(held.item_id)
        self.act()
        place = self.root / held.key
        for name, text in self.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        return Fetched(str(place))


class Site(Yard):
    """An agent with a builder and a registry, both scripted."""

    def __init__(self, root: Path, double: Double, stage: Stage, **settings: Any) -> None:
        super().__init__(root, double, stage, needs_image=True)
        self.shelf = Shelf({"python:3.11-slim": PYTHON, "cuda:12": CUDA})
        self.builder, self.registry = ScriptedBuilder(self.shelf), ScriptedRegistry(self.shelf)
        self.tree = Tree(root / "trees", {"train.py": "print(1)", "requirements.txt": "numpy\n"})
        self.lent: dict[str, str] = {}
        given = BuilderSettings(**{"destination": REPOSITORY, **settings})
        builds = Builds(given, "scripted")
        shop = Workshop(builds, self.builder, Registries(lambda _: self.registry))
        self.made = Images(shop)
        self.bench = replace(self.bench, sources=self.tree, images=self)

    async def builds(self) -> Builds:
        return self.made.workshop.builds

    def secrets(self) -> dict[str, str]:
        return self.lent

    async def provide(self, way: Any, /) -> Any:
        return await self.made.provide(way)

    async def run(self, *names: str) -> None:
        async with self.at_work():
            async with asyncio.TaskGroup() as group:
                for name in names or ("i1",):
                    group.create_task(self.attempt(name).run())
            await self.bench.courier.settled()


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def stage(seen: list[Any]) -> Stage:
    def program(workload: Any) -> Any:
        seen.append(workload)
        return ends(0, b"ran\n")

    return Stage(program)


def job(item: str = "i1", **changes: Any) -> dict[str, Any]:
    over = {"entry_point": ["python", "train.py"], **changes.pop("overrides", {})}
    return spec(item, overrides=over, **changes)


@pytest.fixture
def double() -> Double:
    return Double(i1=job())


@pytest.fixture
def site(tmp_path: Path, double: Double, stage: Stage) -> Site:
    return Site(tmp_path, double, stage)


async def test_code_is_built_pushed_and_run_by_digest(site, double, seen):
    site.builder.step = prints(b"#7 installing numpy\n")
    with capture_logs() as own:
        await site.run()

    (order,) = site.builder.orders
    digest = site.shelf.images[order.target.tagged]
    assert order.push
    assert order.target.repository == REPOSITORY
    assert f"FROM python@{PYTHON}" in site.builder.dockerfiles[0]
    (workload,) = seen
    assert workload.image == f"{REPOSITORY}@{digest}"
    assert workload.env["WANDB_DOCKER"] == workload.image
    assert (workload.directory, workload.working_dir) == (None, "home/runyard")
    item = double.items["i1"]
    assert (item.exit_code, item.log) == (0, b"ran\n")
    assert item.used == f"{order.target.tag}@{digest}"
    assert double.calls.index("use:i1") < double.calls.index("exited:i1")
    lines = item.build_log.decode().splitlines()
    assert lines[0] == (f"building {order.target} from python:3.11-slim@{PYTHON} with scripted")
    assert lines[1] == "#7 installing numpy"
    assert lines[2].startswith(f"image {workload.image}: 1 MB, ")
    assert [it["event"] for it in own if it.get("item") == "i1"][:2] == [lines[0], lines[2]]
    about = double.built[order.target.tag].about
    assert about == {"base": f"python:3.11-slim@{PYTHON}", "builder": "scripted"}


async def test_the_second_launch_fetches_and_builds_nothing(site, double, seen):
    await site.run()
    double.submit("i2", job("i2"))
    await site.run("i2")

    assert site.tree.asked == ["i1"]
    assert len(site.builder.orders) == 1
    assert seen[0].image == seen[1].image
    assert "build:i2" not in double.calls
    assert double.items["i2"].build_log.endswith(b" is there: nothing to build\n")
    assert double.items["i2"].used == double.items["i1"].used


async def test_nothing_of_the_build_is_left_when_the_workload_runs(site, stage, double):
    stage.program = lambda _: runs_until_stopped(0)
    async with site.at_work():
        task = asyncio.create_task(site.attempt().run())
        await until(lambda: stage.started)
        left = sorted(p.name for p in (site.bench.workspaces._root / "ry-i1-1").iterdir())
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task
    assert left == ["note"]


async def test_items_of_two_agents_that_need_one_image_build_it_once(tmp_path, double, stage):
    one, other = (Site(tmp_path / name, double, stage) for name in ("a", "b"))
    other.shelf = one.shelf
    other.registry.shelf = other.builder.shelf = one.shelf
    started = asyncio.Event()

    async def slowly(order: Any, log: Any) -> None:
        started.set()
        await asyncio.sleep(0.1)

    one.builder.step = other.builder.step = slowly
    for name in ("i2", "i3", "i4"):
        double.submit(name, job(name))
    async with one.at_work(), other.at_work(), asyncio.TaskGroup() as group:
        for site, name in ((one, "i1"), (one, "i2"), (other, "i3"), (other, "i4")):
            group.create_task(site.attempt(name).run())

    assert len(one.builder.orders) + len(other.builder.orders) == 1
    assert len(one.tree.asked) + len(other.tree.asked) == 1
    assert [item.exit_code for item in double.items.values()] == [0, 0, 0, 0]
    assert len({item.used for item in double.items.values()}) == 1
    waited = [bytes(item.build_log) for item in double.items.values()]
    assert sum(b"waiting for the build of ann/digits/run-i" in log for log in waited) == 3


async def test_a_failed_build_fails_its_item_and_those_that_waited_and_no_later_one(
    site, double, seen
):
    async def breaks(order: Any, log: Any) -> None:
        log(b"ERROR: No matching distribution found for nonesuch\n")
        await asyncio.sleep(0.05)
        raise BuildFailed(
            "no package nonesuch in the index", hint="see requirements.txt", lines="the end"
        )

    site.builder.step = breaks
    double.submit("i2", job("i2"))
    await site.run("i1", "i2")

    first, second = double.items["i1"], double.items["i2"]
    if b"waiting" in first.build_log:
        first, second = second, first
    assert (first.failure.stage, first.failure.host) == ("build", False)
    assert first.failure.message == "no package nonesuch in the index\nsee requirements.txt"
    assert first.failure.detail == "the end"
    assert b"ERROR: No matching distribution found for nonesuch\n" in first.build_log
    assert second.failure.stage == "build"
    assert "no package nonesuch in the index" in second.failure.message
    assert (len(site.builder.orders), seen) == (1, [])

    site.builder.step = prints(b"")
    double.submit("i3", job("i3"))
    await site.run("i3")
    assert double.items["i3"].exit_code == 0


async def test_all_that_a_failed_build_printed_is_there_before_its_item_fails(site, double):
    site.builder.step = fails(BuildFailed("no"), b"x" * 3_000_000 + b"\nthe last line\n")
    await site.run()
    assert double.items["i1"].build_log.endswith(b"\nthe last line\n")
    calls = [call for call in double.calls if call in ("log.build:i1", "fail:i1")]
    assert calls[-1] == "fail:i1"
    assert "log.build:i1" in calls


async def test_a_registry_a_builder_and_a_server_that_are_away_are_waited_for(site, double):
    away = Unavailable("away", retry_after=timedelta())
    for thing, call in (
        (site.registry, "digest"), (site.builder, "mounts"), (site.builder, "build"),
        (site.registry, "login"),
    ):  # fmt: skip
        thing.fail(call, away, times=2)
    await site.run()
    assert double.items["i1"].exit_code == 0
    assert double.items["i1"].warnings == ["away"]
    told = b"away; asked again until there is an answer\n"
    assert double.items["i1"].build_log.count(told) == 1  # who follows the build knows, too


async def test_a_registry_that_refuses_to_say_is_never_taken_for_one_that_lacks_the_image(
    site, double
):
    site.shelf.local["python:3.11-slim"] = "sha256:local"
    site.registry.fail("digest", Unavailable("x", retry_after=timedelta()))  # the base image's
    site.registry.fail("digest", Rejected("the login to registry.example.com is refused"))
    await site.run()
    failure = double.items["i1"].failure
    assert (failure.stage, failure.message) == (
        "build", "the login to registry.example.com is refused",
    )  # fmt: skip
    assert site.builder.orders == []


async def test_a_base_image_that_only_the_builder_has_is_built_upon_by_name(site, double):
    site.shelf.local["python:3.11-slim"] = "sha256:local"
    del site.shelf.images["python:3.11-slim"]
    await site.run()
    assert "FROM python:3.11-slim\n" in site.builder.dockerfiles[0]
    (order,) = site.builder.orders
    site.shelf.local["python:3.11-slim"] = "sha256:newer"
    site.made.workshop.bases._known.clear()
    double.submit("i2", job("i2"))
    await site.run("i2")
    assert site.builder.orders[1].target.tag != order.target.tag


async def test_a_base_image_that_is_nowhere_fails_the_item_with_its_name(site, double):
    double.items["i1"].spec = job(source={**spec()["source"], "base_image": "nowhere:1"})
    await site.run()
    failure = double.items["i1"].failure
    assert failure.stage == "build"
    assert failure.message.startswith("there is no base image nowhere:1: docker.io has none")


async def test_a_base_images_digest_is_asked_for_once_in_a_while(site, double, monkeypatch):
    from runyard.agent import base_images

    double.submit("i2", job("i2"))
    await site.run("i1", "i2")
    asked = [call for call in site.registry.asked if call.startswith("digest python")]
    assert len(asked) <= 2
    monkeypatch.setattr(base_images, "KEPT", -1.0)
    double.submit("i3", job("i3"))
    site.registry.asked.clear()
    await site.run("i3")
    assert "digest python:3.11-slim" in site.registry.asked


async def test_a_new_base_image_makes_a_new_image(site, double):
    await site.run()
    site.shelf.images["python:3.11-slim"] = CUDA
    site.made.workshop.bases._known.clear()
    double.submit("i2", job("i2"))
    await site.run("i2")
    one, other = site.builder.orders
    assert one.target.tag != other.target.tag


async def test_rebuild_asks_though_the_image_is_there(site, double):
    await site.run()
    double.submit("i2", job("i2", rebuild=True))
    (known,) = double.built.values()
    known.state = "BUILDING"  # the server's way to say: not built since this item came
    await site.run("i2")
    assert [order.fresh for order in site.builder.orders] == [False, True]

    double.submit("i3", job("i3", rebuild=True))
    await site.run("i3")  # the server knows a younger one
    assert len(site.builder.orders) == 2
    assert b"was built by ann/digits/run-i2: nothing to build" in double.items["i3"].build_log


async def test_an_image_that_the_registry_has_lost_is_built_again(site, double):
    await site.run()
    (name,) = [name for name in site.shelf.images if name.startswith(REPOSITORY)]
    del site.shelf.images[name]
    double.submit("i2", job("i2"))
    await site.run("i2")
    assert len(site.builder.orders) == 2


async def test_an_image_that_the_server_believes_in_and_the_registry_lacks_is_asked_for_again(
    tmp_path, stage
):
    asked = []

    class Sure(Double):
        def _may_build(self, item: Any, m: Any) -> MayBuild:
            asked.append((m.missing, m.waits))
            sure = MayBuild(do="use", digest=CUDA)
            return sure if len(asked) == 1 else super()._may_build(item, m)

    double = Sure(i1=job())
    await Site(tmp_path, double, stage).run()
    assert asked == [(True, False), (True, False)]
    assert double.items["i1"].exit_code == 0


async def test_an_image_that_was_pushed_between_looking_and_asking_is_used(site, double):
    looked = []

    async def later(image: Any) -> str | None:
        looked.append(image)
        if image.repository != REPOSITORY:
            return PYTHON
        return CUDA if len(looked) > 2 else None

    site.registry.digest = later
    await site.run()
    assert site.builder.orders == []
    assert site.tree.asked == []
    assert double.items["i1"].used.endswith(CUDA)


# -- Dockerfiles of the job's own ----------------------------------------------------------


async def test_a_named_dockerfile_is_built_upon_pinned_images(site, double, seen):
    double.items["i1"].spec = job(overrides={"dockerfile": "docker/gpu", "entry_point": None})
    site.tree.files["docker/gpu"] = 'FROM cuda:12\nENTRYPOINT ["train"]\n'
    await site.run()
    assert site.builder.dockerfiles == [f'FROM cuda@{CUDA}\nENTRYPOINT ["train"]\n']
    (workload,) = seen
    assert (workload.entry_point, workload.working_dir) == ((), "")
    (known,) = double.built.values()
    assert known.about["base"] == f"cuda:12@{CUDA}"
    assert known.about["dockerfile"] == "docker/gpu"

    double.submit("i2", double.items["i1"].spec)
    await site.run("i2")
    assert (len(site.tree.asked), len(site.builder.orders)) == (1, 1)


async def test_a_dockerfile_beside_the_program_is_found_and_gives_the_first_right_back(
    site, double, seen
):
    over = {"entry_point": ["python", "sub/train.py"]}
    site.tree.files |= {"sub/train.py": "", "sub/Dockerfile.wandb": "FROM cuda:12\nCOPY . .\n"}
    for name in ("i2", "i3"):
        double.submit(name, job(name, overrides=over))
    double.items["i1"].spec = job(overrides=over)
    await site.run("i1", "i2", "i3")
    assert [i.exit_code for i in double.items.values()] == [0, 0, 0]
    assert len(site.builder.orders) == 1
    assert site.builder.orders[0].context.name == "sub"
    assert all(w.entry_point == ("python", "train.py") for w in seen)
    (known,) = double.built.values()
    assert known.state == "READY"

    double.submit("i4", job("i4", overrides=over))
    site.tree.asked.clear()
    await site.run("i4")
    assert (site.tree.asked, len(site.builder.orders)) == ([], 1)


async def test_an_image_in_a_dockerfile_that_is_not_on_the_queues_list_is_refused(site, double):
    double.items["i1"].spec = job(overrides={"dockerfile": "Dockerfile"})
    double.items["i1"].images = ["python:*"]
    site.tree.files["Dockerfile"] = "FROM cuda:12\n"
    await site.run()
    failure = double.items["i1"].failure
    assert (failure.stage, failure.message.splitlines()[0]) == (
        "build", "image 'cuda:12' is not on the queue's list: python:*",
    )  # fmt: skip


async def test_a_missing_dockerfile_is_named(site, double):
    double.items["i1"].spec = job(overrides={"dockerfile": "docker/none"})
    await site.run()
    failure = double.items["i1"].failure
    assert failure.stage == "build"
    assert "'docker/none' is not in the job's files" in failure.message


# -- one engine's own images ---------------------------------------------------------------


async def test_without_a_destination_the_engines_own_image_runs_by_its_id(
    tmp_path, double, stage, seen
):
    site = Site(tmp_path, double, stage, destination=None)
    await site.run()
    (order,) = site.builder.orders
    assert not order.push
    assert order.target.repository == LOCAL
    assert seen[0].image == site.shelf.local[order.target.tagged]
    assert seen[0].login is None

    double.submit("i2", job("i2"))
    await site.run("i2")
    assert (len(site.builder.orders), seen[1].image) == (1, seen[0].image)
    assert not any(call.startswith(f"digest {LOCAL}") for call in site.registry.asked)


# -- secrets ---------------------------------------------------------------------------------


async def test_T14_a_builds_secrets_are_given_masked_and_no_business_of_the_workload(
    tmp_path, stage, seen
):
    class Giving(Double):
        def _move(self, m: Any) -> Moved:
            answer = super()._move(m)
            if not isinstance(m, Claim):
                return answer
            return Moved(run_token=RUN_TOKEN, secrets={"build:netrc": "s3cret-of-queue"})

    refs = {"netrc": {"entity": "ann", "name": "netrc"}}
    double = Giving(i1=job(build_secrets=refs))
    given = {"pip.conf": {"env": "PIP"}}
    site = Site(tmp_path, double, stage, secrets=given)
    site.lent = {"pip.conf": "s3cret-of-agent"}

    async def leaks(order: Any, log: Any) -> None:
        for secret in order.secrets:
            log(f"{secret.id}={secret.value}\n".encode())
        raise BuildFailed(f"bad {order.secrets[0].value}", lines=order.secrets[1].value)

    site.builder.step = leaks
    await site.run()
    item = double.items["i1"]
    said = item.build_log.decode() + item.failure.message + item.failure.detail
    assert "netrc=***************\npip.conf=***************\n" in said
    assert "s3cret" not in said
    (known,) = double.built.values()
    assert "s3cret" not in known.error
    (order,) = site.builder.orders
    assert "s3cret" not in repr(order)

    site.builder.step = prints(b"")
    double.submit("i2", job("i2", build_secrets=refs))
    await site.run("i2")
    assert seen[0].secrets == {"WANDB_API_KEY": RUN_TOKEN}


async def test_secrets_need_a_builder_that_mounts_them(tmp_path, double, stage):
    site = Site(tmp_path, double, stage, secrets={"netrc": {"env": "N"}})
    site.lent, site.builder.can_mount = {"netrc": "x"}, False
    await site.run()
    assert "this agent's builder cannot mount any" in double.items["i1"].failure.message
    assert site.builder.orders == []


async def test_the_agents_login_pulls_what_it_pushed(site, double, seen):
    site.registry.credentials = Login("registry.example.com", "agent", "s3cret")
    await site.run()
    assert site.registry.credentials in site.builder.orders[0].logins
    assert seen[0].login == site.registry.credentials


# -- ends ------------------------------------------------------------------------------------


async def test_packages_that_were_left_out_are_warned_of(site, double):
    site.builder.step = prints(f"#9 1.5 {MARK}nonesuch==1\n".encode())
    await site.run()
    assert double.items["i1"].exit_code == 0
    (warning,) = double.items["i1"].warnings
    assert "nonesuch==1 could not be installed" in warning


async def test_a_stop_ends_the_build(site, double, seen):
    building = asyncio.Event()

    async def forever(order: Any, log: Any) -> None:
        log(b"step 1\n")
        building.set()
        await asyncio.sleep(60)

    site.builder.step = forever
    async with site.at_work():
        attempt = site.attempt()
        task = asyncio.create_task(attempt.run())
        await building.wait()
        attempt.stop(5)
        await task
    item = double.items["i1"]
    assert item.failure.message == "stopped before it started"
    assert (site.builder.running, seen) == (0, [])
    assert b"step 1\n" in item.build_log
    assert not list(site.bench.workspaces._root.iterdir())


async def test_a_build_that_a_process_of_the_agent_began_is_begun_anew_by_the_next(
    tmp_path, double, stage
):
    first, building = Site(tmp_path, double, stage), asyncio.Event()

    async def forever(order: Any, log: Any) -> None:
        log(b"first try\n")
        building.set()
        await asyncio.sleep(60)

    first.builder.step = forever
    async with first.at_work():
        task = asyncio.create_task(first.attempt().run())
        await building.wait()
        await until(lambda: b"first try\n" in double.items["i1"].build_log)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    second = Site(tmp_path, double, stage)
    second.builder.step = prints(b"second try\n")
    await second.run()
    item = double.items["i1"]
    assert item.exit_code == 0
    log = item.build_log.decode()
    assert log.index("first try\n") < log.index("second try\n")
    assert log.count("building ") == 2


async def test_a_build_that_takes_too_long_is_given_up(tmp_path, double, stage, monkeypatch):
    site = Site(tmp_path, double, stage, timeout_s=10)
    settings = site.made.workshop.builds.settings.model_copy(update={"timeout_s": 0.05})
    site.made.workshop.builds = replace(site.made.workshop.builds, settings=settings)
    site.builder.step = prints(b"", after=60)
    await site.run()
    failure = double.items["i1"].failure
    assert failure.stage == "build"
    assert "builder.timeout_s" in failure.message
    (known,) = double.built.values()
    assert known.state == "FAILED"


async def test_a_build_that_outlasts_the_start_timeout_fails_those_who_wait_for_it(site, double):
    double.items["i1"].start_timeout = 1
    site.builder.step = prints(b"", after=60)
    await site.run()
    failure = double.items["i1"].failure
    assert (failure.stage, failure.host) == ("build", False)
    (known,) = double.built.values()
    assert known.state == "FAILED"
    assert known.error == "the workload was not running 1 s after the claim"


async def test_a_hosts_fault_is_told_of_the_item_and_not_of_the_image(site, double):
    site.builder.step = fails(HostFault("no space left on device"))
    await site.run()
    failure = double.items["i1"].failure
    assert (failure.stage, failure.host) == ("build", True)
    (known,) = double.built.values()
    assert known.state == "BUILDING"  # whose right ends with the attempt


async def test_a_source_that_cannot_be_had_fails_in_fetch_and_tells_those_who_wait(site, double):
    def gone() -> None:
        raise Rejected("no such commit")

    site.tree.act = gone
    await site.run()
    assert (double.items["i1"].failure.stage, double.items["i1"].failure.message) == (
        "fetch", "no such commit",
    )  # fmt: skip
    (known,) = double.built.values()
    assert known.error == "no such commit"


async def test_no_more_builds_at_once_than_the_agent_has_room_for(site, double):
    site.builder.step = prints(b"", after=0.05)
    names = [f"i{n}" for n in range(1, 6)]
    for name in names:
        source = {"kind": "code", "archive": f"sha256:{name[1] * 64}"}
        double.submit(name, job(name, source=source))
    await site.run(*names)
    assert len(site.builder.orders) == 5
    assert site.builder.most_running == 2


async def test_the_servers_lost_part_of_the_builds_log_is_sent_again(site, double, stage):
    stage.program = lambda _: runs_until_stopped(0)
    reached = asyncio.Event()

    async def talks(order: Any, log: Any) -> None:
        log(b"one\n")
        await until(lambda: b"one\n" in double.items["i1"].build_log)
        double.items["i1"].build_log.clear()
        log(b"two\n")
        reached.set()

    site.builder.step = talks
    async with site.at_work():
        task = asyncio.create_task(site.attempt().run())
        await until(lambda: stage.started)
        stage.acts["ry-i1-1"].asked_to_stop.set()
        await task
    log = double.items["i1"].build_log.decode()
    assert log.startswith("building ")
    assert "one\ntwo\n" in log
