"""What is particular to containers, on a real engine. See `tests/contract/test_docker.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiodocker
import pytest

from runyard.clouds.docker_config import HUB
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.workloads import Handle, Mount, Observation, Phase, Workload
from runyard.drivers.docker import DockerDriver
from runyard.drivers.docker_request import KEY_LABEL, ROOT_LABEL
from runyard.drivers.docker_settings import DockerSettings, Pull

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
IMAGE = "python:3.11-slim"
REGISTRY = "127.0.0.1:5000"  # with the same image, where CI runs
NOW = timedelta()


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[DockerDriver]:
    (tmp_path / "data").mkdir()
    driver = DockerDriver(tmp_path / "agent", DockerSettings(pull=Pull.MISSING), host_env={})
    yield driver
    for handle in await driver.leftovers(()):
        await driver.discard(handle)
    await driver.close()


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    async with aiodocker.Docker("unix:///var/run/docker.sock") as engine:
        yield engine


def python(key: str, code: str) -> Workload:
    return Workload(key, ("python",), ("-c", code), image=IMAGE)


async def end(driver: DockerDriver, handle: Handle) -> Observation:
    async with asyncio.timeout(60), aclosing(driver.watch(handle)) as seen:
        return [each async for each in seen][-1]


async def output(driver: DockerDriver, workload: Workload) -> bytes:
    handle = await driver.submit(workload)
    async with asyncio.timeout(60), aclosing(driver.logs(handle)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.fixture
async def image_with_entry_point(engine: aiodocker.Docker, key: str) -> AsyncIterator[str]:
    box = await engine.containers.create({"Image": IMAGE}, name=f"{key}-base")
    await box.commit(repository=f"runyard-{key}", changes='ENTRYPOINT ["echo", "image says"]')
    yield f"runyard-{key}:latest"
    await box.delete(force=True)
    await engine.images.delete(f"runyard-{key}:latest", force=True)


async def test_the_jobs_entry_point_replaces_the_images_own(
    driver: DockerDriver, key: str, image_with_entry_point: str
) -> None:
    asked = Workload(key, ("python", "-c"), ("print(6*7)",), image=image_with_entry_point)
    assert await output(driver, asked) == b"42\n"


async def test_without_one_the_image_keeps_its_own_and_gets_the_args(
    driver: DockerDriver, key: str, image_with_entry_point: str
) -> None:
    asked = Workload(key, args=("hello",), image=image_with_entry_point)
    assert await output(driver, asked) == b"image says hello\n"


async def test_the_jobs_files_are_mounted_and_what_it_writes_stays(
    driver: DockerDriver, key: str, tmp_path: Path
) -> None:
    (tmp_path / "job" / "src").mkdir(parents=True)
    (tmp_path / "job" / "src" / "hello.txt").write_text("hello")
    code = "import os; print(os.getcwd(), open('hello.txt').read()); open('new', 'w')"
    asked = replace(python(key, code), directory=str(tmp_path / "job"), working_dir="src")
    assert await output(driver, asked) == b"/mnt/wandb/src hello\n"
    assert (tmp_path / "job" / "src" / "new").exists()


async def test_a_volume_is_mounted_and_told_of_and_only_read_where_it_is_said(
    driver: DockerDriver, key: str, tmp_path: Path
) -> None:
    mount = Mount("data", str(tmp_path / "data"), "/data", env=("DATA",))
    code = "import os; open(os.environ['DATA'] + '/x', 'w').write('1'); print('done')"
    assert await output(driver, replace(python(key, code), mounts=(mount,))) == b"done\n"
    assert (tmp_path / "data" / "x").read_text() == "1"
    other = replace(python(f"{key}-ro", code), mounts=(replace(mount, read_only=True),))
    assert b"Read-only file system" in await output(driver, other)


async def test_limits_arrive_in_the_container(driver: DockerDriver, key: str) -> None:
    code = "import resource, os; print(resource.getrlimit(7), os.statvfs('/dev/shm').f_blocks)"
    config = {"ulimit": ["nofile=100:200"], "shm_size": "8m", "cpus": 0.5, "pids-limit": 50}
    out = await output(driver, replace(python(key, code), config=config))
    assert out == b"(100, 200) 2048\n"


async def test_running_out_of_memory_is_said_with_the_limit(driver: DockerDriver, key: str) -> None:
    limits = {"memory": "64m", "memory-swap": "64m"}
    asked = replace(python(key, "x = b'x' * (500 << 20)"), config=limits)
    seen = await end(driver, await driver.submit(asked))
    assert seen == Observation(Phase.EXITED, 137, "out of memory (limit 64 MiB)")


async def test_a_command_that_does_not_exist_says_so(driver: DockerDriver, key: str) -> None:
    asked = Workload(key, ("no-such-program",), image=IMAGE)
    assert b"no-such-program" in await output(driver, asked)
    assert (await end(driver, await driver.submit(asked))).exit_code == 127


async def test_what_the_engine_cannot_start_is_rejected_and_leaves_nothing(
    driver: DockerDriver, key: str, tmp_path: Path
) -> None:
    asked = Workload(key, ("true",), image=IMAGE, config={"cpuset-cpus": "4000"})
    with pytest.raises(Rejected, match=r"4000|CPUs"):
        await driver.submit(asked)
    bare = DockerDriver(tmp_path / "agent", DockerSettings(pull=Pull.MISSING, init=False))
    with pytest.raises(Rejected, match="no-such-program"):
        await bare.submit(Workload(key, ("no-such-program",), image=IMAGE))
    assert await bare.leftovers(()) == []
    await bare.close()


async def test_an_image_that_cannot_be_had_is_rejected_in_the_engines_words(
    driver: DockerDriver, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(driver, monkeypatch, "registry.example:5000")
    image = f"127.0.0.1:1/nobody/{key}"
    with pytest.raises(Rejected, match="connection refused") as caught:
        await driver.submit(Workload(key, image=image))
    assert image in caught.value.message
    with pytest.raises(Rejected, match="reference"):
        await driver.submit(Workload(key, image="No Such:Image"))


@pytest.mark.parametrize("known", [("127.0.0.1:1", "other"), ()])
async def test_a_registry_that_worked_before_and_is_out_of_reach_is_the_hosts_fault(
    driver: DockerDriver, key: str, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...]
) -> None:
    """So it is where no registry ever worked."""
    know(driver, monkeypatch, *known)
    with pytest.raises(HostFault, match="connection refused"):
        await driver.submit(Workload(key, image=f"127.0.0.1:1/nobody/{key}"))


async def test_the_engine_knows_where_its_images_came_from(driver: DockerDriver) -> None:
    assert all("/" not in registry for registry in await driver._images.registries() - {HUB})


def know(driver: DockerDriver, monkeypatch: pytest.MonkeyPatch, *registries: str) -> None:
    async def known() -> set[str]:
        return set(registries)

    monkeypatch.setattr(driver._images, "registries", known)


async def test_a_registry_that_is_down_is_no_obstacle_to_a_local_copy(
    tmp_path: Path, key: str, engine: aiodocker.Docker
) -> None:
    image = f"127.0.0.1:1/{key}"
    await engine.images.tag(IMAGE, repo=image, tag="latest")
    driver = DockerDriver(tmp_path / "agent", DockerSettings(pull=Pull.ALWAYS))
    try:
        asked = Workload(key, ("echo", "local"), image=f"{image}:latest")
        assert await output(driver, asked) == b"local\n"
        await driver.discard((await driver.leftovers(()))[0])  # type: ignore[index]
    finally:
        await driver.close()
        await engine.images.delete(f"{image}:latest")


async def test_a_missing_image_is_not_pulled_where_the_settings_say_never(
    tmp_path: Path, key: str
) -> None:
    driver = DockerDriver(tmp_path / "agent", DockerSettings(pull=Pull.NEVER))
    with pytest.raises(Rejected, match="never"):
        await driver.submit(Workload(key, image=f"nobody/{key}"))
    await driver.close()


async def test_an_image_is_pulled_when_it_is_not_there(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    try:
        socket.create_connection(REGISTRY.split(":"), timeout=1).close()  # type: ignore[arg-type]
    except OSError:
        pytest.skip(f"no registry on {REGISTRY}")
    image = f"{REGISTRY}/{IMAGE}"
    with contextlib.suppress(aiodocker.DockerError):
        await engine.images.delete(image)
    assert await output(driver, Workload(key, ("echo", "pulled"), image=image)) == b"pulled\n"


async def test_a_container_that_its_creator_never_started_is_started_by_the_next(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    await create_only(driver, engine, python(key, "print('once')"))
    assert await output(driver, python(key, "print('once')")) == b"once\n"


async def test_a_stop_that_overtakes_the_start_prevents_it(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    await create_only(driver, engine, python(key, "print('never')"))
    (handle,) = await driver.leftovers(())
    await driver.stop(handle, grace=NOW)
    assert (await end(driver, handle)).phase is Phase.GONE


async def create_only(driver: DockerDriver, engine: aiodocker.Docker, asked: Workload) -> None:
    """Do what an agent does that dies between creating and starting."""
    request = dict(driver.render(asked))
    await engine.containers.create(request, name=asked.key)


async def test_a_program_that_handles_no_signal_leaves_when_it_is_asked(
    driver: DockerDriver, key: str
) -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    handle = await driver.submit(python(key, code))
    async with aclosing(driver.logs(handle)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(10):
        await driver.stop(handle, grace=timedelta(seconds=60))
    assert (await end(driver, handle)).exit_code == 143


async def test_a_strangers_container_of_that_name_is_left_alone(
    driver: DockerDriver, key: str, engine: aiodocker.Docker
) -> None:
    stranger = await engine.containers.create({"Image": IMAGE}, name=key)
    with pytest.raises(Rejected, match="did not make"):
        await driver.submit(python(key, "pass"))
    assert await driver.leftovers(()) == []
    await stranger.delete()


async def test_an_engine_that_goes_away_in_the_middle_is_no_answer(
    tmp_path: Path, key: str
) -> None:
    async with wire(tmp_path / "wire.sock") as cut:
        settings = DockerSettings(host=f"unix://{tmp_path}/wire.sock", pull=Pull.MISSING)
        driver = DockerDriver(tmp_path / "agent", settings)
        handle = await driver.submit(
            python(key, "import time; print(1, flush=True); time.sleep(2); exit(4)")
        )
        watching = asyncio.create_task(end(driver, handle))
        async with aclosing(driver.logs(handle)) as chunks:
            assert await anext(chunks) == b"1\n"
            await cut()
            with pytest.raises(Unavailable):
                await anext(chunks)
        with pytest.raises(Unavailable):
            await watching
        assert (await end(driver, handle)).exit_code == 4
        await driver.discard(handle)
        await driver.close()


@contextlib.asynccontextmanager
async def wire(path: Path):  # type: ignore[no-untyped-def]
    """A socket in front of the engine's; yields a function that drops all connections."""
    open_: list[asyncio.StreamWriter] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection("/var/run/docker.sock")
        open_.extend((writer, back))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    async def cut() -> None:
        for writer in open_:
            writer.transport.abort()
        open_.clear()

    server = await asyncio.start_unix_server(serve, path)
    yield cut
    server.close()
    await cut()
    await asyncio.sleep(0.05)


async def test_an_engine_says_where_its_disk_is(driver: DockerDriver) -> None:
    (disk,) = await driver.disks()
    assert disk.is_dir()
    assert (disk / "image").exists() or (disk / "containerd").exists() or any(disk.iterdir())


async def test_a_runtime_that_is_not_there_is_the_hosts_fault(
    key: str, engine: aiodocker.Docker, driver: DockerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real words of a real engine: a device driver that this host has not."""
    request = {
        "Image": IMAGE,
        "HostConfig": {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]},
        "Labels": {KEY_LABEL: key, ROOT_LABEL: driver._root_id()},
    }
    with pytest.raises(HostFault, match=r"(?i)device driver|cdi|nvidia"):
        await driver._bring_up(key, request, None, Workload(key, image=IMAGE))


async def test_a_program_that_is_not_in_the_image_is_the_jobs_fault(
    driver: DockerDriver, key: str
) -> None:
    """The engine's own small init starts it, so it is seen as an end, like any other."""
    seen = await end(driver, await driver.submit(Workload(key, ("nowhere",), image=IMAGE)))
    assert (seen.phase, seen.exit_code) == (Phase.EXITED, 127)
