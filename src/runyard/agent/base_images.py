"""
Which image a base image's name stands for just now: by digest, so that what is built upon it has
a name by content. Its registry is asked; where that cannot be, what the builder has counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from runyard.agent.registries import Registries
from runyard.builders.base import Builder
from runyard.domain.errors import Rejected, RunyardError, Unavailable
from runyard.domain.images import BaseImage, ImageRef

KEPT: Final = 300.0  # seconds that an answer is believed
REGISTRY_PATIENCE: Final = 5.0  # seconds for one question
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Base:
    """`by_digest`: the registry knows the digest, so that the image can be asked for by it."""

    image: BaseImage
    by_digest: bool

    @property
    def source(self) -> str:
        """What a FROM line says."""
        return self.image.pinned if self.by_digest else self.image.name

    @property
    def shown(self) -> str:
        """The name with its digest, for people."""
        name, digest = self.image.name, self.image.digest
        return f"{name}@{digest}" if digest and "@" not in name else name


class BaseImages:
    def __init__(self, registries: Registries, builder: Builder) -> None:
        self._registries, self._builder = registries, builder
        self._known: dict[str, tuple[float, Base]] = {}

    async def look(self, name: str) -> Base:
        """Return the image that a name stands for.

        Raises:
            Rejected: there is none, or its registry does not say. Unavailable: nobody could be
                asked.
        """
        ref = ImageRef.parse(name)
        if ref.digest:
            return Base(BaseImage(name, ref.digest), by_digest=True)
        now = asyncio.get_running_loop().time()
        asked_at, known = self._known.get(name, (float("-inf"), None))
        if known is None or now - asked_at > KEPT:
            known = await self._ask(name, ref)
            while len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[name] = now, known
        return known

    async def _ask(self, name: str, ref: ImageRef) -> Base:
        tagged = ref if ref.tag else ImageRef(ref.repository, "latest")
        try:
            async with asyncio.timeout(REGISTRY_PATIENCE):
                digest = await (await self._registries.of(ref)).digest(tagged)
            error: RunyardError = Rejected(
                f"there is no base image {name}: {ref.registry} has none of that name",
                hint="see `base_image` in the job, the queue's `builder` and the agent's settings",
            )
        except TimeoutError:
            digest, error = None, Unavailable(f"{ref.registry} does not answer")
        except RunyardError as refusal:
            digest, error = None, refusal
        if digest is not None:
            return Base(BaseImage(name, digest), by_digest=True)
        if (local := await self._builder.local(name)) is not None:
            return Base(BaseImage(name, local), by_digest=False)
        raise error
