"""
What the tracking client asks for beside its documents and files, and the pages that it names.

It prints addresses of runs and of the page to log in. Until there are pages, each of them says
which command shows what stands there. None is behind a key: they are made of the address alone.
"""

from __future__ import annotations

import re
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
_PLACE: Final = "Runyard has no page for this yet. Its commands show what stands here:\n\n"
_OF_PROJECT: Final = (
    "runyard run list -e {entity} -p {project}",
    "runyard sweep list {entity}/{project}",
    "runyard artifact list {entity}/{project}",
    "runyard job list -e {entity} -p {project}",
    "runyard queue list -e {entity}",
)
_OF_RUN: Final = (
    "runyard run show {entity}/{project}/{name}",
    "runyard run logs {entity}/{project}/{name}",
    "runyard run metrics {entity}/{project}/{name}",
)
# By what follows the project in the address, and of how many words that is.
_PAGES: Final = {
    ("runs", 2): _OF_RUN,
    ("sweeps", 2): ("runyard sweep show {entity}/{project}/{name}",),
    ("artifacts", 4): ("runyard artifact show {entity}/{project}/{collection}:{version}",),
    ("jobs", 1): ("runyard job list -e {entity} -p {project}",),
}
# A command is made to be pasted: of no word that a shell reads in another way.
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
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
    return [
        *(Route(path, _absent, methods=["POST"]) for path in _ABSENT),
        Route("/authorize", _login, methods=["GET"]),
        Route(place, _place, methods=["GET"]),
        Route(place + "/{rest:path}", _place, methods=["GET"]),
    ]


@public
async def _absent(request: Request) -> Response:
    return problems.protocol(NotFound(f"there is no {request.url.path}"), request.scope[REQUEST_ID])


@public
async def _login(_: Request) -> Response:
    return PlainTextResponse(_LOGIN)


@public
async def _place(request: Request) -> Response:
    known = request.path_params
    words = [word for word in known.get("rest", "").split("/") if word]
    if not all(_PLAIN.fullmatch(word) for word in (known["project"], *words)):
        known, words = {"entity": "ENTITY", "project": "PROJECT"}, []
    commands = _PAGES.get((words[0] if words else "", len(words)), _OF_PROJECT)
    named = {
        "entity": known["entity"],
        "project": known["project"],
        "name": words[1] if len(words) > 1 else "",
        "collection": words[-2] if len(words) > 1 else "",
        "version": words[-1] if words else "",
    }
    lines = "".join(f"    {command.format(**named)}\n" for command in commands)
    return PlainTextResponse(_PLACE + lines)
