"""The interfaces of a cloud: who the agent acts as, and where images and files are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from runyard.domain.images import ImageRef, Login


class Identity(Protocol):
    """Whom the agent acts as in a cloud."""

    async def principal(self) -> str:
        """Name it for the log of the start: an ARN, a service account, an application.

        Raises:
            Rejected: there are no credentials, or expired ones; the message says what to do.
            Unavailable: the cloud could not be asked.
        """
        ...


class BlobStore(Protocol):
    """A bucket for build contexts."""

    async def put(self, source: Path, key: str, /) -> str:
        """Upload a file, replacing what is there, and return its address (`s3://…`, `gs://…`).

        Raises:
            Rejected: the bucket refuses it. Unavailable: it could not be asked.
        """
        ...

    async def delete(self, key: str, /) -> None:
        """Delete a file. Repeatable. Raises as `put`."""


class Registry(Protocol):
    """One host of images, spoken to as the agent."""

    async def check(self, repository: str, /) -> None:
        """Verify that the repository can be read, once, when the agent starts.

        Raises:
            Rejected: it cannot, and an operator must mend that; the message says what.
            Unavailable: the registry could not be asked.
        """

    async def digest(self, image: ImageRef, /) -> str | None:
        """Return the digest behind a tag, or None if the registry has no such tag.

        Raises:
            Rejected: the registry refuses to say. Unavailable: it could not be asked. Neither is
                ever None: that would build the image again.
        """
        ...

    async def login(self) -> Login | None:
        """Return credentials that hold for the next minutes, or None for an open registry.

        Raises: as `digest`.
        """
        ...

    async def delete(self, image: ImageRef, /) -> None:
        """Delete the image that has the reference's digest. Repeatable. Raises as `digest`."""

    async def close(self) -> None:
        """Let go of connections."""
