"""The kinds of things that a platform is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runyard.sdk.platform.kinds.base import Kind
from runyard.sdk.platform.kinds.hooks import Hook
from runyard.sdk.platform.kinds.jobs import Job
from runyard.sdk.platform.kinds.people import Member, Role, ServiceAccount, Team, User
from runyard.sdk.platform.kinds.queues import Queue
from runyard.sdk.platform.kinds.secrets import Secret

OF_TEAMS: Final[tuple[Kind, ...]] = (
    Role(), Member(), ServiceAccount(), Secret(), Queue(), Hook(), Job(),
)  # fmt: skip
OF_USERS: Final[tuple[Kind, ...]] = (Secret(), Queue(), Hook(), Job())
OWNERS: Final[tuple[Kind, ...]] = (User(), Team())
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in (*OWNERS, *OF_TEAMS)}


def below(owner_kind: str) -> tuple[Kind, ...]:
    """Return the kinds that a team or a user owns, as they are listed in a document."""
    return OF_TEAMS if owner_kind == "team" else OF_USERS
