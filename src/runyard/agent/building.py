"""
What an agent builds images with, and one build: from a job's files to what a builder is given.

Nothing here decides whether to build; `images` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

from runyard.agent.base_images import Base, BaseImages
from runyard.agent.build_log import BuildLog
from runyard.agent.planning import Builds, Wish
from runyard.agent.registries import Registries
from runyard.agent.telling import Teller
from runyard.builders import context, packages
from runyard.builders.base import Builder, BuildFailed, Built, Order, Secret
from runyard.domain.errors import Rejected
from runyard.domain.images import ImageRef, Plan, Recipe
from runyard.domain.items import Stage

T = TypeVar("T")

AT_ONCE: Final = 2  # builds of one agent; what waits for its turn has its files fetched already
LABEL: Final = "io.runyard."
_LONGEST_LINE: Final = 1000  # bytes that are looked at


class Insist(Protocol):
    async def __call__(self, call: Callable[[], Awaitable[T]], /) -> T:
        """Call until there is an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """What an attempt lends to the making of its image.

    `fetch` brings the job's files and says where they are; `enter` says at which stage the attempt
    is from now on. `scratch` makes an empty directory, which goes with the attempt. `secrets` are
    all that the plan names.
    """

    wish: Wish
    server: Teller
    log: BuildLog
    fetch: Callable[[], Awaitable[Path]]
    scratch: Callable[[], Awaitable[Path]]
    enter: Callable[[Stage], None]
    insist: Insist
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Workshop:
    """What all builds of one agent share."""

    def __init__(
        self, builds: Builds, builder: Builder, registries: Registries, *, at_once: int = AT_ONCE
    ) -> None:
        self.builds, self.builder, self.registries = builds, builder, registries
        self.bases = BaseImages(registries, builder)
        self._slots = asyncio.Semaphore(at_once)

    async def place(self) -> str:
        """Return where images are kept that are not pushed; empty if they are.

        Raises:
            Unavailable: the engine could not be asked.
        """
        return "" if self.builds.pushes else await self.builder.place()

    async def digest(self, target: ImageRef) -> str | None:
        """Return the digest of an image of ours, None if it is not there.

        Raises:
            Rejected, Unavailable: as of `Registry.digest`.
        """
        if self.builds.pushes:
            return await (await self.registries.of(target)).digest(target)
        return await self.builder.local(target.tagged)

    async def build(
        self, way: Way, plan: Plan, bases: Sequence[Base], files: context.Context, target: ImageRef
    ) -> Built:
        """Build an image, and push it if there is a place to push to.

        Raises:
            BuildFailed, Rejected, Invalid, HostFault: there will be none.
        """
        mounts = await way.insist(self.builder.mounts)
        secrets = _secrets(plan, way.secrets, mounts=mounts)
        written = await self._written(way, plan, bases, files, mounts=mounts)
        push = self.builds.pushes

        async def build() -> Built:
            upon = [ImageRef.parse(base.image.name) for base in bases]
            order = Order(
                context=written.context,
                dockerfile=written.dockerfile,
                target=target,
                push=push,
                team=plan.team,
                platform=plan.platform,
                secrets=secrets,
                logins=await self.registries.logins(target if push else None, upon),
                insecure=frozenset(self.builds.settings.insecure_registries),
                labels={f"{LABEL}image": plan.tag, f"{LABEL}team": plan.team},
                fresh=way.wish.rebuild,
            )
            return await self._in_time(self.builder.build(order, log=_listening(way)))

        async with self._slots:
            upon = ", ".join(base.shown for base in bases) or "nothing"
            way.log.tell(f"building {target} from {upon} with {self.builder.name}")
            began = time.monotonic()
            built = await way.insist(build)
        size = f"{built.size / 1e6:.0f} MB, " if built.size else ""
        way.log.tell(f"image {built.run}: {size}{time.monotonic() - began:.0f} s")
        return built

    async def _written(
        self, way: Way, plan: Plan, bases: Sequence[Base], files: context.Context, *, mounts: bool
    ) -> context.Written:
        recipe = Recipe(base="")  # of no use to a Dockerfile of the job's own
        if not files.own:
            made = context.recipe(plan, files, mounts=mounts, cache=plan.team)
            recipe = replace(made, base=bases[0].source)
        pinned = [base.image for base in bases if base.by_digest]
        into = await way.scratch()
        return await asyncio.to_thread(context.write, recipe, files, into, bases=pinned)

    async def _in_time(self, work: Awaitable[T]) -> T:
        seconds = self.builds.settings.timeout_s
        try:
            async with asyncio.timeout(seconds) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise BuildFailed(
                f"the build was not done after {seconds} s",
                hint="see `builder.timeout_s` in the agent's settings",
            ) from None


def _secrets(plan: Plan, values: Mapping[str, str], *, mounts: bool) -> tuple[Secret, ...]:
    if plan.secrets and not mounts:
        raise Rejected(
            f"the build needs the secrets {', '.join(plan.secrets)}, and this agent's builder "
            "cannot mount any",
            hint="install docker buildx (or enable BuildKit) or buildah on the agent's host",
        )
    return tuple(Secret(name, values[name]) for name in plan.secrets)


def _listening(way: Way) -> Callable[[bytes], None]:
    """Return what takes a builder's output, and warns of packages that were left out."""
    rest = b""

    def hear(output: bytes) -> None:
        nonlocal rest
        way.log.write(output)
        *lines, rest = (rest + output).split(b"\n")
        rest = rest[-_LONGEST_LINE:]
        for line in lines:
            if name := packages.failed(line):
                told = f"package {name} could not be installed, and is not in the image"
                way.server.warn(Stage.BUILD, told)

    return hear
