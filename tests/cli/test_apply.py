"""`runyard apply` and `runyard export`, typed by a user, against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runyard.cli.main import run
from tests.cli.conftest import Cli
from tests.http.conftest import World, clock, live, settings  # noqa: F401

QUEUES = """\
apiVersion: runyard/v1
teams:
  vision:
    queues:
      cpu: {resource: local-process, policy: {max_running: 2}}
"""


@pytest.fixture
def server(live: World, monkeypatch: pytest.MonkeyPatch) -> World:  # noqa: F811
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url).rstrip("/"))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    return live


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "platform.yaml"
    path.write_text(QUEUES)
    return path


def test_it_shows_what_it_does_does_it_and_then_has_nothing_to_do(
    cli: Cli, server: World, file: Path
) -> None:
    done = cli("apply", "-f", str(file), "--yes")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "+ create team vision",
        "+ create queue vision/cpu",
        '    + resource: "local-process"',
        '    + policy: {"max_running": 2}',
        "",
        "Plan: 2 to create, 0 to update, 0 to delete, 0 unchanged.",
    ]
    assert done.err.splitlines() == [
        "done: create team vision", "done: create queue vision/cpu", "Applied 2 steps.",
    ]  # fmt: skip
    again = cli("apply", "-f", str(file))  # asks nothing, since there is nothing to ask about
    assert (again.code, again.out, again.err) == (0, "Nothing to do: 2 unchanged.\n", "")


def test_a_change_is_shown_field_by_field(cli: Cli, server: World, file: Path) -> None:
    cli("apply", "-f", str(file), "--yes")
    text = QUEUES.replace(
        "{resource: local-process, policy: {max_running: 2}}",
        "\n        resource: local-process\n        policy: {max_running: 3, run_timeout: 60}\n"
        f"        links: [{{label: Wiki, url: 'https://wiki.example.org/{'x' * 80}'}}]",
    )
    file.write_text(text)
    done = cli("apply", "-f", str(file), "--dry-run")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:-2] == [
        "~ update queue vision/cpu",
        "    ~ policy.max_running: 2 -> 3",
        "    ~ policy.run_timeout: 0 -> 60",
        "    ~ links:",
        "        - []",
        "        + - label: Wiki",
        f"        +   url: https://wiki.example.org/{'x' * 80}",
    ]


def test_a_dry_run_does_nothing_and_a_check_tells_by_its_exit_code(
    cli: Cli, server: World, file: Path
) -> None:
    assert cli("apply", "-f", str(file), "--dry-run").code == 0
    assert cli("apply", "-f", str(file), "--check").code == 2
    assert server.admin.ok("GET", "/teams")["data"] == []
    cli("apply", "-f", str(file), "--yes")
    assert cli("apply", "-f", str(file), "--check").code == 0


def test_mistakes_are_listed_by_line_and_are_no_difference_to_a_check(
    cli: Cli, server: World, file: Path
) -> None:
    file.write_text(QUEUES.replace("resource", "resurce").replace("max_running", "max_runing"))
    done = cli("apply", "-f", str(file), "--check")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: the document has 2 mistakes; nothing was sent anywhere",
        f"  {file}:5: teams.vision.queues.cpu.resource: must be given",
        f"  {file}:5: teams.vision.queues.cpu.resurce: unknown; did you mean resource?",
        "hint: what may be written: runyard apply --schema",
    ]


def test_nobody_is_there_to_be_asked(cli: Cli, server: World, file: Path) -> None:
    done = cli("apply", "-f", str(file))
    assert done.code == 2
    assert "add --yes" in done.err
    assert server.admin.ok("GET", "/teams")["data"] == []


def test_json_has_the_steps_and_nothing_else_is_on_stdout(
    cli: Cli, server: World, file: Path
) -> None:
    planned = json.loads(cli("apply", "-f", str(file), "--dry-run", "--json").out)
    assert planned["applied"] is False
    assert [(s["verb"], s["kind"], s["owner"], s["name"]) for s in planned["steps"]] == [
        ("create", "team", "", "vision"), ("create", "queue", "vision", "cpu"),
    ]  # fmt: skip
    assert planned["steps"][1]["changes"][1] == {
        "path": "policy", "was": None, "becomes": {"max_running": 2},
    }  # fmt: skip
    applied = json.loads(cli("apply", "-f", str(file), "--yes", "--json").out)
    assert (applied["applied"], applied["done"]) == (True, 2)


def test_a_queue_with_waiting_items_is_pruned_only_with_yes(
    cli: Cli, server: World, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("apply", "-f", str(file), "--yes")
    server.queue("old", entity="vision")
    server.submit(3, queue="vision/old")
    assert cli("apply", "-f", str(file), "--check").code == 0
    shown = cli("apply", "-f", str(file), "--prune", "--dry-run").out
    assert (
        "- delete queue vision/old  (not in the document; 3 waiting items are cancelled)" in shown
    )
    refused = cli("apply", "-f", str(file), "--prune")
    assert refused.code == 2
    assert "queue vision/old (3)" in refused.err
    done = cli("apply", "-f", str(file), "--prune", "--yes")
    assert done.code == 0
    assert [q["name"] for q in server.admin.ok("GET", "/queues")["data"]] == ["cpu"]


def test_an_error_says_what_was_done_and_what_was_not(
    cli: Cli, server: World, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "apiVersion: runyard/v1\nteams:\n  vision:\n    members: {admin: admin, nobody: member}\n"
        "    queues: {cpu: {resource: local-process}}\n"
    )
    done = cli("apply", "-f", str(file), "--yes")
    assert done.code == 1
    said = done.err.splitlines()
    assert said.pop(3).startswith("hint: ")
    assert said == [
        "done: create team vision",
        "done: create member vision/admin",
        "error: could not create member vision/nobody: no user 'nobody'",
        "2 of 4 steps were done. Not done:",
        "  create member vision/nobody",
        "  create queue vision/cpu",
        "Mend the cause and run it again: it goes on from there.",
    ]
    server.user("nobody")
    again = cli("apply", "-f", str(file), "--yes", "--json")
    assert again.code == 0
    assert [step["name"] for step in json.loads(again.out)["steps"]] == ["nobody", "cpu"]


def test_a_secret_that_is_not_there_is_asked_for(
    cli: Cli, server: World, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("apiVersion: runyard/v1\nteams: {vision: {secrets: {token: {exists: true}}}}\n")
    done = cli("apply", "-f", str(file), "--yes")
    assert done.code == 1
    words = "secret vision/token is missing; write its value: runyard secret set token -e vision"
    assert words in done.out
    assert words in done.err
    server.admin.ok("PUT", "/secrets/vision/token", json={"value": "v"})
    assert cli("apply", "-f", str(file)).code == 0


def test_an_export_is_what_apply_takes(cli: Cli, server: World, file: Path, tmp_path: Path) -> None:
    cli("apply", "-f", str(file), "--yes")
    done = cli("export", "--entity", "vision")
    assert done.code == 0
    copy = tmp_path / "copy.yaml"
    copy.write_text(done.out)
    assert cli("apply", "-f", str(copy), "--check", "--prune").code == 0
    queues = json.loads(cli("export", "--json").out)["teams"]["vision"]["queues"]
    assert queues == {"cpu": {"resource": "local-process", "policy": {"max_running": 2}}}
    assert "no team or user 'vison'" in cli("export", "-e", "vison").err


def test_the_schema_needs_no_server(cli: Cli) -> None:
    done = cli("apply", "--schema")
    assert json.loads(done.out)["title"] == "Runyard platform"
    assert cli("apply").code == 2


def test_T14_what_signs_a_webhook_goes_to_a_file_of_ones_own_and_into_no_log(
    cli: Cli, server: World, file: Path, tmp_path: Path
) -> None:
    file.write_text(
        "apiVersion: runyard/v1\nteams: {vision: {hooks: {h: {events: [item.failed], "
        "url: {from_env: CHAT}}, i: {events: [item.failed], url: {from_env: CHAT}}}}}\n"
    )
    os.environ["CHAT"] = "https://93.184.216.34/opens-the-chat"
    kept = tmp_path / "signing"
    try:
        done = cli("apply", "-f", str(file), "--yes", "--signing-secrets", str(kept))
    finally:
        del os.environ["CHAT"]
    assert done.code == 0, done.err
    lines = dict(line.split("=", 1) for line in kept.read_text().splitlines())
    assert list(lines) == ["vision/h", "vision/i"]
    assert kept.stat().st_mode & 0o777 == 0o600
    for secret in (*lines.values(), "opens-the-chat"):
        assert len(secret) > 10
        assert secret not in done.out + done.err


def test_on_a_terminal_it_has_colours_and_asks_twice_before_it_prunes(
    server: World, file: Path, cli: Cli, tmp_path: Path
) -> None:
    cli("apply", "-f", str(file), "--yes")
    server.queue("old", entity="vision")
    words = ["apply", "-f", str(file), "--prune"]
    main, under = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "runyard.cli.main", *words],
        stdin=under, stdout=under, stderr=under, env=env, close_fds=True,
    )  # fmt: skip
    os.close(under)
    os.write(main, b"y\nn\n")
    shown = b""
    while True:
        try:
            piece = os.read(main, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(main)
    assert process.wait(30) == 130
    text = shown.decode()
    assert re.search(r"\x1b\[31m- delete queue vision/old", text)
    assert "Apply 1 step to" in text
    assert "Delete 1 thing for good?" in text
    assert "interrupted" in text
    assert {q["name"] for q in server.admin.ok("GET", "/queues")["data"]} == {"cpu", "old"}


def test_T25_what_others_wrote_reaches_the_terminal_as_plain_text(
    cli: Cli, server: World, file: Path
) -> None:
    cli("apply", "-f", str(file), "--yes")
    evil = "\x1b]0;owned\x07\x1b[2Jdescription\u202e"
    server.admin.ok("PATCH", "/queues/vision/cpu", json={"description": evil})
    done = cli("apply", "-f", str(file), "--dry-run")
    assert "description" in done.out
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)


def test_help_needs_neither_yaml_nor_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apply", "--help"]) == 0
    assert "--prune" in capsys.readouterr().out
