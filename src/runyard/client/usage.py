"""Asking a server what was used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from runyard.client.parts import Calls
from runyard.wire.rest_usage import UsageOut


class UsageApi(Calls):
    def usage(
        self,
        *,
        group: Sequence[str] = ("user",),
        entity: str | None = None,
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        interval: str | None = None,
    ) -> UsageOut:
        """Return what attempts used between two times; `interval` is `day` or `month`."""
        params = _asked(group, entity, user, since, until, interval)
        return self._read(UsageOut, self.transport.call("GET", "/usage", params=params))

    def usage_csv(
        self,
        *,
        group: Sequence[str] = ("user",),
        entity: str | None = None,
        user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        interval: str | None = None,
    ) -> str:
        """Return the same as CSV with a head."""
        params = _asked(group, entity, user, since, until, interval)
        answer = self.transport.call("GET", "/usage", params={**params, "format": "csv"})
        return answer.decode()


def _asked(
    group: Sequence[str],
    entity: str | None,
    user: str | None,
    since: datetime | None,
    until: datetime | None,
    interval: str | None,
) -> dict[str, str | int | bool | None]:
    return {
        "group": ",".join(group),
        "entity": entity,
        "user": user,
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "interval": interval,
    }
