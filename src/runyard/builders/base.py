"""
The one interface between the agent and a way of building images.

A builder is told everything: it looks up no setting, no login and no file but those of its order.
It gets nothing of the agent's environment but what its program needs to run (T21), and a secret
only by a mount of the step that asks for it. `runyard.testing.builder_laws` holds it to these:

1. What was built can be run under the reference that came back, and was pushed if that was asked.
2. The same order twice gives an image with the same content; a failed one pushes nothing.
3. Everything that the steps print is passed to `log`, in order, before `build` returns.
4. A step that fails is `BuildFailed`, which says which one; not being able to ask is `Unavailable`.
5. Cancelling a build ends it, and what it has started.
6. Secrets are in no layer, no history, no log and no command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runyard.domain.errors import Rejected
from runyard.domain.images import ImageRef, Login

Log = Callable[[bytes], None]


class BuildFailed(Rejected):
    """A step of the build went wrong. `step` is the instruction, `lines` the end of its output.

    The message is one line with the likely cause; `hint` says what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "", step: str = "", lines: str = "") -> None:
        super().__init__(message, hint=hint)
        self.step, self.lines = step, lines


@dataclass(frozen=True, slots=True)
class Secret:
    """Given to the steps that mount it by `id`."""

    id: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What to build. `dockerfile` is a file that may lie outside of `context`.

    `target` has a tag; it is pushed if `push`, else it stays where the builder keeps images.
    `logins` are for the registries of the base images and of the target; those in `insecure` are
    spoken to over plain http. `labels` are written into the image. `team` owns the caches. `fresh`:
    every step is run again, whatever is kept of an earlier build.
    """

    context: Path
    dockerfile: Path
    target: ImageRef
    push: bool
    team: str
    platform: str = ""
    secrets: Sequence[Secret] = ()
    logins: Sequence[Login] = ()
    insecure: frozenset[str] = frozenset()
    labels: dict[str, str] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """`image` has the registry's digest if it was pushed; `run` is what a resource is told to run.

    `size` is in bytes, 0 where the builder does not say.
    """

    image: ImageRef
    run: str
    size: int = 0


class Builder(Protocol):
    name: str

    async def check(self) -> None:
        """Verify that builds can be made, once, when the agent starts.

        Raises:
            Rejected: something an operator must mend; the message says what.
        """

    async def mounts(self) -> bool:
        """Whether the steps can mount caches and secrets.

        Raises:
            Unavailable: the engine could not be asked.
        """
        ...

    async def place(self) -> str:
        """Name where images that are not pushed are kept: the same for all that share it.

        Raises:
            Unavailable: the engine could not be asked.
        """
        ...

    async def local(self, name: str) -> str | None:
        """Return the digest of an image that the builder has under a name, None if it has none.

        Raises:
            Unavailable: the engine could not be asked.
        """
        ...

    async def build(self, order: Order, /, *, log: Log) -> Built:
        """Build, and push if asked. Warnings of the steps are in the log only.

        Raises:
            BuildFailed: a step failed, or the registry refused the image.
            Rejected: the order asks for what this builder cannot do.
            Unavailable: the engine, or a registry, could not be asked; try again.
        """
        ...

    async def remove(self, image: ImageRef, /) -> None:
        """Remove an image that was not pushed. Repeatable.

        Raises:
            Unavailable: the engine could not be asked.
        """

    async def close(self) -> None:
        """Let go of connections."""
