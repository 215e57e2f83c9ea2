"""What an agent cannot do that builds no images, and what to do instead."""

from __future__ import annotations

from runyard.domain.errors import Rejected


class NeedsBuilder(Rejected):
    """The item's image would have to be built."""


def explain(what: str) -> NeedsBuilder:
    """Return the refusal of something that needs an image built.

    `what` is the reason, a clause such as `the job names a Dockerfile (Dockerfile.gpu)`.
    """
    return NeedsBuilder(
        f"{what}, and this agent builds no images (builder: none): as it is, git and code jobs run "
        "on a base image with their files mounted, and image jobs run as they are",
        hint="let the agent build: `builder: {type: docker, destination: REGISTRY/REPOSITORY}` in "
        "its file; or build the image yourself, push it, and launch it with `-d IMAGE`; or leave "
        "the Dockerfile out",
    )
