"""Times and JSON on their way into columns and out of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def to_ms(at: datetime) -> int:
    return (at - _EPOCH) // _MS


def from_ms(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def ms_or_none(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)


def at_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def to_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def from_text(text: str) -> Any:
    return msgspec.json.decode(text)
