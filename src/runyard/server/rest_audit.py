"""Routes of the audit log: a page at a time, or all of it as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import AwareDatetime

from runyard.domain.access import Kind
from runyard.domain.errors import Invalid
from runyard.server.auth import opens
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.server.streams import Follower, Stream, Watch
from runyard.services import audit
from runyard.services.audit import Wanted
from runyard.services.call import Call
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text
from runyard.wire import rest
from runyard.wire.rest_audit import AuditOut

COLUMNS: Final = (
    "seq", "at", "actor", "actor_kind", "entity", "action", "thing", "before", "after",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_PIECE: Final = 500  # entries read, and held in memory, at once
_MEDIA: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

Of = Annotated[
    str | None,
    Query(max_length=128, description="A user or team; default: all, for admins of the server."),
]
By = Annotated[str | None, Query(max_length=128, description="Who made the change.")]
What = Annotated[
    str | None,
    Query(max_length=64, description="What was done, say `queue.edit`; or all of a noun: `queue`."),
]
Since = Annotated[AwareDatetime | None, Query(description="Not before this time.")]
Until = Annotated[AwareDatetime | None, Query(description="Before this time.")]


def add(app: FastAPI, follower: Follower) -> None:
    @app.get("/api/v1/audit", tags=["audit"])
    @opens(Kind.USER)
    async def read_audit(
        caller: Caller,
        entity: Of = None,
        actor: By = None,
        action: What = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[AuditOut]:
        """List changes and who made them, the newest first."""
        wanted = Wanted(entity, actor, action, since, until)
        found = await follower.edge.read(
            caller,
            lambda call: audit.page(call, wanted, before=_before(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: str(row["seq"]), lambda row: AuditOut(**_entry(row)))

    @app.get(
        "/api/v1/audit/export",
        tags=["audit"],
        response_class=Response,
        responses={200: {"content": {m: {"schema": {"type": "string"}} for m in _MEDIA.values()}}},
    )
    @opens(Kind.USER, lasting=True)
    async def export_audit(
        request: Request,
        format: Annotated[
            Literal["jsonl", "csv"], Query(description="One entry a line.")
        ] = "jsonl",
        entity: Of = None,
        actor: By = None,
        action: What = None,
        since: Since = None,
        until: Until = None,
    ) -> Response:
        """Return all changes up to now, the oldest first, as a file."""
        watch = follower.watch(request)
        wanted = Wanted(entity, actor, action, since, until or follower.edge.clock())
        first = await watch.look(partial(_read, wanted=wanted, after=0))
        return Stream(
            follower, watch.actor, _pieces(watch, wanted, first, format), _MEDIA[format],
            {"Content-Disposition": f'attachment; filename="runyard-audit.{format}"'},
        )  # fmt: skip


def _read(call: Call, wanted: Wanted, after: int) -> Sequence[Row]:
    return audit.export(call, wanted, after=after, limit=_PIECE)


async def _pieces(
    watch: Watch, wanted: Wanted, found: Sequence[Row], format: str
) -> AsyncIterator[bytes]:
    if format == "csv":
        yield _csv([COLUMNS])
    while found:
        entries = [_entry(row) for row in found]
        yield _csv(map(_cells, entries)) if format == "csv" else _lines(entries)
        if len(found) < _PIECE:
            return
        found = await watch.look(partial(_read, wanted=wanted, after=found[-1]["seq"]))


def _lines(entries: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(
        json.dumps({**entry, "at": _time(entry["at"])}, ensure_ascii=False).encode() + b"\n"
        for entry in entries
    )


def _cells(entry: dict[str, Any]) -> list[str]:
    return [_cell(name, entry[name]) for name in COLUMNS]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "at":
        return _time(value)
    if name in ("before", "after"):
        value = json.dumps(value, ensure_ascii=False)
    return defused(str(value))


def defused(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entry(row: Row) -> dict[str, Any]:
    return {
        "seq": row["seq"],
        "at": from_ms(row["at"]),
        "actor": row["actor"],
        "actor_kind": row["actor_kind"],
        "entity": row["entity"],
        "action": row["action"],
        "thing": row["thing"],
        "before": None if row["before"] is None else from_text(row["before"]),
        "after": None if row["after"] is None else from_text(row["after"]),
    }


def _before(cursor: str | None) -> int | None:
    number = after(cursor)
    if not number:
        return None
    if not number.isdecimal() or len(number) > 18:
        raise Invalid("cursor: not one that this server gave", hint="begin without a cursor")
    return int(number)
