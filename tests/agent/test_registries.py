"""The clients of registries: one for each, and not more than some."""

from __future__ import annotations

import asyncio
from typing import cast

from runyard.agent.registries import MOST, Registries
from runyard.clouds.base import Registry
from runyard.domain.images import ImageRef


class Double:
    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


class Made:
    """What `Registries` made, in order."""

    def __init__(self) -> None:
        self.doubles: list[Double] = []
        self.registries = Registries(self._make)

    def of(self, number: int) -> Registry:
        return asyncio.run(self.registries.of(image(number)))

    def _make(self, _repository: str) -> Registry:
        self.doubles.append(Double())
        return cast("Registry", self.doubles[-1])


def image(number: int) -> ImageRef:
    return ImageRef(f"registry-{number}.example.com/ml/jobs", "tag")


def test_a_registry_has_one_client() -> None:
    made = Made()
    assert made.of(1) is made.of(1)
    assert len(made.doubles) == 1


def test_two_who_come_at_once_get_the_same_client() -> None:
    made = Made()

    async def both() -> list[Registry]:
        return await asyncio.gather(made.registries.of(image(1)), made.registries.of(image(1)))

    first, second = asyncio.run(both())
    assert first is second


def test_the_client_that_was_used_longest_ago_is_closed_when_there_are_many() -> None:
    made = Made()
    for number in range(MOST):
        made.of(number)
    made.of(0)
    made.of(MOST)
    assert [n for n, double in enumerate(made.doubles) if double.is_closed] == [1]


def test_all_are_closed_at_the_end() -> None:
    made = Made()
    for number in range(3):
        made.of(number)
    asyncio.run(made.registries.close())
    assert all(double.is_closed for double in made.doubles)
