"""Seeing to it that an engine has an image, and whose fault it is if it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from runyard.clouds.docker_config import IDENTITY_TOKEN, login_for, registry_of, with_registry
from runyard.domain.errors import HostFault, Rejected
from runyard.domain.images import Login
from runyard.drivers.docker_engine import NOT_FOUND, REFUSALS, Engine
from runyard.drivers.docker_faults import is_of_way
from runyard.drivers.docker_settings import Pull

_STALLED: Final = 30.0  # seconds without progress, after which a pull is given up


class Images:
    """`host_env` says where the logins of registries are."""

    def __init__(self, engine: Engine, policy: Pull, host_env: Mapping[str, str]) -> None:
        self._engine, self._policy, self._host_env = engine, policy, host_env

    async def provide(
        self, image: str, platform: str | None, *, login: Login | None = None
    ) -> None:
        """See to it that the engine has the image; a registry that is down is no obstacle.

        `login` is the agent's own, where it knows one; else that of its user is used.
        """
        is_id = image.startswith("sha256:")  # of an image that was built here, and not pushed
        is_fixed = is_id or "@sha256:" in image  # the same for ever: nothing newer can be pulled
        local, policy = await self._has_image(image), self._policy
        if local and (is_fixed or policy is not Pull.ALWAYS or await self._is_own(image)):
            return
        if is_id:
            raise Rejected(
                f"image {image} was built for this host, and this engine does not have it",
                hint="name a registry as `builder.destination` in the agent's settings, or let "
                "its builder use the engine of its containers",
            )
        if policy is Pull.NEVER:
            raise Rejected(
                f"image {image} is not on this host, and the agent's settings say `pull: never`",
                hint=f"docker pull {image}",
            )
        try:
            await self._pull(image, platform, login)
        except (*REFUSALS, TimeoutError) as error:
            if not local:
                is_hosts = await self._is_of_host(image, error)
                raise (HostFault if is_hosts else Rejected)(
                    f"image {image} is not on this host and cannot be pulled: "
                    f"{str(error) or f'no progress for {_STALLED:.0f} s'}",
                    hint=f"try it by hand: docker pull {image}",
                ) from error

    async def _is_of_host(self, image: str, error: Exception) -> bool:
        """Whether an image cannot be pulled by this host's fault, or its network's.

        A registry that this host has never had anything from may as well be misspelt. An engine
        that never had anything from anywhere is under suspicion itself.
        """
        if isinstance(error, HostFault):
            return True
        if isinstance(error, Rejected) and not is_of_way(error.message):
            return False
        known = await self.registries()
        return not known or registry_of(image) in known

    async def registries(self) -> set[str]:
        """Return the registries that the engine's images came from or went to."""
        with self._engine.asking("the list of images"):
            images = await self._engine.client().images.list()
        digests = [digest for image in images for digest in image.get("RepoDigests") or ()]
        return {registry_of(digest) for digest in digests if not digest.startswith("<none>")}

    async def _pull(self, image: str, platform: str | None, given: Login | None) -> None:
        now = asyncio.get_running_loop().time
        if given is not None:
            login: dict[str, str] | None = _words(given)
        else:
            login = await asyncio.to_thread(login_for, image, self._host_env)
        source = with_registry(image) if login else image
        async with asyncio.timeout(_STALLED) as patience:
            with self._engine.asking(image):
                async for _ in self._engine.client().images.pull(
                    source, auth=login, platform=platform, stream=True
                ):
                    patience.reschedule(now() + _STALLED)

    async def _is_own(self, image: str) -> bool:
        """Whether the name is what podman gives to images of this host: no registry has them."""
        return image.startswith("localhost/") and await self._engine.is_podman()

    async def _has_image(self, image: str) -> bool:
        with self._engine.asking(image, unless=(NOT_FOUND,)):
            await self._engine.client().images.inspect(image)
            return True
        return False


def _words(login: Login) -> dict[str, str]:
    if login.username == IDENTITY_TOKEN:
        return {"identitytoken": login.password}
    return {"username": login.username, "password": login.password}
