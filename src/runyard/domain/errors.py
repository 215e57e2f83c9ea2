"""
Errors, named for what the caller should do next.

* RunyardError
  - Invalid           mend the request                             HTTP 422
  - Unauthenticated   log in                                       HTTP 401
  - Forbidden         ask an admin                                 HTTP 403
  - NotFound          no such thing, or not yours to see           HTTP 404
  - Conflict          reload, look again, then decide              HTTP 409
    + IllegalMove     the state machine has no such edge
    + StaleLease      stop working: the item is no longer yours
    + StaleEpoch      exit: a newer process has this agent's name
  - TooMuch           send less, or later                          HTTP 413, 429
  - Rejected          an outside system refuses for good: fail the item and show why
  - HostFault         the agent's own machine is at fault: run the item on another one
  - Unavailable       an outside system could not be asked: wait, then ask again   HTTP 503

Each has a stable `code` that scripts may match. Anything else that is raised is a bug:
it is logged with its traceback and the user is given an id to quote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request. `path` is dotted: `resource_args.local-container.volume`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class RunyardError(Exception):
    """What went wrong, in words for the user; `hint` is what to do or type next."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str, *, hint: str = "", violations: Sequence[Violation] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.violations = tuple(violations)


class Invalid(RunyardError):
    code = "invalid"
    status = 422


class Gathered:
    """Several checks whose mistakes are told together: each is a `with` block of this.

    `raise_if_any` raises one `Invalid` with all of their violations.
    """

    def __init__(self) -> None:
        self._found: list[Invalid] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Invalid):
            return False
        self._found.append(error)
        return True

    def raise_if_any(self) -> None:
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise Invalid(
                f"{len(self._found)} things are wrong",
                hint=next((error.hint for error in self._found if error.hint), ""),
                violations=[
                    violation
                    for error in self._found
                    for violation in error.violations or (Violation("", error.message),)
                ],
            )


class Unauthenticated(RunyardError):
    code = "unauthenticated"
    status = 401


class Forbidden(RunyardError):
    code = "forbidden"
    status = 403


class NotFound(RunyardError):
    code = "not_found"
    status = 404


class Conflict(RunyardError):
    code = "conflict"
    status = 409


class IllegalMove(Conflict):
    code = "illegal_move"


class StaleLease(Conflict):
    code = "stale_lease"


class StaleEpoch(Conflict):
    code = "stale_epoch"


class TooMuch(RunyardError):
    code = "too_much"
    status = 413


class Rejected(RunyardError):
    code = "rejected"
    status = 422


class HostFault(RunyardError):
    """A full disk, a broken driver, no way to a registry: another host may fare better.

    Whoever raises it while starting a workload has left nothing running.
    """

    code = "host_fault"
    status = 503


class Unavailable(RunyardError):
    """Raised with how long to wait; "could not ask" is never "not there"."""

    code = "unavailable"
    status = 503

    def __init__(
        self, message: str, *, retry_after: timedelta = timedelta(seconds=2), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
