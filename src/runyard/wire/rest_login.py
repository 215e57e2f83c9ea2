"""Bodies of the routes with which people log in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from runyard.wire.rest import In, Out


class SsoOut(Out):
    """`text` is what a button says; `url` is where a browser begins, with its parameters added."""

    text: str
    url: str


class LoginMethodsOut(Out):
    """How people log in here. A key always does; `sso` is null where no provider is set."""

    sso: SsoOut | None


class ExchangeIn(In):
    """The code that a login ended with, and the verifier of the challenge that it began with."""

    code: Annotated[str, Field(min_length=1, max_length=128)]
    verifier: Annotated[str, Field(min_length=43, max_length=128)]


class SessionOut(Out):
    """`key` is shown this once, and opens what the user may do until it expires."""

    user: str
    key: str
    expires_at: datetime
