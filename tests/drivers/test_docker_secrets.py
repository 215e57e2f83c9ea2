"""How secrets get into containers, on a real engine, and where they are not seen."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import aiodocker
import pytest

from runyard.domain.workloads import Handle, Phase, Workload
from runyard.drivers.docker import DockerDriver
from runyard.drivers.docker_secrets import NO_SHELL, PLACE
from runyard.drivers.docker_settings import DockerSettings, Pull

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
IMAGE = "python:3.11-slim"
VALUE = "s3cret: 'two' \"lines\"\n$(id)\\\n"
SHOW = "import json, os; print(json.dumps([os.environ['TOKEN'], os.getuid()]))"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[DockerDriver]:
    driver = make(tmp_path)
    yield driver
    for handle in await driver.leftovers(()):
        await driver.stop(handle, grace=timedelta())
        await driver.discard(handle)
    await driver.close()


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker("unix:///var/run/docker.sock") as engine:
        yield engine


@pytest.fixture
async def shell_less(engine: aiodocker.Docker, key: str) -> AsyncIterator[str]:
    """An image whose program reads files, and that has no shell."""
    remove = ["python", "-c", "import os; os.remove('/bin/sh')"]
    box = await engine.containers.create({"Image": IMAGE, "Cmd": remove}, name=f"{key}-base")
    await box.start()
    await box.wait()
    show = "import os, sys; sys.stdout.write(open(os.environ['TOKEN_FILE']).read())"
    changes = "CMD " + json.dumps(["python", "-c", show])
    await box.commit(repository=f"runyard-{key}", changes=changes)
    yield f"runyard-{key}:latest"
    await box.delete(force=True)
    await engine.images.delete(f"runyard-{key}:latest", force=True)


def make(root: Path, **more: object) -> DockerDriver:
    settings = DockerSettings(pull=Pull.MISSING, user=True, **more)  # type: ignore[arg-type]
    return DockerDriver(root / "agent", settings, host_env={})


def asks(key: str, code: str = SHOW, **config: object) -> Workload:
    return Workload(
        key, ("python",), ("-c", code), image=IMAGE, secrets={"TOKEN": VALUE}, config=config
    )


async def output(driver: DockerDriver, handle: Handle) -> bytes:
    async with asyncio.timeout(60), aclosing(driver.logs(handle)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def printed(driver: DockerDriver, handle: Handle) -> None:
    async with asyncio.timeout(60), aclosing(driver.logs(handle)) as chunks:
        async for _ in chunks:
            return


def files(driver: DockerDriver, key: str) -> Path:
    return driver._vault().directory(key)


@pytest.mark.parametrize("user", [None, "12345:6789"])
async def test_T14_the_program_gets_its_secret_whoever_it_runs_as(
    driver: DockerDriver, key: str, user: str | None
) -> None:
    asked = asks(key, **({"user": user} if user else {}))
    handle = await driver.submit(asked)
    assert json.loads(await output(driver, handle)) == [VALUE, 12345 if user else 0]


async def test_T14_an_engine_tells_nobody_of_a_secret(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    handle = await driver.submit(asks(key, f"print('up', flush=True); {SHOW}; input()"))
    await printed(driver, handle)
    told = json.dumps(await engine.containers.container(key).show())
    assert PLACE in told
    assert "s3cret" not in told


async def test_T14_the_files_are_the_agents_alone_and_go_with_the_workload(
    driver: DockerDriver, key: str, tmp_path: Path
) -> None:
    code = "import os, time; print(os.listdir('/run/runyard/secrets'), flush=True); time.sleep(60)"
    handle = await driver.submit(asks(key, code))
    await printed(driver, handle)
    there = files(driver, key)
    assert (there / "TOKEN").read_text() == VALUE
    agents_own = there.parents[2]
    assert agents_own.stat().st_mode & 0o077 == 0
    assert "/dev/shm" in str(there)
    later = make(tmp_path)  # a restarted agent
    await later.stop(handle, grace=timedelta())
    assert there.exists()
    await later.discard(handle)
    assert not there.parent.exists()
    await later.close()


async def test_an_image_keeps_its_own_entry_point_behind_the_shell(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    box = await engine.containers.create({"Image": IMAGE}, name=f"{key}-base")
    name = f"runyard-own-{key}"
    show = ["python", "-c", "import os, sys; sys.stdout.write(os.environ[sys.argv[1]])"]
    await box.commit(repository=name, changes="ENTRYPOINT " + json.dumps(show))
    try:
        asked = Workload(key, args=("TOKEN",), image=f"{name}:latest", secrets={"TOKEN": VALUE})
        handle = await driver.submit(asked)
        assert await output(driver, handle) == VALUE.encode()
        await driver.discard(handle)
    finally:
        await box.delete(force=True)
        await engine.images.delete(f"{name}:latest", force=True)


async def test_without_a_shell_there_are_files_and_a_warning(
    driver: DockerDriver, key: str, engine: aiodocker.Docker, shell_less: str
) -> None:
    asked = Workload(key, image=shell_less, secrets={"TOKEN": VALUE})
    for _ in range(2):  # the second time it is known of the image
        handle = await driver.submit(asked)
        assert handle.warnings == (NO_SHELL,)
        assert await output(driver, handle) == VALUE.encode()
        told = await engine.containers.container(key).show()
        assert f"TOKEN_FILE={PLACE}/TOKEN" in told["Config"]["Env"]
        assert "s3cret" not in json.dumps(told)
        await driver.discard(handle)


async def test_an_engine_that_sees_no_file_of_ours_gets_copies(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    driver._copies = True
    handle = await driver.submit(asks(key, f"print('up', flush=True); {SHOW}", user="12345"))
    assert json.loads((await output(driver, handle)).splitlines()[1]) == [VALUE, 12345]
    assert "s3cret" not in json.dumps(await engine.containers.container(key).show())
    assert key not in driver._vault().workloads()


async def test_a_start_that_was_cut_short_is_finished_with_the_secrets(
    driver: DockerDriver, key: str
) -> None:
    start = driver._start

    async def cut(key: str) -> None:
        raise asyncio.CancelledError

    driver._start = cut  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await driver.submit(asks(key))
    driver._start = start  # type: ignore[method-assign]
    driver._vault().remove(key)  # as after a restart of the machine
    (files(driver, key)).mkdir(parents=True)
    handle = await driver.submit(asks(key))
    assert json.loads(await output(driver, handle)) == [VALUE, 0]


async def test_files_without_a_container_are_left_overs(driver: DockerDriver, key: str) -> None:
    driver._vault().write(key, {"TOKEN": VALUE})
    (left,) = await driver.leftovers(())
    assert left.data["key"] == key
    assert list(await driver.leftovers({key})) == []
    await driver.stop(left, grace=timedelta())
    await driver.discard(left)
    assert list(await driver.leftovers(())) == []


async def test_what_cannot_be_started_leaves_no_secret(driver: DockerDriver, key: str) -> None:
    from runyard.domain.errors import Rejected

    with pytest.raises(Rejected):
        await driver.submit(asks(key, **{"cpuset-cpus": "4000"}))
    assert key not in driver._vault().workloads()


async def test_an_ended_container_is_not_started_again_by_a_second_submission(
    driver: DockerDriver, key: str
) -> None:
    handle = await driver.submit(asks(key))
    await output(driver, handle)
    assert await driver.submit(asks(key)) == handle
    async with aclosing(driver.watch(handle)) as seen:
        assert [each.phase async for each in seen] == [Phase.EXITED]
