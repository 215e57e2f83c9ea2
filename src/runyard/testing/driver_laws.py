"""
The laws of `runyard.drivers.base` as a pytest suite, for our drivers and for yours.

    class TestMyDriver(DriverLaws):
        @pytest.fixture
        def connect(self, tmp_path):
            return lambda: MyDriver(tmp_path)        # called again: a restarted agent

        def shell(self, script, key):
            return Workload(key, image="alpine", entry_point=("/bin/sh", "-c", script))

`connect` makes a new driver on the same backend each time; the suite closes it. `shell`
makes a workload that runs a POSIX shell script. A driver whose backend can be made
unreachable also provides `cut_off`, a driver that cannot reach it. Marking the classes
`anyio` needs only the pytest plug-in that comes with anyio.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta

import pytest

from runyard.domain.errors import Unavailable
from runyard.domain.workloads import Handle, Observation, Phase, Workload
from runyard.drivers.base import Driver

Connect = Callable[[], Driver]
SOON = timedelta(seconds=1)
NO_GRACE = timedelta()


@pytest.mark.anyio
class DriverLaws:
    """Subclass it in a test module; see the module's docstring."""

    patience = 60.0  # seconds for one test; slow backends raise it
    keeps_bytes = True  # False: the backend's log is text, and other bytes are replaced in it

    def shell(self, script: str, key: str) -> Workload:
        raise NotImplementedError("return a workload that runs this shell script")

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError("return a function that makes a driver")

    @pytest.fixture
    def cut_off(self) -> Driver:
        pytest.skip("this backend is always there")

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def key(self) -> str:
        return f"law-{secrets.token_hex(6)}"

    @pytest.fixture
    async def make(self, connect: Connect, key: str) -> AsyncIterator[Connect]:
        """`connect`, with everything that it made put away again at the end."""
        made: list[Driver] = []

        def make() -> Driver:
            made.append(connect())
            return made[-1]

        yield make
        cleaner = make()
        for handle in await cleaner.leftovers(()):
            if handle.data.get("key", key) == key:
                await cleaner.stop(handle, grace=NO_GRACE)
                await cleaner.discard(handle)
        for driver in made:
            await driver.close()

    @pytest.mark.parametrize("code", [0, 3, 137])
    async def test_watch_ends_with_the_exit_code(self, make: Connect, key: str, code: int) -> None:
        driver = make()
        observations = await self.seen(driver, await driver.submit(self.shell(f"exit {code}", key)))
        assert observations[-1].phase is Phase.EXITED
        assert observations[-1].exit_code == code
        assert [o.phase.is_final for o in observations].count(True) == 1

    async def test_the_present_comes_first_and_then_the_changes(
        self, make: Connect, key: str
    ) -> None:
        driver = make()
        handle = await driver.submit(self.shell("echo up; sleep 2", key))
        await self.printed(driver, handle)
        phases = [o.phase for o in await self.seen(driver, handle)]
        assert phases == [Phase.RUNNING, Phase.EXITED]

    async def test_submitting_a_key_again_starts_nothing(self, make: Connect, key: str) -> None:
        workload = self.shell("echo ran", key)
        driver = make()
        first = await driver.submit(workload)
        again = await make().submit(workload)
        await self.seen(driver, first)
        after = await make().submit(workload)
        assert first == again == after
        assert await self.output(make(), after) == b"ran\n"

    async def test_submitting_a_key_many_times_at_once_starts_one(
        self, make: Connect, key: str
    ) -> None:
        workload = self.shell("echo ran; sleep 0.2", key)
        one, other = make(), make()
        handles = await asyncio.gather(*(d.submit(workload) for d in (one, one, other, one)))
        assert all(handle == handles[0] for handle in handles)
        assert await self.output(one, handles[0]) == b"ran\n"

    async def test_another_process_can_take_over(self, make: Connect, key: str) -> None:
        handle = over_the_wire(await make().submit(self.shell("echo out; sleep 0.3; exit 7", key)))
        assert (await self.seen(make(), handle))[-1].exit_code == 7
        assert await self.output(make(), handle, offset=1) == b"ut\n"
        assert (await self.seen(make(), handle))[-1].exit_code == 7

    async def test_logs_follow_to_the_last_byte(self, make: Connect, key: str) -> None:
        driver = make()
        script = "echo one; sleep 0.3; echo two >&2; sleep 0.3; printf three"
        handle = await driver.submit(self.shell(script, key))
        assert await self.output(driver, handle) == b"one\ntwo\nthree"
        assert await self.output(driver, handle, offset=8) == b"three"
        assert await self.output(driver, handle, offset=13) == b""

    async def test_a_chatty_workload_arrives_intact(self, make: Connect, key: str) -> None:
        lines, width = 50_000, 100
        script = f"yes {'x' * (width - 1)} | head -n {lines}; echo end"
        driver = make()
        handle = await driver.submit(self.shell(script, key))
        got = await self.output(driver, handle)
        assert len(got) == lines * width + 4
        assert got == (b"x" * (width - 1) + b"\n") * lines + b"end\n"
        assert await self.output(driver, handle, offset=lines * width) == b"end\n"

    async def test_bytes_that_are_no_text_arrive_as_they_are(self, make: Connect, key: str) -> None:
        driver = make()
        handle = await driver.submit(self.shell(r"printf 'a\377\000\r\033[1mb'", key))
        mark = b"\xff" if self.keeps_bytes else "\N{REPLACEMENT CHARACTER}".encode()
        assert await self.output(driver, handle) == b"a" + mark + b"\x00\r\x1b[1mb"

    @pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["polite", "stubborn"])
    async def test_stop_ends_it_and_can_be_repeated(
        self, make: Connect, key: str, trap: str
    ) -> None:
        driver = make()
        script = f"{trap}echo up; while :; do sleep 0.1; done"
        handle = await driver.submit(self.shell(script, key))
        await self.printed(driver, handle)
        await driver.stop(handle, grace=SOON)
        assert (await self.seen(driver, handle))[0].phase is Phase.EXITED
        await make().stop(handle, grace=SOON)

    async def test_what_is_asked_to_stop_may_use_its_grace(self, make: Connect, key: str) -> None:
        driver = make()
        script = "trap 'echo saved; exit 4' TERM; echo up; while :; do sleep 0.1; done"
        handle = await driver.submit(self.shell(script, key))
        await self.printed(driver, handle)
        await driver.stop(handle, grace=timedelta(seconds=20))
        assert (await self.seen(driver, handle))[-1].exit_code == 4
        assert (await self.output(driver, handle)).endswith(b"saved\n")

    async def test_stop_leaves_no_descendant_behind(self, make: Connect, key: str) -> None:
        driver = make()
        script = "(trap '' TERM; while :; do echo tick; sleep 0.1; done) & echo up; wait"
        handle = await driver.submit(self.shell(script, key))
        await self.printed(driver, handle)
        await driver.stop(handle, grace=NO_GRACE)
        before = await self.output(driver, handle)
        await asyncio.sleep(0.4)
        assert await self.output(driver, handle) == before

    async def test_stopping_right_after_submitting_is_final(self, make: Connect, key: str) -> None:
        driver = make()
        handle = await driver.submit(self.shell("sleep 600", key))
        await driver.stop(handle, grace=NO_GRACE)
        assert (await self.seen(driver, handle))[0].phase.is_final

    async def test_stopping_what_has_ended_is_a_success(self, make: Connect, key: str) -> None:
        driver = make()
        handle = await driver.submit(self.shell("exit 5", key))
        await self.seen(driver, handle)
        await driver.stop(handle, grace=SOON)
        assert (await self.seen(driver, handle))[-1].exit_code == 5

    async def test_what_was_discarded_is_gone_and_no_success(self, make: Connect, key: str) -> None:
        driver = make()
        handle = await driver.submit(self.shell("exit 0", key))
        await self.seen(driver, handle)
        await driver.discard(handle)
        await driver.discard(handle)
        assert [o.phase for o in await self.seen(driver, handle)] == [Phase.GONE]
        assert await self.output(driver, handle) == b""
        await driver.stop(handle, grace=SOON)

    async def test_leftovers_are_what_nobody_keeps(self, make: Connect, key: str) -> None:
        handle = await make().submit(self.shell("exit 0", key))
        assert handle in await make().leftovers(())
        assert handle not in await make().leftovers({key})
        await self.seen(make(), handle)
        await make().discard(handle)
        assert handle not in await make().leftovers(())

    async def test_cancelling_those_who_look_leaves_the_workload_alone(
        self, make: Connect, key: str
    ) -> None:
        driver = make()
        handle = await driver.submit(self.shell("echo up; sleep 2; exit 5", key))
        await self.printed(driver, handle)
        lookers = [
            asyncio.create_task(self.seen(driver, handle)),
            asyncio.create_task(self.output(driver, handle)),
        ]
        await asyncio.sleep(0.1)
        for looker in lookers:
            looker.cancel()
        await asyncio.wait(lookers)
        assert all(looker.cancelled() for looker in lookers)
        assert (await self.seen(driver, handle))[-1].exit_code == 5

    async def test_rendering_shows_the_request_but_no_secret(self, make: Connect, key: str) -> None:
        workload = dataclasses.replace(
            self.shell("exit 0", key), env={"SHOWN": "a-value"}, secrets={"TOKEN": "s3cret-word"}
        )
        shown = json.dumps(make().render(workload))
        assert "a-value" in shown
        assert "TOKEN" in shown
        assert "s3cret-word" not in shown + repr(workload)

    async def test_the_workload_sees_its_variables_and_its_secrets(
        self, make: Connect, key: str
    ) -> None:
        script = 'echo "$PLAIN $TOKEN"'
        workload = dataclasses.replace(
            self.shell(script, key), env={"PLAIN": "two words"}, secrets={"TOKEN": "$(s3cret)"}
        )
        driver = make()
        assert await self.output(driver, await driver.submit(workload)) == b"two words $(s3cret)\n"

    async def test_not_being_able_to_ask_is_no_answer(
        self, make: Connect, key: str, cut_off: Driver
    ) -> None:
        workload = self.shell("exit 0", key)
        handle = await make().submit(workload)
        try:
            for question in (
                cut_off.submit(workload),
                self.seen(cut_off, handle),
                self.output(cut_off, handle),
                cut_off.stop(handle, grace=SOON),
                cut_off.discard(handle),
                cut_off.leftovers(()),
            ):
                with pytest.raises(Unavailable):
                    await question
        finally:
            await cut_off.close()

    async def seen(self, driver: Driver, handle: Handle) -> list[Observation]:
        async with asyncio.timeout(self.patience), aclosing(driver.watch(handle)) as seen:
            return [each async for each in seen]

    async def output(self, driver: Driver, handle: Handle, *, offset: int = 0) -> bytes:
        async with asyncio.timeout(self.patience):
            async with aclosing(driver.logs(handle, offset=offset)) as chunks:
                return b"".join([chunk async for chunk in chunks])

    async def printed(self, driver: Driver, handle: Handle) -> None:
        """Return when the workload has said something."""
        async with asyncio.timeout(self.patience), aclosing(driver.logs(handle)) as chunks:
            async for _ in chunks:
                return


def over_the_wire(handle: Handle) -> Handle:
    return Handle(**json.loads(json.dumps(dataclasses.asdict(handle))))
