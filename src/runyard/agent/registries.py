"""The registries that an agent speaks to, one client each, and its logins to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from runyard.clouds.base import Registry
from runyard.domain.errors import RunyardError
from runyard.domain.images import ImageRef, Login

MOST: Final = 100  # registries kept: whoever submits jobs names some


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
        registry = self._made.pop(host, None)
        if registry is None:  # importing a vendor's library takes a while
            made = await asyncio.to_thread(self._make, image.repository)
            registry = self._made.pop(host, made)  # another one may have made it meanwhile
        self._made[host] = registry  # what was used last is at the end
        while len(self._made) > MOST:
            await self._made.pop(next(iter(self._made))).close()
        return registry

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
        while self._made:
            _, registry = self._made.popitem()
            await registry.close()
