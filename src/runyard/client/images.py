"""Images that agents have built, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from runyard.client.parts import Calls
from runyard.wire import rest_images


class ImagesApi(Calls):
    """What a connection can do with images."""

    def images(
        self,
        *,
        entity: str | None = None,
        state: str | None = None,
        repository: str | None = None,
        job: str | None = None,
        unused_since: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[rest_images.ImageOut]:
        """Yield images, the newest first; `job` is how the path of its job begins."""
        since = None if unused_since is None else unused_since.isoformat()
        params = {
            "entity": entity,
            "state": state,
            "repository": repository,
            "job": job,
            "unused_since": since,
        }
        return self._pages("/images", rest_images.ImageOut, params, limit)

    def prune_images(self, prune: rest_images.PruneIn) -> rest_images.PrunedOut:
        """Let images go that nothing needs; agents delete them."""
        return self._post("/images/prune", rest_images.PrunedOut, prune.model_dump())
