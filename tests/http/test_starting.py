"""The first start, the next one, and starts that must fail with a clear word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from runyard.domain.errors import Conflict, Invalid
from runyard.server import starting
from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.store import migrate
from runyard.store.db import Database

from .conftest import Clock, World, on_a_port


def test_a_start_on_nothing_makes_database_admin_and_a_key_for_this_machine(
    tmp_path: Path,
) -> None:
    settings = ServerSettings(home=tmp_path / "home")
    said: list[str] = []
    app = create_app(settings, say=said.append)
    with on_a_port(app, settings) as url:
        found = json.loads((settings.home / "server.json").read_text())
        assert found["url"] == url
    app.database.close()
    assert said == []
    assert (settings.home / "server.json").stat().st_mode & 0o777 == 0o600


def test_the_next_start_keeps_the_key_and_mends_a_lost_one(tmp_path: Path) -> None:
    settings = ServerSettings(home=tmp_path / "home")

    def start() -> str:
        app = create_app(settings, say=lambda _: None)
        with TestClient(app, base_url="http://localhost") as http:
            key = (settings.home / "local-key").read_text()
            answer = http.get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})
            assert answer.json()["name"] == "admin"
        app.database.close()
        return key

    first = start()
    assert start() == first
    (settings.home / "local-key").unlink()
    assert start() != first


def test_a_server_for_others_tells_its_first_key_once_and_writes_it_nowhere(
    tmp_path: Path,
) -> None:
    settings = ServerSettings(home=tmp_path / "home", host="0.0.0.0", port=8080)
    said: list[str] = []
    for _ in range(2):
        app = create_app(settings, say=said.append)
        with TestClient(app, base_url="http://localhost"):
            pass
        app.database.close()
    (told,) = said
    key = next(word for word in told.split() if word.startswith("ry_"))
    assert "runyard login" in told
    for path in settings.home.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()


def test_a_database_of_another_version_is_named_with_the_command_that_mends_it(
    database: Database,
) -> None:
    with database.begin() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    if not database.is_postgres:
        pytest.skip("an embedded database is upgraded by the start itself")
    with pytest.raises(Conflict, match="revision older") as caught:
        starting.prepare(database)
    assert caught.value.hint == "runyard db upgrade"


def test_an_empty_database_is_given_the_schema(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    starting.prepare(database)
    migrate.check(database)
    database.close()


def test_settings_are_read_from_the_environment_and_flags_win() -> None:
    environ = {
        "RUNYARD_HOME": "/h",
        "RUNYARD_PORT": "81",
        "RUNYARD_HOST": "10.0.0.1",
        "RUNYARD_ALLOWED_HOSTS": "a.example, b.example",
        "RUNYARD_BASE_URL": "http://of-the-client",
    }
    settings = ServerSettings.load(environ, port=82, host=None)
    assert (settings.port, settings.host) == (82, "10.0.0.1")
    assert settings.database_url == "sqlite:////h/runyard.db"
    assert settings.files_dir == Path("/h/files")
    assert {"a.example", "b.example", "localhost", "10.0.0.1"} == settings.hosts


def test_a_bad_setting_is_named_with_what_was_given() -> None:
    with pytest.raises(Invalid, match=r"port.*'eighty'"):
        ServerSettings.load({"RUNYARD_PORT": "eighty"})


def test_readiness_is_about_the_database_and_health_is_not(world: World) -> None:
    nobody = world.caller(None)
    assert nobody("GET", "/readyz").status_code == 200
    with world.server.database.begin() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    refused = nobody("GET", "/readyz")
    assert (refused.status_code, refused.json()["hint"]) == (503, "runyard db upgrade")
    assert refused.headers["retry-after"]
    assert nobody("GET", "/healthz").status_code == 200


def test_a_bug_is_answered_with_an_id_and_logged_with_its_traceback(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    world.server.keys.actor = broken  # type: ignore[assignment]
    answer = world.admin("GET", "/me")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal")
    assert "planted" not in answer.text
    written = capsys.readouterr()
    assert problem["request_id"] in written.out + written.err
    # Not side by side: a terminal's colours may stand between the two.
    assert "ZeroDivisionError" in written.out + written.err
    assert "planted" in written.out + written.err


def test_errors_of_every_kind_are_problems(world: World) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("PUT", "/me", 405),
        ("GET", "/items?limit=501", 422),
        ("GET", "/items?limit=x", 422),
        ("POST", "/teams", 422),
    ):
        answer = world.admin(method, path)
        problem = answer.json()
        assert (answer.status_code, problem["status"]) == (status, status), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert problem["code"]
    wrong = world.admin("POST", "/teams", json={"nam": "x"}).json()
    assert {v["path"] for v in wrong["violations"]} == {"name", "nam"}


def test_two_servers_on_one_database_wake_each_others_agents(
    database_url: str, tmp_path: Path
) -> None:
    if "postgresql" not in database_url:
        pytest.skip("SQLite serves one server process")
    from .test_agents import polls_waiting, until, waiting

    import httpx2  # isort: skip

    settings = ServerSettings(home=tmp_path / "home", database_url=database_url)
    first, second = Database(database_url), Database(database_url)
    apps = [create_app(settings, database=d, say=lambda _: None) for d in (first, second)]
    with (
        on_a_port(apps[0], settings) as here,
        on_a_port(apps[1], settings) as there,
        httpx2.Client(base_url=here, timeout=60) as http,
        httpx2.Client(base_url=there, timeout=60) as other_http,
    ):
        world, other = World(apps[0], http, Clock()), World(apps[1], other_http, Clock())
        world.queue()
        agent = other.agent()
        agent.poll()
        until(lambda: polls_waiting(other) == 0)
        with waiting(other, lambda: agent.poll(wait_s=20)) as poll:
            world.submit()
            assert len(poll.result(5)["leased"]) == 1
        key = world.admin.ok("POST", "/keys", json={"name": "x"})
        assert other.caller(key["key"])("GET", "/me").status_code == 200
        world.admin.ok("DELETE", f"/keys/{key['id']}")
        until(lambda: other.caller(key["key"])("GET", "/me").status_code == 401, 5)
    first.close()
    second.close()
