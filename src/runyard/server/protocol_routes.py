"""
What the tracking client asks for beside its documents and files, and the pages that it names.

It prints addresses of runs and of the page to log in. Until there are pages, each of them says
which command shows what stands there. None is behind a key: all say the same to everybody.
"""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from runyard.domain.errors import NotFound
from runyard.server import problems
from runyard.server.auth import public
from runyard.server.guard import REQUEST_ID
from runyard.services.naming import RESERVED

_LOGIN: Final = """\
Runyard: how to log in

Make a key where you are logged in already, and paste it where the program asks for one:

    runyard key create NAME

Have you none yet? An admin of this server makes your first one, and can give you an invitation:

    runyard key create --user YOU
    runyard invite create TEAM
"""
_PLACE: Final = """\
Runyard has no page for this yet. Its commands show what stands here:

    runyard run list -e ENTITY -p PROJECT
    runyard run show ENTITY/PROJECT/RUN
    runyard run logs ENTITY/PROJECT/RUN
    runyard job list
    runyard queue list
"""
# Telemetry: the client sends none to whom answers its first, empty request with 404. Tokens of
# identities are not exchanged here.
_ABSENT: Final = ("/sdk/otel/v1/metrics", "/sdk/otel/v1/logs", "/oidc/token")


class _Entity(Convertor[str]):
    """The name of a user or team: never a word of another path."""

    regex = rf"(?!(?:{'|'.join(sorted(RESERVED))})(?:/|$))[a-z0-9][a-z0-9_-]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("entity", _Entity())


def routes() -> list[Route]:
    place = "/{entity:entity}/{project}"
    pages = ("", "/runs/{run}", "/sweeps/{sweep}", "/workspace", "/jobs")
    return [
        *(Route(path, _absent, methods=["POST"]) for path in _ABSENT),
        Route("/authorize", _login, methods=["GET"]),
        *(Route(place + page, _place, methods=["GET"]) for page in pages),
    ]


@public
async def _absent(request: Request) -> Response:
    return problems.protocol(NotFound(f"there is no {request.url.path}"), request.scope[REQUEST_ID])


@public
async def _login(_: Request) -> Response:
    return PlainTextResponse(_LOGIN)


@public
async def _place(_: Request) -> Response:
    return PlainTextResponse(_PLACE)
