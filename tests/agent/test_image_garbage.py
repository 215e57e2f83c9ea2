"""Images that the server does not need any more are deleted where they are, and it is told so."""

from __future__ import annotations

import pytest

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.building import Workshop
from runyard.agent.image_garbage import delete_doomed
from runyard.agent.planning import LOCAL, Builds
from runyard.agent.registries import Registries
from runyard.domain.errors import Rejected
from runyard.testing.scripted_builder import ScriptedBuilder, ScriptedRegistry, Shelf
from runyard.wire.agent import Doomed
from tests.agent.double import Double

pytestmark = pytest.mark.anyio
REPOSITORY = "registry.example.com/ml/jobs"


def doomed(number: int, repository: str = REPOSITORY) -> Doomed:
    digest = f"sha256:{number:064}"
    return Doomed(id=f"d{number}", repository=repository, tag=f"tag{number}", digest=digest)


class Yard:
    def __init__(self, destination: str | None) -> None:
        self.double, self.shelf = Double(), Shelf()
        self.builder, self.registry = ScriptedBuilder(self.shelf), ScriptedRegistry(self.shelf)
        self.shop = Workshop(
            Builds(BuilderSettings(destination=destination), "scripted"),
            self.builder,
            Registries(lambda _: self.registry),
        )


async def test_what_is_doomed_is_deleted_from_the_registry_and_reported_gone() -> None:
    yard = Yard(REPOSITORY)
    yard.double.doomed_images = [doomed(1), doomed(2)]
    assert await delete_doomed(yard.double, yard.shop) == 2
    assert yard.registry.asked == [
        f"delete {REPOSITORY}@sha256:{1:064}", f"delete {REPOSITORY}@sha256:{2:064}",
    ]  # fmt: skip
    assert (yard.double.gone, yard.double.doomed_images) == (["d1", "d2"], [])


async def test_an_engines_own_image_is_removed_from_the_engine_by_its_name() -> None:
    yard = Yard(None)
    yard.double.doomed_images = [doomed(1, LOCAL)]
    assert await delete_doomed(yard.double, yard.shop) == 1
    assert f"remove {LOCAL}:tag1" in yard.builder.asked
    assert yard.registry.asked == []


async def test_one_that_cannot_be_deleted_is_not_reported_and_keeps_no_other_one() -> None:
    yard = Yard(REPOSITORY)
    yard.registry.fail("delete", Rejected("deleting is disabled there"))
    yard.double.doomed_images = [doomed(1), doomed(2)]
    assert await delete_doomed(yard.double, yard.shop) == 1
    assert yard.double.gone == ["d2"]


async def test_nothing_outside_of_the_agents_repository_is_ever_deleted() -> None:
    yard = Yard(REPOSITORY)
    yard.double.doomed_images = [doomed(1, "registry.example.com/other/images")]
    assert await delete_doomed(yard.double, yard.shop) == 0
    assert (yard.registry.asked, yard.double.gone) == ([], [])
