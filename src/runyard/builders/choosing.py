"""Which program builds images on the agent's host: the one that is said, or the first to work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runyard.builders.base import Builder
from runyard.builders.buildah import BuildahBuilder
from runyard.builders.docker import DockerBuilder
from runyard.domain.errors import Rejected

_NONE: Final = ("none", "noop")


async def choose(type_: str, *, host: str | None, env: Mapping[str, str]) -> Builder | None:
    """Return the builder of a type, or None if nothing is built.

    `auto` is one that was seen to work, and whose steps cannot reach what root has on the host:
    that has to be somebody's choice. Another type is to be checked by the caller, when the agent
    starts: what cannot work is to be told then. `host` is the address of docker's engine.

    Raises:
        Rejected: it is no builder of a host.
    """
    match type_:
        case "docker":
            return DockerBuilder(host, env)
        case "buildah":
            return BuildahBuilder(env)
        case "auto":
            docker, buildah = DockerBuilder(host, env), BuildahBuilder(env)
            if await _works(docker):
                return docker
            return buildah if not buildah.is_exposed and await _works(buildah) else None
        case _ if type_ in _NONE:
            return None
        case _:
            raise Rejected(
                f"builder {type_!r} builds in a cluster, for queues of kubernetes only",
                hint="on a host it is docker, buildah, auto or none",
            )


async def _works(builder: Builder) -> bool:
    try:
        await builder.check()
    except Rejected:
        await builder.close()
        return False
    return True
