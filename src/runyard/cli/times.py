"""Lengths and points of time as people type them: `90d`, `12h`, `2030-01-31`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from runyard.cli.edge import WrongUsage

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def seconds(text: str, flag: str) -> int:
    """Read a length such as 30m, 12h, 90d or 2w.

    Raises:
        WrongUsage: it is none, or nothing at all.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None or int(found[1]) == 0:
        raise WrongUsage(f"{flag} {text!r} is no length of time", hint=f"say {flag} 30m, 12h, 90d")
    return int(found[1]) * _UNITS[found[2]]


def moment(text: str | None, flag: str, *, now: datetime | None = None) -> datetime | None:
    """Read a date or time, of this machine's zone if it names none, or a length before now.

    Raises:
        WrongUsage: it is neither.
    """
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}[smhdw]", text):
        return (now or datetime.now(UTC)) - timedelta(seconds=seconds(text, flag))
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise WrongUsage(
            f"{flag} {text!r} is no time", hint=f"say {flag} 7d, 2030-01-31 or 2030-01-31T12:00"
        ) from error
