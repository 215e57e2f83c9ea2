"""What an agent that was set aside tells of its host, and what the server makes of it."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One thing that was looked at; `detail` is what was found, in words for people."""

    name: str
    ok: bool
    detail: str = ""


class Checks(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    checks: list[Check]


class Checked(msgspec.Struct, kw_only=True):
    """`set_aside`: why the agent still takes nothing; empty if it is in use again."""

    set_aside: str = ""
