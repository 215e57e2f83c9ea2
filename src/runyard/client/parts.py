"""The ways to ask a Runyard server: what all parts of the client are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from runyard.client.credentials import clean_url
from runyard.client.transport import PATIENCE, Params, Transport
from runyard.domain.errors import Invalid, RunyardError
from runyard.wire import rest

M = TypeVar("M", bound=BaseModel)
PAGE = 200


class Calls:
    """A connection, and how models travel over it."""

    def __init__(
        self, base_url: str, key: str, *, timeout: float = 30.0, patience: float = PATIENCE
    ) -> None:
        self.transport = Transport(clean_url(base_url), key, timeout=timeout, patience=patience)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        return self.transport.base_url

    def close(self) -> None:
        self.transport.close()

    def _read(self, model: type[M], answer: bytes) -> M:
        try:
            return model.model_validate_json(answer)
        except ValidationError as error:
            raise RunyardError(
                f"{self.base_url} does not answer as a Runyard server does",
                hint="look at the address, and at the server's version: runyard whoami",
            ) from error

    def _get(self, path: str, model: type[M]) -> M:
        return self._read(model, self.transport.call("GET", path))

    def _post(self, path: str, model: type[M], body: Mapping[str, Any] | None) -> M:
        return self._read(model, self.transport.call("POST", path, body=body))

    def _pages(
        self, path: str, model: type[M], params: Params | None = None, limit: int | None = None
    ) -> Iterator[M]:
        asked: dict[str, str | int | bool | None] = dict(params or {})
        page_of = rest.Page[model]  # type: ignore[valid-type]
        left = limit
        while left is None or left > 0:
            asked["limit"] = PAGE if left is None else min(left, PAGE)
            page = self._read(page_of, self.transport.call("GET", path, params=asked))
            yield from page.data
            if page.next is None:
                return
            asked["cursor"] = page.next
            left = None if left is None else left - len(page.data)


def path(*parts: str) -> str:
    """Join names to a path. Whatever is in a name stays inside it.

    Raises:
        Invalid: a name that clients resolve before they send, such as `..`.
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid(f"{part!r} is not a name")
    return "".join(f"/{quote(part, safe=':@')}" for part in parts)
