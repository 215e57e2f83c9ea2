"""
The container engine as seen over its socket: one client, its errors translated, a few questions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiodocker
import aiohttp

from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.drivers.docker_faults import is_of_host

UNIX: Final = "unix://"
FOREVER: Final = aiohttp.ClientTimeout(sock_connect=10)
REFUSALS: Final = (Rejected, HostFault)
NOT_FOUND, CONFLICT, _NO_ENGINE = 404, 409, 900  # 900 is aiodocker's for "no connection"
_ANSWER: Final = aiohttp.ClientTimeout(total=120, sock_connect=10)  # seconds
_SOCKET: Final = "unix:///var/run/docker.sock"


class Engine:
    """`address` None is DOCKER_HOST, else the usual socket."""

    def __init__(self, address: str | None, host_env: Mapping[str, str]) -> None:
        self.address = address or host_env.get("DOCKER_HOST") or _SOCKET
        self._verifies = host_env.get("DOCKER_TLS_VERIFY") == "1"
        self._podman: bool | None = None
        self._client: aiodocker.Docker | None = None
        self._connector: aiohttp.BaseConnector | None = None

    @property
    def is_here(self) -> bool:
        """Whether the engine is on this machine, so that it may see its files."""
        return self.address.startswith(UNIX)

    def client(self) -> aiodocker.Docker:
        """Return the client, made when first needed: it belongs to the running event loop."""
        if self._client is None:
            address = self.address
            if address.startswith(UNIX):  # no limit: every follower holds a connection
                self._connector = aiohttp.UnixConnector(address.removeprefix(UNIX), limit=0)
                address = f"{UNIX}localhost"
            elif not self._verifies:
                self._connector = aiohttp.TCPConnector(limit=0)
            self._client = aiodocker.Docker(address, connector=self._connector, timeout=_ANSWER)
        return self._client

    def container(self, key: str) -> aiodocker.containers.DockerContainer:
        return self.client().containers.container(key)

    @contextmanager
    def asking(self, what: str, *, unless: Collection[int] = ()) -> Iterator[None]:
        """Translate the client's errors; leave the block quietly on a status in `unless`.

        Raises:
            Unavailable: no connection, or one that broke.
            Rejected, HostFault: the engine's answer was no, with its own words.
        """
        try:
            yield
        except aiodocker.DockerError as error:
            if error.status == _NO_ENGINE:
                raise Unavailable(f"no container engine at {self.address}") from error
            if error.status not in unless:
                refusal = HostFault if is_of_host(str(error.message)) else Rejected
                raise refusal(f"the engine refuses {what}: {error.message}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the engine at {self.address} broke off: {error}") from error

    async def is_podman(self) -> bool:
        if self._podman is None:
            with self.asking("version"):
                version = await self.client().version()
            parts = version.get("Components") or ()
            self._podman = any("podman" in part["Name"].lower() for part in parts)
        return self._podman

    async def inspect(self, key: str) -> dict[str, Any] | None:
        """Return what the engine says of the container; None if it says there is none."""
        with self.asking(key, unless=(NOT_FOUND,)):
            return await self.container(key).show()
        return None

    async def wait(self, key: str) -> None:
        with self.asking(key, unless=(NOT_FOUND,)):
            await self.container(key).wait(timeout=FOREVER)

    async def image(self, name: str) -> dict[str, Any]:
        """Return what the engine says of an image that it has."""
        with self.asking(name):
            return await self.client().images.inspect(name)
        raise AssertionError("unreachable")

    async def has_file(self, key: str, path: str) -> bool:
        """Whether there is such a file in a container."""
        engine = self.client()
        address = f"{engine.docker_host}/{engine.api_version}/containers/{key}/archive"
        with self.asking(f"the files of {key}"):
            async with engine.session.head(address, params={"path": path}) as answer:
                if answer.status != NOT_FOUND:
                    answer.raise_for_status()
                return answer.status != NOT_FOUND

    async def copy_in(self, key: str, archive: bytes) -> None:
        """Unpack a tar at the root of a container."""
        with self.asking(key):
            await self.container(key).put_archive("/", archive)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._connector is not None:
            await self._connector.close()
            self._connector = None
