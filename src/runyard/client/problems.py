"""Turn the server's problem documents back into the errors they were, by their stable code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import httpx2

from runyard.domain import errors
from runyard.domain.errors import RunyardError, Unavailable, Violation

_BUSY: Final = frozenset({429, 502, 503, 504})  # said by the server or by a proxy before it


def raise_problem(response: httpx2.Response) -> None:
    """Do nothing if the call succeeded.

    Raises:
        RunyardError: of the class that the server raised, with its message, hint and
            violations; by the status alone if something in between has answered.
    """
    if response.is_success:
        return
    raise error_from(response.status_code, response.read(), response.headers.get("retry-after"))


def error_from(status: int, body: bytes, retry_after: str | None = None) -> RunyardError:
    """Return the error that this answer stands for."""
    problem = _problem(body)
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    if problem.get("request_id") and status >= 500:
        message += f" (request {problem['request_id']})"
    hint = str(problem.get("hint") or "")
    kind = _BY_CODE.get(str(problem.get("code"))) or _by_status(status)
    if issubclass(kind, Unavailable):
        return kind(message, hint=hint, retry_after=_wait(retry_after))
    return kind(message, hint=hint, violations=_violations(problem))


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _violations(problem: dict[str, Any]) -> list[Violation]:
    listed = problem.get("violations")
    return [
        Violation(str(one.get("path", "")), str(one.get("message", "")))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
    ]


def _all(kind: type[RunyardError]) -> Iterator[type[RunyardError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all(below)


def _by_status(status: int) -> type[RunyardError]:
    if status in _BUSY:
        return errors.Unavailable
    return _BY_STATUS.get(status, RunyardError)


def _wait(retry_after: str | None) -> timedelta:
    seconds = int(retry_after) if retry_after and retry_after.isdigit() else 0
    return timedelta(seconds=min(seconds, 60))


# Only those that brought the code: a more special one elsewhere in this process inherits it.
_BY_CODE: Final = {kind.code: kind for kind in _all(RunyardError) if "code" in vars(kind)}
_BY_STATUS: Final[dict[int, type[RunyardError]]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooMuch,
    422: errors.Invalid,
}
