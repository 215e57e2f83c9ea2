"""
The laws of `runyard.builders.base` as a pytest suite, for our builders and for yours.

    class TestMyBuilder(BuilderLaws):
        base = "registry.internal/python:3.11"       # an image with a POSIX shell and Python
        registry = "127.0.0.1:5000"                  # one that takes images from anybody

        @pytest.fixture
        def builder(self):
            return MyBuilder()

        def runs(self, image, command): ...          # what the command prints in that image
        def content(self, image): ...                # every layer and all that describes it

A builder that can be made unable to ask also provides `cut_off`; one whose steps mount no secrets
is not held to what is said of them, but to refusing them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.builders.base import Builder, BuildFailed, Order, Secret
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import ImageRef

_MANIFESTS = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)


class Log:
    """What a build printed; `shows` waits for a text in it."""

    def __init__(self) -> None:
        self.bytes = b""
        self._more = asyncio.Event()

    def __call__(self, part: bytes) -> None:
        self.bytes += part
        self._more.set()

    @property
    def text(self) -> str:
        return self.bytes.decode()

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.text:
                self._more.clear()
                await self._more.wait()


@pytest.mark.anyio
class BuilderLaws:
    """Subclass it in a test module; see the module's docstring."""

    base: str
    registry: str

    def runs(self, image: str, command: str) -> str:
        raise NotImplementedError("return what a shell command prints in a container of the image")

    def content(self, image: str) -> bytes:
        raise NotImplementedError("return all layers, unpacked to a tar, history and configuration")

    @pytest.fixture
    def builder(self) -> Builder:
        raise NotImplementedError("return a builder")

    @pytest.fixture
    def cut_off(self) -> Builder:
        pytest.skip("this builder can always ask")

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def log(self) -> Log:
        return Log()

    @pytest.fixture
    async def make(self, builder: Builder, tmp_path: Path) -> AsyncIterator[Make]:
        make = Make(tmp_path, self.base, self.registry)
        yield make
        for order in make.made:
            await builder.remove(order.target)
        await builder.close()

    @pytest.fixture
    def agent(self) -> Iterator[None]:
        """Something that runs on the builder's host with the agent's variables."""
        with subprocess.Popen(["sleep", "120"], env={**os.environ, "RUNYARD_API_KEY": OWN}) as own:
            yield
            own.kill()

    async def test_it_works_here(self, builder: Builder) -> None:
        await builder.check()

    async def test_its_place_does_not_change(self, builder: Builder) -> None:
        assert await builder.place() == await builder.place() != ""

    async def test_what_was_built_can_be_run(self, builder: Builder, make: Make, log: Log) -> None:
        order = make("RUN echo inside > /made", "COPY name /name", name="of the context")
        built = await builder.build(order, log=log)
        assert self.runs(built.run, "cat /made /name") == "inside\nof the context"
        assert built.image == order.target
        assert not made_public(order.target)

    async def test_what_was_not_pushed_is_found_by_its_name(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN echo found > /made")
        assert await builder.local(order.target.tagged) is None
        built = await builder.build(order, log=log)
        assert await builder.local(order.target.tagged) == built.run
        assert self.runs(order.target.tagged, "cat /made") == "found\n"

    async def test_what_was_removed_is_gone(self, builder: Builder, make: Make, log: Log) -> None:
        order = make("RUN echo gone > /made")
        await builder.build(order, log=log)
        await builder.remove(order.target)
        await builder.remove(order.target)
        assert await builder.local(order.target.tagged) is None

    async def test_what_was_pushed_is_in_the_registry_under_its_digest(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN echo pushed > /made", push=True)
        built = await builder.build(order, log=log)
        assert built.image == order.target.pinned(built.image.digest)
        assert built.run == f"{order.target.repository}@{built.image.digest}"
        assert made_public(order.target) == built.image.digest
        assert self.runs(built.run, "cat /made") == "pushed\n"
        await builder.remove(replace(built.image, tag=""))  # it may have been pulled to run

    async def test_the_same_order_twice_has_the_same_content(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("COPY name /name", "RUN cat /name > /made", name="same")
        assert (await builder.build(order, log=log)).run == (
            await builder.build(order, log=log)
        ).run

    async def test_a_fresh_build_runs_every_step_again(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN cat /proc/sys/kernel/random/uuid > /made")
        first = (await builder.build(order, log=log)).run
        assert (await builder.build(order, log=log)).run == first
        assert (await builder.build(replace(order, fresh=True), log=log)).run != first

    async def test_all_that_the_steps_print_is_passed_on_in_order(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN i=0; while [ $i -lt 500 ]; do echo line-$i-; i=$((i+1)); done; "
                     "printf 'the \\033[31mend' >&2")  # fmt: skip
        await builder.build(order, log=log)
        at = [log.text.index(f"line-{number}-") for number in range(500)]
        assert at == sorted(at)
        assert "the end" in log.text
        assert b"\x1b" not in log.bytes

    async def test_a_step_that_fails_is_named_and_nothing_is_pushed(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN echo first", "RUN echo the reason; exit 3", push=True)
        with pytest.raises(BuildFailed) as caught:
            await builder.build(order, log=log)
        assert caught.value.step == "RUN echo the reason; exit 3"
        assert "the reason" in caught.value.lines
        assert "first" not in caught.value.lines
        assert "3" in caught.value.message
        assert "\n" not in caught.value.message
        assert made_public(order.target) is None
        assert await builder.local(order.target.tagged) is None

    async def test_a_registry_that_is_away_is_no_failure_of_the_build(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN echo away", push=True)
        there = replace(order.target, repository="127.0.0.1:1/nobody/there")
        order = replace(order, target=there, insecure=frozenset({"127.0.0.1:1"}))
        make.made.append(order)
        with pytest.raises(Unavailable):
            await builder.build(order, log=log)

    async def test_not_being_able_to_ask_is_no_answer(self, cut_off: Builder, make: Make) -> None:
        with pytest.raises(Unavailable):
            await cut_off.local(self.base)
        with pytest.raises(Unavailable):
            await cut_off.place()
        with pytest.raises(Unavailable):
            await cut_off.build(make("RUN echo nobody"), log=Log())
        with pytest.raises(Rejected):
            await cut_off.check()

    async def test_cancelling_a_build_ends_what_it_started(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        mark = f"600.{secrets.randbelow(10**9):09}"
        order = make(f"RUN echo up; sleep {mark}", push=True)
        building = asyncio.create_task(builder.build(order, log=log))
        await log.shows("up\n")
        await until(mark, runs=True)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        await until(mark, runs=False)
        assert made_public(order.target) is None

    async def test_a_secret_is_mounted_and_stays_nowhere(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        word = f"s3cret-{secrets.token_hex(8)}"
        if not await builder.mounts():
            with pytest.raises(Rejected):
                await builder.build(make("RUN echo", secrets=(Secret("token", word),)), log=log)
            return
        order = make(
            "RUN --mount=type=secret,id=token"
            " tr -d '\\n' < /run/secrets/token | wc -c > /made; echo up; sleep 2",
            secrets=(Secret("token", word),),
        )
        building = asyncio.create_task(builder.build(order, log=log))
        await log.shows("up\n")
        seen = await asyncio.to_thread(command_lines)
        built = await building
        assert self.runs(built.run, "cat /made").strip() == str(len(word))
        content = await asyncio.to_thread(self.content, built.run)
        assert b"/made" in content  # it really has the layers and the history
        assert word.encode() not in content
        assert word not in log.text
        assert word not in repr(order)
        assert order.target.tag in seen
        assert word not in seen

    async def test_what_a_secret_made_is_not_another_teams(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        if not await builder.mounts():
            pytest.skip("its steps mount nothing")
        step = "RUN --mount=type=secret,id=token cat /run/secrets/token > /made || true"
        one = make(step, secrets=(Secret("token", "of-one"),))
        other = replace(one, team="other", secrets=())
        assert self.runs((await builder.build(one, log=log)).run, "cat /made") == "of-one"
        assert self.runs((await builder.build(other, log=log)).run, "cat /made") == ""

    async def test_what_a_dockerfile_says_of_its_team_is_not_believed(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN head -c 8 /dev/urandom | od -x > /made")
        text = order.dockerfile.read_text()
        pretending = order.dockerfile.with_name("Dockerfile.pretending")
        pretending.write_text(text.replace("\nENV", "\nENV RUNYARD_TEAM=one\nENV"))
        other = replace(order, team="other", dockerfile=pretending)
        first = self.runs((await builder.build(order, log=log)).run, "cat /made")
        assert self.runs((await builder.build(other, log=log)).run, "cat /made") != first

    async def test_a_cache_is_its_teams(self, builder: Builder, make: Make, log: Log) -> None:
        if not await builder.mounts():
            pytest.skip("its steps mount nothing")
        cache = f"/cache-{secrets.token_hex(4)}"
        step = f"RUN --mount=type=cache,target={cache} ls {cache} > /made; touch {cache}/"
        for team, name, found in (("one", "a", ""), ("one", "b", "a\n"), ("two", "c", "")):
            order = replace(make(step + name), team=team)
            built = await builder.build(order, log=log)
            assert self.runs(built.run, "cat /made") == found

    @pytest.mark.usefixtures("agent")
    async def test_a_build_sees_nothing_of_the_agents_environment(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = make("RUN env > /made; cat /proc/[0-9]*/environ >> /made || true")
        built = await builder.build(order, log=log)
        assert OWN not in self.runs(built.run, "cat /made")
        assert "RUNYARD_TEAM" in self.runs(built.run, "cat /made")

    async def test_labels_are_written_into_the_image(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        order = replace(make("RUN echo"), labels={"io.runyard.test": "two words"})
        built = await builder.build(order, log=log)
        assert b"two words" in self.content(built.run)


OWN = "a-variable-of-the-agent"  # the value of one that `builder` has in its own environment


class Make:
    """Makes orders: a Dockerfile outside of its context, and a name, that nobody has had before."""

    def __init__(self, path: Path, base: str, registry: str) -> None:
        self.made: list[Order] = []
        self._path, self._base, self._registry = path, base, registry

    def __call__(
        self, *steps: str, push: bool = False, secrets: tuple[Secret, ...] = (), **files: str
    ) -> Order:
        place = self._path / f"order-{len(self.made)}"
        context = place / "context"
        context.mkdir(parents=True)
        for name, text in files.items():
            (context / name).write_text(text)
        dockerfile = place / "Dockerfile.made"
        dockerfile.write_text(
            "\n".join((f"FROM {self._base}", f"ENV LAWS={token()}", *steps)) + "\n"
        )
        order = Order(
            context, dockerfile, ImageRef(f"{self._registry}/runyard-laws", token()),
            push=push, team="one", secrets=secrets, insecure=frozenset({self._registry}),
        )  # fmt: skip
        self.made.append(order)
        return order


def token() -> str:
    return secrets.token_hex(8)


def made_public(target: ImageRef) -> str | None:
    """Return the digest that the registry has under a tag, None if it has none."""
    address = f"http://{target.registry}/v2/{target.path}/manifests/{target.tag}"
    request = urllib.request.Request(address, method="HEAD", headers={"Accept": _MANIFESTS})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            digest: str = answer.headers["Docker-Content-Digest"]
            return digest
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def command_lines() -> str:
    """Return the arguments of all that runs on this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended
            continue
    return "\n".join(lines)


async def until(mark: str, *, runs: bool) -> None:
    """Wait until a program of that mark runs, or none does any more."""

    def is_running() -> bool:
        return f"sleep {mark}" in command_lines()

    async with asyncio.timeout(30):
        while await asyncio.to_thread(is_running) is not runs:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.2)
