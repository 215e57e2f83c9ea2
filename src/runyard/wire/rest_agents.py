"""What people tell the server about agents."""

from __future__ import annotations

from pydantic import Field

from runyard.wire.rest import In


class SetAsideIn(In):
    reason: str = Field(
        default="",
        max_length=500,
        description="Why, for those who wonder why the agent takes nothing.",
    )
