"""The REST API's bodies about the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runyard.wire.rest import Out


class AuditOut(Out):
    """A change. Of `before` and `after` only what differs; `entity` null is the whole server."""

    seq: int
    at: datetime
    actor: str
    actor_kind: str
    entity: str | None
    action: str
    thing: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
