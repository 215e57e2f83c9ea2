"""Who may enter: every route there is, without a credential, and with the wrong one."""

from __future__ import annotations

import base64
import http.client
import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Mount, Route

from runyard.domain.access import Kind
from runyard.server.app import create_app
from runyard.server.auth import inventory
from runyard.server.settings import ServerSettings
from tests.http.conftest import World

# The whole list of what needs no credential. A new entry takes a very good reason.
PUBLIC = {"/healthz", "/readyz", "/ready", "/api/v1/openapi.json", "/api/v1/login/methods"}
# Pages that say the same to everybody, whatever stands there.
PAGES = {"/authorize", "/x/x", "/x/x/{rest:path}"}
# What the tracking client asks for and is to learn is not there, with a key or without.
ABSENT = {"/sdk/otel/v1/metrics", "/sdk/otel/v1/logs", "/oidc/token"}
# What needs another proof than a key, in the body: an invitation's token, a login's code.
PROVEN = {"/api/v1/invitations/redeem", "/api/v1/login/exchange"}
# Where the address itself is the proof, and this one is forged.
SIGNED = {"/storage/x/{name:path}"}
# Where browsers leave for a login provider, and come back; no provider is set here.
BROWSED = {"/api/v1/login/oidc", "/api/v1/login/oidc/callback"}


def every_route() -> Iterator[tuple[str, str]]:
    """Yield method and a path for each route of the app object."""
    settings = ServerSettings(home=Path("unused"), database_url="sqlite:///unused.db")
    for route, _ in create_app(settings).doors:
        for method in sorted(route.methods or ()):
            path = route.path
            for name in route.param_convertors:
                path = path.replace(f"{{{name}}}", "x").replace(f"{{{name}:entity}}", "x")
            yield method, path


ROUTES = sorted(every_route())


def test_T1_there_are_routes_to_test() -> None:
    assert len(ROUTES) > 40
    open_ = PUBLIC | PROVEN | BROWSED | SIGNED | PAGES | ABSENT
    assert {path for _, path in ROUTES if path in open_} == open_


def test_T1_every_route_asks_for_a_credential(world: World) -> None:
    for method, path in ROUTES:
        answer = world.http.request(method, path)
        if path in PUBLIC | PAGES:
            assert answer.status_code == 200, (method, path)
        elif path in PROVEN:
            assert answer.status_code == 422, (method, path)  # it asks for the proof
        elif path in SIGNED:
            assert answer.status_code == (204 if method == "OPTIONS" else 403), (method, path)
        elif path in BROWSED | ABSENT:
            assert answer.status_code == 404, (method, path)
        else:
            assert answer.status_code == 401, (method, path)
            assert "Bearer" in answer.headers["www-authenticate"]


def test_T1_a_route_that_declares_nothing_stops_the_server(world: World) -> None:
    async def forgotten(_: Any) -> Response:
        return Response()

    routes = world.server.api.router.routes
    with pytest.raises(RuntimeError, match="does not declare"):
        inventory([*routes, Route("/api/v1/forgotten", forgotten)])
    with pytest.raises(RuntimeError, match="does not declare"):
        inventory([*routes, Mount("/static", app=forgotten)])


SPELLINGS = [
        "/", "/nothing", "/docs", "/api/v1", "/api/v1/", "/healthz/", "/xhealthz", "/healthz/x",
        "//healthz", "/api/v1//healthz", "/api/v1/me/healthz", "/api/v1/me;/healthz",
        "/api/v1/me/../../../healthz", "/healthz/../api/v1/me", "/%2e%2e/healthz",
        "/healthz%2f..%2fapi%2fv1%2fme", "/HEALTHZ", "/healthz%00", "/api/v1/openapi.json/",
        "/api/v1/queues/healthz/readyz", "/api/v1/items/healthz", "/api/v1/items/readyz",
        "/api/v1/runs/login/static/openapi.json", "/metrics", "/static/x", "/graphql",
    ]  # fmt: skip


def test_T2_no_spelling_of_a_path_is_public(live: World) -> None:
    url = live.http.base_url
    for path in SPELLINGS:
        connection = http.client.HTTPConnection(url.host, url.port, timeout=10)
        connection.putrequest("GET", path, skip_accept_encoding=True)  # sent as it is written
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 401, answer.read()
        connection.close()


def test_T2_things_named_like_public_routes_are_not_public(world: World) -> None:
    for name in ("healthz", "ready", "login", "static", "openapi.json"):
        world.queue(name)
        assert world.caller(None)("GET", f"/queues/admin/{name}").status_code == 401
        assert world.admin("GET", f"/queues/admin/{name}").status_code == 200


NO_CREDENTIALS = [
        "", "Bearer", "Bearer ", "Bearer x", "Bearer ry_", "bearer \xff", "Basic", "Basic x",
        "Basic " + base64.b64encode(b"api:").decode(), "Basic " + base64.b64encode(b"x").decode(),
        "Digest x", "Bearer " + "a" * 10_000, "Token {key}", "{key}", "Bearer {key}x",
        "Bearer x{key}", "Bearer {key} {key}", "Bearer \x00{key}",
    ]  # fmt: skip


def test_T3_streams_and_all_else_refuse_what_is_no_credential(world: World) -> None:
    world.queue()
    (made,) = world.submit()
    paths = ("/events", f"/runs/admin/default/{made['run']['run_id']}/events", "/me")
    for header, path in itertools.product(NO_CREDENTIALS, paths):
        header = header.replace("{key}", world.admin.key or "")
        answer = world.caller(None)(
            "GET", path, headers={"Authorization": header.encode("latin-1")}
        )
        assert answer.status_code == 401, header


def test_T3_an_expired_key_opens_no_stream(world: World) -> None:
    key = world.admin.ok("POST", "/keys", json={"name": "short", "expires_in_days": 1})["key"]
    assert world.caller(key)("GET", "/me").status_code == 200
    world.clock.ahead += timedelta(days=2)
    world.server.keys.forget()
    assert world.caller(key)("GET", "/events").status_code == 401


def test_T3_a_stream_of_another_tenant_is_not_there(world: World) -> None:
    world.queue()
    (made,) = world.submit()
    eve = world.user("eve")
    run = f"/runs/admin/default/{made['run']['run_id']}"
    for path in (f"{run}/events", f"{run}/logs", run):
        assert eve("GET", path).status_code == 404
    assert eve("GET", "/events", params={"entity": "admin"}).status_code == 404
    assert eve("GET", "/events", params={"entity": "admin", "queue": "q"}).status_code == 404


def test_T3_there_are_no_websockets(world: World) -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        world.http.websocket_connect("/api/v1/events").__enter__()


def test_T17_the_wandb_way_of_sending_the_key_is_understood(world: World) -> None:
    answer = world.caller(None)("GET", "/me", auth=("api", world.admin.key))
    assert answer.json()["name"] == "admin"


def test_T4_a_name_that_is_not_the_servers_is_refused(world: World) -> None:
    hosts = ("evil.example", "localhost.evil.example", "", "localhost@evil.example", "[", "a b")
    for host, path in itertools.product(hosts, ("/healthz", "/me")):
        answer = world.admin("GET", path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host"), host


def test_T4_loopback_names_and_addresses_are_the_servers(world: World) -> None:
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:80"):
        assert world.admin("GET", "/me", headers={"Host": host}).status_code == 200


def test_T4_every_unsafe_verb_refuses_pages_of_other_sites(world: World) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        for method, path in ROUTES:
            if method in ("GET", "HEAD", "OPTIONS"):
                continue
            answer = world.admin(method, path, headers=headers)
            assert answer.status_code == 403, (method, path, headers)


def test_T4_a_page_of_the_server_itself_may_ask(world: World) -> None:
    answer = world.admin(
        "POST", "/teams", json={"name": "t"}, headers={"Origin": "http://localhost"}
    )
    assert answer.status_code == 201


def test_T4_no_cross_origin_answer_is_offered(world: World) -> None:
    answer = world.admin("OPTIONS", "/me", headers={"Origin": "http://evil.example"})
    assert not [h for h in answer.headers if h.startswith("access-control")]


def test_T17_the_first_key_is_random_and_only_its_hash_is_stored(world: World) -> None:
    from sqlalchemy import text

    key = (world.server.settings.home / "local-key").read_text()
    assert len(key) > 40
    with world.server.database.begin() as tx:
        rows = tx.connection.execute(text("SELECT * FROM credentials")).mappings().all()
    assert rows
    assert not [row for row in rows if key in map(str, row.values())]


def test_T17_files_that_hold_keys_are_for_their_owner_alone(world: World) -> None:
    for path in world.server.settings.home.glob("*key*"):
        assert path.stat().st_mode & 0o077 == 0


def test_T15_kinds_of_tokens_open_only_their_own_doors(world: World) -> None:
    """The whole matrix: each route, with the token of each kind that it is not declared for."""
    world.queue()
    agent = world.agent()
    world.submit()
    held = agent.claim()
    run = world.caller(held["run_token"])
    for route, door in world.server.doors:
        if not door.kinds:
            continue
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", "x")
        for method in route.methods or ():
            for kind, caller in ((Kind.AGENT, agent.caller), (Kind.RUN, run)):
                if kind in door.kinds:
                    continue
                answer = caller(method, path)
                assert answer.status_code == 403, (method, path, kind)
