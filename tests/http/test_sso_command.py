"""`runyard login --sso` for real: a process, a browser, a server on a port and a provider."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.store.db import Database
from tests.http.conftest import Clock, World, on_a_port
from tests.http.login_provider import CLIENT_ID, CLIENT_SECRET, LoginProvider
from tests.http.test_oidc import provider

__all__ = ["provider"]

# What a browser does: it keeps cookies, follows redirects, and shows the last page.
BROWSER = """
import sys, httpx2
with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
    print(browser.get(sys.argv[1]).text)
"""


@pytest.fixture
def settings(tmp_path: Path, provider: LoginProvider) -> ServerSettings:
    with socket.socket() as probe:  # the provider sends browsers back to this very port
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ServerSettings(
        home=tmp_path / "home", port=port, sweep_interval_s=60, oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT_ID, oidc_client_secret=CLIENT_SECRET,
        oidc_allowed_groups=("ml-eng",), oidc_teams=("ml-eng=vision:member",),
    )  # fmt: skip


@pytest.fixture
def live(database: Database, settings: ServerSettings, clock: Clock) -> Iterator[World]:
    server = create_app(settings, database=database, clock=clock, say=lambda _: None)
    with (
        on_a_port(server, settings, settings.port) as url,
        httpx2.Client(base_url=url, timeout=60) as http,
    ):
        yield World(server, http, clock)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")}
    script = tmp_path / "browser.py"
    script.write_text(BROWSER)
    return {
        **clean,
        "RUNYARD_HOME": str(tmp_path / "nothing"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "BROWSER": shlex.join([sys.executable, str(script), "%s"]),
        **more,
    }


def typed(
    environ: dict[str, str], *words: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runyard.cli.main", *words],
        env=environ, input=given, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_person_logs_in_by_a_browser_and_uses_the_key(live: World, tmp_path: Path) -> None:
    environ = environment(tmp_path)
    done = typed(environ, "login", "--sso", live.server.settings.url)
    assert done.returncode == 0, done.stderr
    assert "as ada, until 20" in done.stderr
    assert "You are logged in" in done.stdout  # the browser's last page
    saved = tmp_path / "config" / "runyard" / "credentials.json"
    assert saved.stat().st_mode & 0o077 == 0
    key = json.loads(saved.read_text())["servers"][live.server.settings.url]["key"]
    assert key not in done.stderr + done.stdout
    who = json.loads(typed(environ, "whoami", "--json").stdout)
    assert (who["name"], [team["team"] for team in who["teams"]]) == ("ada", ["vision"])
    again = typed(environ, "login", "--sso")  # the server that is known by now
    assert again.returncode == 0, again.stderr


def test_a_person_without_a_browser_pastes_the_code(live: World, tmp_path: Path) -> None:
    environ = environment(tmp_path)
    command = [sys.executable, "-m", "runyard.cli.main", "login", "--sso", "--no-browser"]
    with subprocess.Popen(
        [*command, live.server.settings.url], env=environ, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        page = next(line.strip() for line in process.stderr if line.strip().startswith("http://"))
        with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
            shown = browser.get(page).text
        code = shown.partition("<code>")[2].partition("</code>")[0]
        _, said = process.communicate(f" {code}\n", timeout=60)
    assert process.returncode == 0, said
    assert "as ada, until" in said


def test_somebody_elses_code_is_refused(live: World, tmp_path: Path) -> None:
    done = typed(
        environment(tmp_path), "login", "--sso", "--no-browser", live.server.settings.url,
        given="x" * 43 + "\n",
    )  # fmt: skip
    assert done.returncode == 1
    assert "code of this login is not accepted" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_login_says_why_in_the_terminal(
    live: World, provider: LoginProvider, tmp_path: Path
) -> None:
    provider.person["groups"] = ["strangers"]
    done = typed(environment(tmp_path), "login", "--sso", live.server.settings.url)
    assert done.returncode == 1
    assert "none of your groups is let in here" in done.stderr
    assert "You are not logged in" in done.stdout
    assert not (tmp_path / "config").exists()
