"""People, roles, service accounts, invitations, keys and the audit log, typed at a real server."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runyard.cli.edge import WrongUsage
from runyard.cli.times import moment, seconds
from tests.cli.conftest import Cli, Done
from tests.http.conftest import World, clock, live, settings

__all__ = ["clock", "live", "settings"]

As = Callable[..., Done]


@pytest.fixture
def url(live: World) -> str:
    return str(live.http.base_url).rstrip("/")


@pytest.fixture
def admin(live: World, url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Type as the server's admin, at a server with a team."""
    monkeypatch.setenv("RUNYARD_BASE_URL", url)
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    ok(cli("team", "create", "vision"))
    return cli


@pytest.fixture
def as_user(live: World, admin: Cli, monkeypatch: pytest.MonkeyPatch) -> As:
    def type_as(key: str, *words: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setenv("RUNYARD_API_KEY", key)
            return admin(*words)

    return type_as


def ok(done: Done) -> Done:
    assert done.code == 0, done.err
    return done


def data(done: Done) -> Any:
    return json.loads(ok(done).out)


def test_a_role_is_made_given_and_deleted(admin: Cli) -> None:
    ok(admin("user", "create", "ada"))
    made = ok(admin("role", "set", "vision", "releaser", "--may", "submit", "--may", "cancel"))
    assert made.err == "Role releaser of vision may: cancel, see, submit.\n"
    ok(admin("team", "add", "vision", "ada", "--role", "releaser"))
    assert data(admin("team", "members", "vision", "--json"))[0]["role"] == "releaser"
    refused = admin("role", "delete", "vision", "releaser")
    assert refused.code == 1
    assert "ada of vision have the role 'releaser'" in refused.err
    ok(admin("team", "remove", "vision", "ada"))
    ok(admin("role", "delete", "vision", "releaser"))
    listed = ok(admin("role", "list", "vision")).out
    assert "releaser" not in listed
    assert "operator" in listed


def test_a_misspelt_permission_is_named(admin: Cli) -> None:
    done = admin("role", "set", "vision", "x", "--may", "sumbit")
    assert done.code == 1
    assert "permissions.sumbit" in done.err
    assert "manage_members" in ok(admin("role", "permissions")).out


def test_a_service_account_is_made_used_changed_and_ended(admin: Cli, as_user: As) -> None:
    made = ok(admin("service-account", "create", "vision", "bot", "-q", "gpu"))
    assert "runyard key create --for bot" in made.err
    key = ok(admin("key", "create", "k", "--for", "bot", "--expires", "90d")).out.strip()
    shown = ok(as_user(key, "whoami")).out
    assert ["Kind:", "service"] in [line.split() for line in shown.splitlines()]
    assert ["Queues:", "gpu"] in [line.split() for line in shown.splitlines()]
    ok(admin("service-account", "edit", "vision", "bot", "--any-queue", "--role", "submitter"))
    (listed,) = data(admin("service-account", "list", "vision", "--json"))
    assert (listed["role"], listed["queues"]) == ("submitter", None)
    assert "any queue" in ok(admin("service-account", "list", "vision")).out
    ok(admin("service-account", "disable", "vision", "bot"))
    assert as_user(key, "whoami").code == 1
    ok(admin("service-account", "enable", "vision", "bot"))
    ok(as_user(key, "whoami"))
    assert admin("service-account", "delete", "vision", "bot").code == 2  # asks, of nobody
    ok(admin("service-account", "delete", "vision", "bot", "--yes"))
    assert as_user(key, "whoami").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("service-account", "edit", "vision", "bot"),
        ("service-account", "edit", "vision", "bot", "--any-queue", "-q", "x"),
        ("key", "create", "--user", "a", "--for", "b"),
        ("key", "create", "--expires", "1d", "--expires-in-days", "1"),
        ("key", "create", "--expires", "soon"),
        ("invite", "create", "vision", "--expires", "0d"),
        ("user", "edit", "ada"),
        ("audit", "list", "--since", "yesterday"),
    ],
    ids=" ".join,
)
def test_flags_that_make_no_sense_are_wrong_usage(admin: Cli, words: tuple[str, ...]) -> None:
    assert admin(*words).code == 2


def test_an_invitation_is_made_accepted_and_logs_in(
    admin: Cli, cli: Cli, url: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ok(admin("invite", "create", "vision", "--role", "operator", "--email", "a@b.org"))
    token = made.out.strip()
    assert token not in made.err
    assert f"runyard invite accept --name NAME --base-url {url}" in made.err
    monkeypatch.delenv("RUNYARD_BASE_URL")
    monkeypatch.delenv("RUNYARD_API_KEY")
    accepted = ok(cli("invite", "accept", token, "--name", "ada", "--base-url", url))
    assert "You are ada, operator of vision." in accepted.err
    assert "ry_" not in accepted.out + accepted.err
    file = own_home / "config" / "runyard" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "vision (operator)" in ok(cli("whoami")).out
    again = cli("invite", "accept", token, "--name", "eve", "--base-url", url)
    assert again.code == 1
    assert "it was used or revoked, or it has expired" in again.err
    assert ok(cli("whoami")).out.count("ada")


def test_the_token_can_be_piped_in(admin: Cli, url: str, own_home: Path) -> None:
    token = ok(admin("invite", "create", "vision")).out
    env = {k: v for k, v in os.environ.items() if k != "RUNYARD_API_KEY"}
    argv = [sys.executable, "-m", "runyard.cli.main", "invite", "accept", "--name", "ada"]
    done = subprocess.run(argv, input=token, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "You are ada, member of vision" in done.stderr
    empty = subprocess.run(argv, input="", env=env, capture_output=True, text=True)
    assert empty.returncode == 2


def test_who_is_logged_in_joins_with_a_token(live: World, admin: Cli, as_user: As) -> None:
    ada = live.user("ada").key or ""
    token = ok(admin("invite", "create", "vision")).out.strip()
    assert "ada is now member of vision." in ok(as_user(ada, "invite", "accept", token)).err


def test_invitations_are_listed_and_revoked(admin: Cli) -> None:
    made = data(admin("invite", "create", "vision", "--json"))
    assert "open" in ok(admin("invite", "list", "vision")).out
    assert made["token"] not in ok(admin("invite", "list", "--json")).out
    ok(admin("invite", "revoke", made["id"]))
    assert "No invitations" in ok(admin("invite", "list", "vision")).err


def test_users_are_edited_disabled_and_enabled(live: World, admin: Cli, as_user: As) -> None:
    ada = live.user("ada").key or ""
    ok(as_user(ada, "user", "edit", "ada", "--email", "ada@example.org"))
    assert "ada@example.org" in ok(admin("user", "list")).out
    assert as_user(ada, "user", "edit", "ada", "--admin").code == 1
    ok(admin("user", "disable", "ada"))
    assert as_user(ada, "whoami").code == 1
    ok(admin("user", "enable", "ada"))
    ok(admin("user", "edit", "ada", "--admin", "--email", ""))
    shown = {user["name"]: user for user in data(admin("user", "list", "--json"))}
    assert (shown["ada"]["is_admin"], shown["ada"]["email"]) == (True, None)


def test_expired_keys_are_listed_as_such(live: World, admin: Cli) -> None:
    ok(admin("key", "create", "brief", "--expires", "1m"))
    live.clock.ahead += timedelta(minutes=2)
    line = next(line for line in ok(admin("key", "list")).out.splitlines() if "brief" in line)
    assert "expired" in line


def test_the_log_is_listed_and_exported(admin: Cli, tmp_path: Path) -> None:
    ok(admin("role", "set", "vision", "own", "--may", "submit"))
    ok(admin("role", "set", "vision", "own", "--may", "serve"))
    first = ok(admin("audit", "list", "-e", "vision")).out.splitlines()[1]
    assert "role.edit" in first
    assert '→ ["see", "serve"]' in first
    assert len(data(admin("audit", "list", "--action", "role", "--json"))) == 2
    assert len(data(admin("audit", "list", "--limit", "1", "--json"))) == 1
    assert data(admin("audit", "list", "--until", "1d", "--json")) == []
    lines = ok(admin("audit", "export", "-e", "vision")).out.splitlines()
    assert [json.loads(line)["action"] for line in lines] == [
        "team.create", "role.create", "role.edit",
    ]  # fmt: skip
    rows = list(csv.reader(io.StringIO(ok(admin("audit", "export", "--format", "csv")).out)))
    assert rows[0][0] == "seq"
    file = tmp_path / "audit.jsonl"
    ok(admin("audit", "export", "-o", str(file), "-e", "vision"))
    assert file.read_text().splitlines() == lines
    assert admin("audit", "export", "-o", str(file)).code == 2
    assert file.read_text().splitlines() == lines


def test_a_refused_export_leaves_no_file(live: World, as_user: As, tmp_path: Path) -> None:
    ada = live.user("ada").key or ""
    done = as_user(ada, "audit", "export", "-o", str(tmp_path / "x"))
    assert done.code == 1
    assert "hint: name a team of yours: runyard audit list --entity TEAM" in done.err
    assert not (tmp_path / "x").exists()


def test_T25_names_in_the_log_cannot_steer_the_terminal(live: World, admin: Cli) -> None:
    live.admin.ok("POST", "/keys", json={"name": "\x1b]0;evil\x07\x1b[2J"})
    assert "\x1b" not in ok(admin("audit", "list")).out


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert [seconds(t, "-x") for t in ("90s", "30m", "12h", "90d", "2w")] == [
        90, 1800, 43_200, 7_776_000, 1_209_600,
    ]  # fmt: skip
    assert moment("2d", "-x", now=now) == now - timedelta(days=2)
    assert moment("2030-01-31T13:00+01:00", "-x") == now
    assert moment(None, "-x") is None
    for wrong in ("", "d", "1", "-1d", "1 d", "1y", "0s"):
        with pytest.raises(WrongUsage):
            seconds(wrong, "-x")
    with pytest.raises(WrongUsage):
        moment("31.1.2030", "-x")
