"""
The testing switch: users, teams and their keys by a `POST`, for conformance suites.

Nothing of it is there unless the setting `testing_switch` is on, which takes a server that listens
on loopback. It asks for no key, so it answers programs of this machine alone.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runyard.domain.errors import Forbidden, Invalid
from runyard.server.auth import public
from runyard.server.edge import SERVER, Edge
from runyard.services import testing
from runyard.services.call import Call

_PREFIX: Final = "/api/testing/db"


class _User(msgspec.Struct):
    command: str
    username: str | None = None
    admin: bool = False


class _Organization(msgspec.Struct):
    command: str
    orgName: str


class _Named(msgspec.Struct):
    name: str


class _TeamData(msgspec.Struct):
    team: _Named


class _Team(msgspec.Struct):
    command: str
    username: str | None = None
    fixtureData: _TeamData | None = None


class TestingRoutes:
    __test__ = False  # it is no test, whatever its name begins with

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> list[Route]:
        return [
            Route(f"{_PREFIX}/user", self.user, methods=["POST"]),
            Route(f"{_PREFIX}/organization", self.organization, methods=["POST"]),
            Route(f"{_PREFIX}/team", self.team, methods=["POST"]),
        ]

    @public
    async def user(self, request: Request) -> Response:
        """Make a user, or take one down, or all."""
        asked = await _read(request, _User)

        def act(call: Call) -> None:
            match asked.command, asked.username:
                case "up" | "up_runs_v2", str(name):
                    testing.user_up(call, name, is_admin=asked.admin)
                case "down", str(name):
                    testing.user_down(call, name)
                case "down_all", _:
                    testing.all_down(call)
                case "password" | "login" | "logout", _:
                    pass  # there are no passwords, and no sessions
                case _:
                    raise _unknown(asked.command)

        await self._edge.write(SERVER, act)
        return JSONResponse({})

    @public
    async def organization(self, request: Request) -> Response:
        """Accept all that is asked of organizations: there are none here."""
        asked = await _read(request, _Organization)
        if asked.command not in ("up", "down", "add_members"):
            raise _unknown(asked.command)
        return JSONResponse({})

    @public
    async def team(self, request: Request) -> Response:
        """Make a team with a user as its admin, or take it down."""
        asked = await _read(request, _Team)
        name = asked.fixtureData.team.name if asked.fixtureData is not None else None

        def act(call: Call) -> None:
            match asked.command, name:
                case "up", str(name_):
                    testing.team_up(call, name_, asked.username)
                case "down", str(name_):
                    testing.team_down(call, name_)
                case "down", None:
                    pass  # it names none
                case _:
                    raise _unknown(asked.command)

        await self._edge.write(SERVER, act)
        return JSONResponse({})


async def _read(request: Request, kind: type[Any]) -> Any:
    _need_loopback(request)
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"the body is not as it should be: {error}") from None


def _need_loopback(request: Request) -> None:
    """Pass for programs of this machine, asking by themselves.

    Raises:
        Forbidden.
    """
    host = request.client.host if request.client is not None else ""
    try:
        is_near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_near = False
    if not is_near:
        raise Forbidden("the testing switch answers programs of this machine alone")


def _unknown(command: str) -> Invalid:
    return Invalid(f"command: {command[:40]!r} is not known, or lacks a name")
