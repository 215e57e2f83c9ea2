"""The registries that an agent speaks to, one connection each, and its logins to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from runyard.clouds.base import Registry
from runyard.domain.errors import RunyardError
from runyard.domain.images import ImageRef, Login


class Registries:
    """`make` returns the registry of a repository or an image."""

    def __init__(self, make: Callable[[str], Registry]) -> None:
        self._make = make
        self._made: dict[str, Registry] = {}

    async def of(self, image: ImageRef) -> Registry:
        """Return the registry that keeps an image.

        Raises:
            Rejected: its cloud's library is not installed.
        """
        host = image.registry
        if host not in self._made:  # importing a vendor's library takes a while
            made = await asyncio.to_thread(self._make, image.repository)
            self._made.setdefault(host, made)
        return self._made[host]

    async def logins(self, needed: ImageRef | None, bases: Iterable[ImageRef]) -> list[Login]:
        """Return the logins for pushing to `needed`, and for pulling `bases` as far as there are.

        Raises:
            Rejected, Unavailable: the one that is needed cannot be had.
        """
        found: dict[str, Login] = {}
        if needed is not None and (login := await (await self.of(needed)).login()):
            found[needed.registry] = login
        for base in bases:
            if base.registry in found:
                continue
            try:
                login = await (await self.of(base)).login()
            except RunyardError:
                continue  # most bases are for everybody; the builder says best which are not
            if login is not None:
                found[base.registry] = login
        return list(found.values())

    async def close(self) -> None:
        for registry in self._made.values():
            await registry.close()
