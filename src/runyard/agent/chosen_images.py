"""
An agent's images with the builder that its settings choose, looked for once, when it is needed.

A builder that the settings name must be there: without it the agent does not start. One that was
to be found by itself need not be, and git and code jobs run in a base image then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.building import Way, Workshop
from runyard.agent.images import Images
from runyard.agent.planning import Builds
from runyard.agent.registries import Registries
from runyard.agent.rendering import Image
from runyard.builders.base import Builder
from runyard.builders.choosing import choose
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.images import ImageRef

logger = structlog.get_logger(__name__)

MOST_SECRET: Final = 1 << 20  # bytes of one file


async def find_builder(type_: str, *, host: str | None, env: Mapping[str, str]) -> Builder | None:
    """Return the builder of a type, which works; None if nothing is to be built.

    Raises:
        Rejected: the one that is named does not work.
    """
    builder = await choose(type_, host=host, env=env)
    if builder is not None and type_ != "auto":
        try:
            await builder.check()
        except Rejected as error:
            await builder.close()
            raise Rejected(
                f"the builder that the agent's settings name, {type_}, does not work: "
                f"{error.message}",
                hint=error.hint,
            ) from error
    return builder


class ChosenImages:
    """`choose` finds the builder, checked, None if there is to be none."""

    def __init__(
        self,
        settings: BuilderSettings,
        choose: Callable[[], Awaitable[Builder | None]],
        registries: Registries,
        environ: Mapping[str, str],
    ) -> None:
        self._settings, self._choose = settings, choose
        self._registries, self._environ = registries, environ
        self._choosing = asyncio.Lock()
        self._builds = Builds(settings)
        self._images: Images | None = None
        self._chosen = False

    async def check(self) -> None:
        """Look for the builder now, and check all that its builds need; say what was found.

        Raises:
            Rejected: something that an operator must mend.
        """
        shop = await self._workshop()
        if shop is None:
            logger.info("no images are built: git and code jobs run in a base image")
            return
        try:
            await asyncio.to_thread(self.secrets)
        except HostFault as error:
            raise Rejected(error.message, hint=error.hint) from error
        where = self._settings.destination
        logger.info(f"builds with {shop.builder.name} for {where or 'jobs of this host'}")
        if where is not None:
            ref = ImageRef.parse(where)
            try:
                await (await self._registries.of(ref)).check(where)
            except Unavailable as error:
                logger.warning("the registry is not there yet", why=error.message)

    @property
    def workshop(self) -> Workshop | None:
        """What images are built with, if that was needed so far."""
        return self._images.workshop if self._images else None

    async def builds(self) -> Builds:
        try:
            await self._workshop()
        except Rejected as error:
            raise HostFault(error.message, hint=error.hint) from error
        return self._builds

    def secrets(self) -> dict[str, str]:
        """Return what the settings lend to builds, by id; blocking.

        Raises:
            HostFault: a variable or a file is not there.
        """
        found = {}
        for name, given in self._settings.secrets.items():
            field = f"builder.secrets.{name}"
            if given.env is not None:
                if given.env not in self._environ:
                    raise HostFault(f"the agent's environment has no {given.env} ({field})")
                found[name] = self._environ[given.env]
            elif given.file is not None:
                found[name] = _text(Path(given.file).expanduser(), field)
        return found

    async def provide(self, way: Way) -> Image:
        assert self._images is not None  # or nothing would be wished for
        return await self._images.provide(way)

    async def close(self) -> None:
        if self._images is not None:
            await self._images.workshop.builder.close()
        await self._registries.close()

    async def _workshop(self) -> Workshop | None:
        async with self._choosing:
            if not self._chosen:
                builder = await self._choose()
                if builder is not None:
                    self._builds = Builds(self._settings, builder.name)
                    self._images = Images(Workshop(self._builds, builder, self._registries))
                self._chosen = True
        return self.workshop


def _text(file: Path, field: str) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_SECRET + 1)
        if len(data) > MOST_SECRET:
            raise HostFault(f"{file} is larger than {MOST_SECRET >> 20} MiB ({field})")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise HostFault(f"{file} cannot be read as text ({field}): {error}") from error
