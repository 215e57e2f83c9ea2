"""
From an item's wish to an image that its resource can run: found if it is there, else built once.

    name it ─▶ look ─▶ there: use it, nothing is fetched
                 └───▶ not there: ask the server ─▶ build ─▶ fetch, build, push, use
                                   ▲        └─▶ wait, for another item builds it: ask again
                                   └──────────────┘ use, fail: as the other one fared

A Dockerfile of the job's own is known by its base images only once it was read, so its image has
another name than was asked for at first, and is looked and asked for by that. What such a job has
is remembered, so that its next item fetches nothing either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from runyard.agent.base_images import Base
from runyard.agent.building import Way, Workshop
from runyard.agent.planning import check_image
from runyard.agent.rendering import Image
from runyard.agent.telling import Slot
from runyard.builders import context
from runyard.domain.errors import Rejected, RunyardError
from runyard.domain.images import HOME, BaseImage, ImageRef, Plan
from runyard.domain.items import Stage

T = TypeVar("T")

ASK_EVERY: Final = 1.5  # seconds between questions whether another item's build has ended
_REMEMBERED: Final = 1000  # jobs that have a Dockerfile


@dataclass(frozen=True, slots=True)
class _Own:
    """What is known of a Dockerfile of the job's own, once it was read."""

    dockerfile: str
    bases: tuple[str, ...]
    entry_point: tuple[str, ...]
    unclear: str = ""  # the first instruction that may name an image beyond `bases`


class Images:
    """The images of one agent's items."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.own: dict[str, _Own] = {}  # by the tag that was asked for at first

    async def provide(self, way: Way) -> Image:
        """Return the image of an item, which is there then.

        Raises:
            Rejected, TooMuch, Invalid: there will be none.
            HostFault: not by this host.
            StaleLease: the item is not ours any more.
        """
        return await _Making(self, way).image()

    def remember(self, tag: str, own: _Own) -> None:
        while len(self.own) >= _REMEMBERED:
            del self.own[next(iter(self.own))]
        self.own[tag] = own


class _Making:
    """One item's way to its image."""

    def __init__(self, images: Images, way: Way) -> None:
        self._images, self._shop, self._way = images, images.workshop, way
        self._log, self._server = way.log, way.server
        self._files: context.Context | None = None

    async def image(self) -> Image:
        self._way.enter(Stage.BUILD)
        first, bases = await self._first()
        own = self._images.own.get(first.tag)
        if own is None and not first.dockerfile:
            found = await self._get(first, bases, None)
            if isinstance(found, Image):
                return found
            own = found
        if own is None:
            own = self._remembered(first, await self._fetched(first))
        second, bases = await self._second(first, own)
        made = await self._get(second, bases, own)
        assert isinstance(made, Image)  # what has a Dockerfile was not asked for one again
        return made

    # -- names ---------------------------------------------------------------------------

    async def _first(self) -> tuple[Plan, list[Base]]:
        """Return the plan as far as it can be known without the job's files."""
        plan = self._way.wish.plan
        if plan.dockerfile:
            return plan, []
        base = await self._insist(lambda: self._shop.bases.look(plan.base.name))
        return replace(plan, base=base.image), [base]

    async def _second(self, first: Plan, own: _Own) -> tuple[Plan, list[Base]]:
        """Return the plan for a Dockerfile of the job's own."""
        if own.unclear and self._way.wish.images:
            raise Rejected(
                f"which image {own.dockerfile} builds upon cannot be told: {own.unclear}",
                hint="the queue has a list of images: name each as it is, without variables that "
                "the builder fills in, and flags without quotes",
            )
        bases = []
        for name in own.bases:
            check_image(name, self._way.wish.images)
            try:
                bases.append(await self._shop.bases.look(name))
            except RunyardError as error:  # the build says best what it cannot have
                self._log.say(f"the digest of {name} is not known: {error.message}")
                bases.append(Base(BaseImage(name), by_digest=False))
        known = tuple(base.image for base in bases)
        plan = replace(first, dockerfile=own.dockerfile, base=BaseImage(""), bases=known)
        return plan, bases

    # -- looking and asking --------------------------------------------------------------

    async def _get(self, plan: Plan, bases: Sequence[Base], own: _Own | None) -> Image | _Own:
        """Return the image, or what else the job was found to have: a Dockerfile of its own."""
        target = ImageRef(self._shop.builds.repository, plan.tag)
        place = await self._insist(self._shop.place)
        slot = Slot(place, target.repository, target.tag, self._about(plan, bases))
        digest = await self._look(target)
        if digest is not None and not self._way.wish.rebuild:
            self._log.say(f"{target} is there: nothing to build")
            return await self._use(slot, target, digest, own)
        missing, waits = digest is None, False
        while True:
            answer = await self._server.may_build(slot, missing=missing, waits=waits)
            by = answer.by or "another item"
            match answer.do:
                case "build":
                    return await self._build(plan, bases, own, target, slot, missing=missing)
                case "use" if found := await self._look(target):
                    self._log.say(f"{target} was built by {by}: nothing to build")
                    return await self._use(slot, target, found, own)
                case "use":
                    missing, waits = True, False
                case "fail":
                    raise Rejected(answer.message)
                case _:
                    if not waits:
                        self._log.say(f"waiting for the build of {by}")
                    missing, waits = False, True
                    await asyncio.sleep(ASK_EVERY)
                    if own is None and (seen := self._images.own.get(plan.tag)):
                        return seen

    async def _build(
        self,
        plan: Plan,
        bases: Sequence[Base],
        own: _Own | None,
        target: ImageRef,
        slot: Slot,
        *,
        missing: bool,
    ) -> Image | _Own:
        """Build, and tell that it is done; a failure is told with that of the item."""
        # Another one may have ended its build between our looking and our asking.
        if missing and (digest := await self._look(target)):
            self._log.say(f"{target} is there by now: nothing to build")
            await self._server.built(slot, digest=digest)
            return await self._use(slot, target, digest, own)
        files = await self._fetched(plan)
        if own is None and files.own:
            self._log.say(f"the job has a Dockerfile of its own: {files.own}")
            await self._server.built(slot)
            return self._remembered(plan, files)
        built = await self._shop.build(self._way, plan, bases, files, target)
        digest = built.image.digest or built.run  # what was not pushed runs by its id
        await self._server.built(slot, digest=digest, size=built.size)
        return await self._use(slot, target, digest, own)

    async def _use(self, slot: Slot, target: ImageRef, digest: str, own: _Own | None) -> Image:
        await self._server.use(slot, digest)
        run, login = digest, None
        if self._shop.builds.pushes:
            registry = await self._shop.registries.of(target)
            login = await self._insist(registry.login)
            run = str(target.pinned(digest))
        return Image(
            run=run,
            home="" if own else HOME,
            entry_point=own.entry_point if own else None,
            login=login,
        )

    # -- small things --------------------------------------------------------------------

    async def _fetched(self, plan: Plan) -> context.Context:
        if self._files is None:
            self._way.enter(Stage.FETCH)
            files = await self._insist(self._way.fetch)
            self._way.enter(Stage.BUILD)
            self._files = await asyncio.to_thread(
                context.choose,
                files,
                build_context=plan.build_context,
                named=self._way.wish.plan.dockerfile,
                entry_point=plan.entry_point,
            )
        return self._files

    def _remembered(self, plan: Plan, files: context.Context) -> _Own:
        own = _Own(files.own, files.bases(), files.entry_point, files.unclear())
        self._images.remember(plan.tag, own)
        return own

    def _about(self, plan: Plan, bases: Sequence[Base]) -> dict[str, str]:
        said = {
            "base": ", ".join(base.shown for base in bases),
            "builder": self._shop.builder.name,
            "platform": plan.platform,
            "dockerfile": plan.dockerfile,
        }
        return {name: text for name, text in said.items() if text}

    async def _look(self, target: ImageRef) -> str | None:
        return await self._insist(lambda: self._shop.digest(target))

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._way.insist(call)
