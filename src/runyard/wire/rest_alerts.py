"""Bodies of alerts."""

from __future__ import annotations

from datetime import datetime

from runyard.wire.rest import Out


class AlertOut(Out):
    """What a program wanted its people to know at once. `level` is INFO, WARN or ERROR."""

    title: str
    text: str
    level: str
    at: datetime
