"""Which builder an agent has, when it is looked for, and what keeps the agent from starting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.chosen_images import ChosenImages, find_builder
from runyard.agent.registries import Registries
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.testing.scripted_builder import ScriptedBuilder, ScriptedRegistry, Shelf

pytestmark = pytest.mark.anyio


class Choice:
    def __init__(self, builder: Any, **settings: Any) -> None:
        self.registry, self.asked = ScriptedRegistry(Shelf()), 0
        self.builder = builder
        self.images = ChosenImages(
            BuilderSettings(**settings), self.choose, Registries(lambda _: self.registry),
            {"PIP": "s3cret"},
        )  # fmt: skip

    async def choose(self) -> Any:
        self.asked += 1
        if isinstance(self.builder, Exception):
            raise self.builder
        return self.builder


async def test_the_builder_is_looked_for_once_and_only_when_it_is_needed() -> None:
    choice = Choice(ScriptedBuilder(Shelf()))
    assert choice.asked == 0
    assert (await choice.images.builds()).by == "scripted"
    await choice.images.builds()
    await choice.images.check()
    assert choice.asked == 1


async def test_without_a_builder_nothing_is_built_and_the_agent_starts() -> None:
    choice = Choice(None)
    await choice.images.check()
    assert (await choice.images.builds()).by == ""
    assert choice.asked == 1


async def test_a_builder_that_is_named_and_does_not_work_stops_the_agent() -> None:
    choice = Choice(Rejected("docker does not work"))
    with pytest.raises(Rejected, match="docker does not work"):
        await choice.images.check()
    with pytest.raises(HostFault):  # of an item of a queue that came later
        await choice.images.builds()


async def test_a_named_program_that_is_missing_is_refused_and_one_to_be_found_is_not(
    tmp_path: Path,
) -> None:
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    with pytest.raises(Rejected, match="settings name, buildah, does not work"):
        await find_builder("buildah", host=None, env=env)
    assert await find_builder("auto", host=None, env=env) is None
    assert await find_builder("noop", host=None, env=env) is None


async def test_the_registry_is_checked_at_the_start() -> None:
    choice = Choice(ScriptedBuilder(Shelf()), destination="registry.example.com/ml/jobs")
    choice.registry.fail("check", Unavailable("away"))
    await choice.images.check()  # it may come
    assert choice.registry.asked == ["check registry.example.com/ml/jobs"]
    choice.registry.fail("check", Rejected("the login is refused"))
    with pytest.raises(Rejected, match="the login is refused"):
        await choice.images.check()


async def test_the_builds_secrets_are_read_from_the_environment_and_from_files(
    tmp_path: Path,
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine x")
    secrets = {"pip.conf": {"env": "PIP"}, "netrc": {"file": str(file)}}
    choice = Choice(ScriptedBuilder(Shelf()), secrets=secrets)
    assert choice.images.secrets() == {"pip.conf": "s3cret", "netrc": "machine x"}
    await choice.images.check()


@pytest.mark.parametrize("given", [{"env": "NOT_THERE"}, {"file": "/nonexistent/file"}])
async def test_a_secret_that_is_not_there_stops_the_agent_and_later_blames_the_host(
    given: dict[str, str],
) -> None:
    choice = Choice(ScriptedBuilder(Shelf()), secrets={"netrc": given})
    with pytest.raises(Rejected, match=r"builder\.secrets\.netrc"):
        await choice.images.check()
    with pytest.raises(HostFault):
        choice.images.secrets()
