"""
A builder and a registry in memory that do as they are told.

    shelf = Shelf({"python:3.11-slim": "sha256:…"})
    builder, registry = ScriptedBuilder(shelf), ScriptedRegistry(shelf)
    builder.step = prints(b"installing\\n")
    ...
    assert [order.target.tag for order in builder.orders] == [plan.tag]

The shelf holds what has been pushed, and what stays with the builder, by name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from runyard.builders.base import Built, Log, Order
from runyard.domain.images import ImageRef, Login

Step = Callable[[Order, Log], Awaitable[None]]


@dataclass
class Shelf:
    """Images by name and tag, with their digests; `local` are those of the builder alone."""

    images: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)


def prints(output: bytes, *, after: float = 0.0) -> Step:
    """Return a step that prints."""

    async def step(_: Order, log: Log) -> None:
        await asyncio.sleep(after)
        log(output)

    return step


def fails(error: Exception, output: bytes = b"") -> Step:
    """Return a step that prints and raises."""

    async def step(_: Order, log: Log) -> None:
        log(output)
        raise error

    return step


class _Scripted:
    """`fail` makes the next calls of a method raise."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.asked: list[str] = []
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)

    def fail(self, call: str, error: Exception, *, times: int = 1) -> None:
        self._failures[call] += [error] * times

    def _called(self, call: str, about: object = "") -> None:
        self.asked.append(f"{call} {about}".strip())
        if self._failures[call]:
            raise self._failures[call].pop(0)


class ScriptedBuilder(_Scripted):
    name = "scripted"

    def __init__(self, shelf: Shelf, step: Step | None = None) -> None:
        super().__init__(shelf)
        self.step = step or prints(b"")
        self.can_mount = True
        self.orders: list[Order] = []
        self.dockerfiles: list[str] = []
        self.running = self.most_running = 0

    async def check(self) -> None:
        self._called("check")

    async def mounts(self) -> bool:
        self._called("mounts")
        return self.can_mount

    async def place(self) -> str:
        self._called("place")
        return "scripted:shelf"

    async def local(self, name: str) -> str | None:
        self._called("local", name)
        return self.shelf.local.get(name)

    async def build(self, order: Order, /, *, log: Log) -> Built:
        self.orders.append(order)
        self.dockerfiles.append(order.dockerfile.read_text())
        self._called("build", order.target)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.step(order, log)
        finally:
            self.running -= 1
        digest = f"sha256:{hashlib.sha256(order.target.tag.encode()).hexdigest()}"
        shelf = self.shelf.images if order.push else self.shelf.local
        shelf[order.target.tagged] = digest
        if not order.push:
            return Built(order.target, digest, size=1_000_000)
        pushed = order.target.pinned(digest)
        return Built(pushed, str(pushed), size=1_000_000)

    async def remove(self, image: ImageRef, /) -> None:
        self._called("remove", image.tagged)
        self.shelf.local.pop(image.tagged, None)

    async def close(self) -> None:
        self._called("close")


class ScriptedRegistry(_Scripted):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.credentials: Login | None = None

    async def check(self, repository: str, /) -> None:
        self._called("check", repository)

    async def digest(self, image: ImageRef, /) -> str | None:
        self._called("digest", image)
        return self.shelf.images.get(image.tagged)

    async def login(self) -> Login | None:
        self._called("login")
        return self.credentials

    async def delete(self, image: ImageRef, /) -> None:
        self._called("delete", image)
        self.shelf.images = {n: d for n, d in self.shelf.images.items() if d != image.digest}

    async def close(self) -> None:
        self._called("close")
