"""Errors as RFC 9457 documents: what went wrong, a stable code, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from runyard.domain.errors import (
    Invalid,
    NotFound,
    RunyardError,
    TooMuch,
    Unauthenticated,
    Unavailable,
    Violation,
)

MEDIA_TYPE: Final = "application/problem+json"
_CODES: Final = {405: "method_not_allowed", 413: "too_much", 429: "too_much", 421: "wrong_host"}
_LOGIN: Final = "wandb login --relogin"
_SHOWN: Final = 200  # characters of a value that is quoted back


class TooMany(TooMuch):
    """Too much at once, not too large: the same may be asked later."""

    status = 429


class BodyTooLarge(HTTPException):
    """Raised while a body is read. FastAPI passes HTTP errors through, and hides others."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


def response(error: RunyardError, request_id: str) -> Response:
    return _document(
        error.status,
        error.message,
        error.code,
        request_id,
        hint=error.hint,
        violations=error.violations,
        headers=_headers(error),
    )


def _headers(error: RunyardError) -> dict[str, str]:
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="runyard", Basic realm="runyard"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after.total_seconds())))
    if isinstance(error, TooMany):
        headers["Retry-After"] = "5"
    return headers


def protocol(error: RunyardError, request_id: str) -> Response:
    """
    Answer in the form that the tracking client shows its user: it prints the message alone.

    It asks again for minutes after any status that it does not know to be final, as 421 is.
    """
    hint = _LOGIN if isinstance(error, Unauthenticated) else error.hint
    message = f"{error.message} ({hint})" if hint else error.message
    body = {"errors": [{"message": message}], "data": None, "error": message}
    answer = Response(
        msgspec.json.encode(body),
        status_code=400 if error.status == 421 else error.status,
        headers=_headers(error),
        media_type="application/json",
    )
    answer.headers["X-Request-Id"] = request_id
    return answer


def of(scope: Mapping[str, Any]) -> Callable[[RunyardError, str], Response]:
    """Return the form in which the route of a request tells errors."""
    door = scope.get("runyard.door")
    return protocol if door is not None and door.protocol else response


def unexpected(request_id: str) -> Response:
    return _document(
        500,
        "the server made a mistake; it is in its log under this request id",
        "internal",
        request_id,
        hint=f"tell an operator of the server: request {request_id}",
    )


def install(app: FastAPI) -> None:
    """Have every error of the app's routes answered as a problem."""
    app.add_exception_handler(RunyardError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, RunyardError)
    return of(request.scope)(error, request.scope["runyard.request_id"])


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What is sent to these routes is never quoted, not even to its sender (T14).
    quotes = "/secrets" not in request.url.path
    wrong = [_violation(each, quotes=quotes) for each in error.errors()]
    summary = str(wrong[0]) if len(wrong) == 1 else f"the request has {len(wrong)} mistakes"
    return response(Invalid(summary, violations=wrong), request.scope["runyard.request_id"])


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    request_id = request.scope["runyard.request_id"]
    if error.status_code == 404:
        return response(NotFound(f"there is no {request.url.path}"), request_id)
    if error.status_code in (400, 422):
        return response(Invalid(str(error.detail)), request_id)
    if error.status_code == 413:
        return of(request.scope)(TooMuch(str(error.detail)), request_id)
    phrase = HTTPStatus(error.status_code).phrase
    code = _CODES.get(error.status_code, phrase.lower().replace(" ", "_"))
    return _document(
        error.status_code,
        str(error.detail or phrase),
        code,
        request_id,
        headers=dict(error.headers or {}),
    )


def _violation(each: Mapping[str, Any], *, quotes: bool = True) -> Violation:
    place = [str(part) for part in each["loc"]]
    if len(place) > 1 and place[0] in ("body", "query", "path", "header"):
        place = place[1:]
    given = repr(each.get("input"))
    if len(given) > _SHOWN:
        given = given[:_SHOWN] + "…"
    if not quotes or each.get("type") in ("missing", "json_invalid", "model_attributes_type"):
        return Violation(".".join(place), str(each["msg"]))
    return Violation(".".join(place), f"{each['msg']}; given was {given}")


def _document(
    status: int,
    detail: str,
    code: str,
    request_id: str,
    *,
    hint: str = "",
    violations: Sequence[Violation] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": hint,
        "violations": [{"path": v.path, "message": v.message} for v in violations],
        "request_id": request_id,
    }
    return Response(msgspec.json.encode(body), status, dict(headers or {}), MEDIA_TYPE)
