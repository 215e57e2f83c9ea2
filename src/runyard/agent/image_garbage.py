"""
Deleting the images that the server does not need any more, where this agent keeps them.

The server names them; a name outside of the agent's own repository is none of its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from runyard.agent.building import Workshop
from runyard.domain.errors import RunyardError
from runyard.domain.images import ImageRef
from runyard.wire.agent import AskDoomed, Doomed

logger = structlog.get_logger(__name__)

EVERY: Final = 60.0  # seconds


class DoomedPost(Protocol):
    """What is needed of `AgentApi`."""

    async def doomed(self, asked: AskDoomed) -> list[Doomed]: ...


async def delete_doomed(api: DoomedPost, shop: Workshop) -> int:
    """Delete what is doomed just now, and say so; return how many images that were.

    One that cannot be deleted is left to the next time.

    Raises:
        RunyardError: the server, or the builder, could not be asked.
    """
    place, repository = await shop.place(), shop.builds.repository
    gone: list[str] = []
    deleted, after = 0, ""
    while True:
        asked = AskDoomed(place=place, repository=repository, gone=gone, after=after)
        found = await api.doomed(asked)
        if not found:
            return deleted
        gone, after = await _deleted(shop, found), found[-1].id
        deleted += len(gone)


async def _deleted(shop: Workshop, doomed: Sequence[Doomed]) -> list[str]:
    gone = []
    for one in doomed:
        image = ImageRef(one.repository, one.tag, one.digest)
        if one.repository != shop.builds.repository:
            continue
        try:
            if shop.builds.pushes:
                await (await shop.registries.of(image)).delete(image)
            else:
                await shop.builder.remove(ImageRef(one.repository, one.tag))
        except RunyardError as error:
            logger.warning("image cannot be deleted", image=str(image), why=error.message)
        else:
            gone.append(one.id)
            logger.info("deleted an image that nothing needs", image=str(image))
    return gone
