import pytest

from runyard.agent.leftovers import clear_leftovers
from runyard.domain.errors import Unavailable
from runyard.domain.workloads import Workload
from runyard.testing.scripted import ScriptedDriver, Stage, runs_until_stopped

pytestmark = pytest.mark.anyio


async def test_what_belongs_to_no_item_is_ended_and_removed() -> None:
    stage = Stage(lambda _: runs_until_stopped())
    driver = ScriptedDriver(stage)
    for key in ("mine", "lost"):
        await driver.submit(Workload(key))
    assert await clear_leftovers(driver, {"mine"})
    assert (stage.stopped, stage.discarded, list(stage.acts)) == (["lost"], ["lost"], ["mine"])
    await driver.discard(await driver.submit(Workload("mine")))


async def test_a_backend_that_cannot_be_asked_is_not_taken_for_an_empty_one() -> None:
    stage = Stage()
    stage.fail("leftovers", Unavailable("down"))
    assert not await clear_leftovers(ScriptedDriver(stage), ())
