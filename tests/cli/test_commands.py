"""The other commands: what they print, in tables, in pipes and as JSON."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from runyard.wire.rest import RunRef
from tests.cli.conftest import Cli
from tests.cli.double import KEY, Double, Run, wait_until


def add_run(server: Double, **changes: object) -> Run:
    run = Run(str(len(server.runs)), {"job": "digits"}, "default")
    server.runs[run.item_id] = run
    server.move(run, **changes)
    return run


def test_without_a_server_each_command_says_so_in_two_lines(cli: Cli) -> None:
    done = cli("queue", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error: no Runyard server is configured",
        "hint: start one here: runyard up; or log in to one: runyard login URL",
    ]


def test_a_server_that_is_away_is_named_in_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RUNYARD_API_KEY", KEY)
    done = cli("whoami")
    assert done.code == 1
    first, second = done.err.splitlines()
    assert first.startswith("error: cannot reach the Runyard server at http://127.0.0.1:9: ")
    assert second == "hint: is it running? `runyard up` starts one here"


def test_something_that_is_no_runyard_server_is_named(logged_in: Double, cli: Cli) -> None:
    logged_in.answers += [(200, b"<html>welcome</html>")]
    done = cli("whoami")
    assert done.code == 1
    assert "does not answer as a Runyard server does" in done.err
    assert "Traceback" not in done.err


def test_logging_in_tries_the_key_and_keeps_it_for_its_owner(
    server: Double, cli: Cli, own_home: Path
) -> None:
    done = cli("login", server.url, "--key", KEY)
    assert done.code == 0
    assert KEY not in done.out + done.err
    file = own_home / "config" / "runyard" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "ada" in cli("whoami").out
    assert cli("logout").code == 0
    assert cli("whoami").code == 1


def test_a_key_that_is_not_accepted_is_not_kept(server: Double, cli: Cli, own_home: Path) -> None:
    done = cli("login", server.url, "--key", "wrong")
    assert done.code == 1
    assert "does not accept this key" in done.err
    assert not (own_home / "config").exists()


def test_the_key_can_be_piped_in(server: Double, tmp_path: Path) -> None:
    import subprocess
    import sys

    argv = [sys.executable, "-m", "runyard.cli.main", "login", server.url]
    done = subprocess.run(argv, input=KEY + "\n", env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    empty = subprocess.run(argv, input="", env=os.environ, capture_output=True, text=True)
    assert empty.returncode == 2
    assert "no key was given" in empty.stderr


def test_lists_are_plain_columns_in_a_pipe(logged_in: Double, cli: Cli) -> None:
    done = cli("queue", "list")
    assert done.out.splitlines() == [
        "ENTITY  NAME     RESOURCE         MODE  WAITING  RUNNING  AGENTS",
        "ada     default  local-process    open  0        0        0",
        "ada     gpu      local-container  open  0        0        0",
    ]
    assert done.err == ""


@pytest.mark.parametrize(
    "words",
    [("queue", "list"), ("item", "list"), ("run", "list"), ("job", "list"), ("key", "list")],
    ids=" ".join,
)
def test_json_of_a_list_is_a_list_even_an_empty_one(
    logged_in: Double, cli: Cli, words: tuple[str, ...]
) -> None:
    logged_in.queues.clear()
    done = cli(*words, "--json")
    assert (json.loads(done.out), done.err) == ([], "")
    empty = cli(*words)
    assert (empty.code, empty.out) == (0, "")
    assert empty.err.startswith("No ")


def test_a_queue_is_created_shown_edited_and_deleted(
    logged_in: Double, cli: Cli, tmp_path: Path
) -> None:
    config = tmp_path / "queue.yaml"
    config.write_text("gpus: all\n")
    words = ("queue", "create", "big", "-r", "local-container", "-c", str(config))
    assert cli(*words, "--policy", '{"priorities": true}').code == 0
    shown = json.loads(cli("queue", "show", "ada/big", "--json").out)
    assert (shown["config"], shown["policy"]) == ({"gpus": "all"}, {"priorities": True})

    assert cli("queue", "edit", "big", "--set", "config.gpus=2", "--set", "policy.x=1").code == 0
    assert logged_in.queues["big"].config == {"gpus": 2}
    assert logged_in.queues["big"].policy == {"priorities": True, "x": 1}
    assert json.loads(logged_in.seen("PATCH", "/queues")[-1].body).keys() == {"config", "policy"}

    refused = cli("queue", "delete", "big")
    assert refused.code == 2
    assert "hint: add --yes" in refused.err
    assert "big" in logged_in.queues
    assert cli("queue", "delete", "big", "--yes").code == 0
    assert "big" not in logged_in.queues


def test_a_queue_is_edited_in_the_users_editor(
    logged_in: Double, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/config: {}/config: {gpus: 4}/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    assert cli("queue", "edit", "gpu").code == 0
    assert logged_in.queues["gpu"].config == {"gpus": 4}
    again = cli("queue", "edit", "gpu")
    assert "Nothing was changed" in again.err


def test_an_edit_that_went_wrong_keeps_the_text(
    logged_in: Double, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "{ broken" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    done = cli("queue", "edit", "gpu")
    assert done.code == 2
    path = Path(done.err.rpartition("your text is in ")[2].strip())
    assert path.read_text() == "{ broken\n"
    path.unlink()


@pytest.mark.parametrize("word", ["gpus=1", "config=1", "config.gpus", "name.x=1"])
def test_a_value_that_no_queue_has_is_refused(logged_in: Double, cli: Cli, word: str) -> None:
    done = cli("queue", "edit", "gpu", "--set", word)
    assert done.code == 2
    assert not logged_in.seen("PATCH", "/")


def test_a_code_job_is_created_once_and_told_apart_from_a_new_version(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    words = ("job", "create", "code", str(project), "-E", "python train.py", "-n", "digits")
    assert "Created ada/default/digits:v0" in cli(*words, "-a", "best").err
    assert "No changes detected for ada/default/digits:v0" in cli(*words).err
    (project / "train.py").write_text("print('better')\n")
    assert "Updated ada/default/digits:v1" in cli(*words).err
    shown = cli("job", "describe", "digits:v0").out
    assert "python train.py" in shown
    assert "best" in shown
    assert json.loads(cli("job", "describe", "digits", "--json").out)["version"] == 1
    assert "ada/default/digits" in cli("job", "list").out


def test_a_checkout_becomes_a_git_job_with_its_changes_as_a_patch(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    import subprocess

    def git(*words: str) -> str:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
        argv = ["git", "-C", str(project), *who, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("remote", "add", "origin", "https://example.org/you/digits.git")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (project / "train.py").write_text("print('changed')\n")
    done = cli("job", "create", "git", str(project), "-E", "python train.py", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert made["name"] == "job-example.org-you-digits_train.py"
    assert made["source"]["remote"] == "https://example.org/you/digits.git"
    assert made["source"]["commit"] == git("rev-parse", "HEAD")
    (patch,) = logged_in.blobs.values()
    assert b"changed" in patch
    assert "not on https://example.org/you/digits.git yet" in done.err
    other = cli("job", "create", "git", str(project), "-g", "other", "-E", "python train.py")
    assert "is at main, not other" in other.err


def test_an_image_job_takes_its_tag_as_an_alias(logged_in: Double, cli: Cli) -> None:
    done = cli("job", "create", "image", "ghcr.io/you/train:1.2", "--json")
    made = json.loads(done.out)
    assert made["name"] == "job-ghcr.io-you-train"
    assert made["aliases"] == ["latest", "1.2"]
    assert made["source"] == {"kind": "image", "image": "ghcr.io/you/train:1.2"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("image", "a b"), "is not of the form"),
        (("image", "a", "-B", "b"), "an image job runs its own image"),
        (("code", "/nonexistent"), "is not a directory"),
        (("code", ".", "-n", "a/b"), "Try: --name a-b"),
        (("code", ".", "-r", "3.11.2"), "Try: --runtime 3.11"),
        (("code", ".", "-s", "db"), "--service 'db'"),
        (("git", "file:///etc"), "transport 'file' is not allowed"),
        (("git", "/nowhere"), "neither a git address nor a checkout"),
    ],
)
def test_a_job_that_cannot_be_made_is_refused_with_the_reason(
    logged_in: Double, cli: Cli, project: Path, words: tuple[str, ...], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(project)
    done = cli("job", "create", *words)
    assert done.code in (1, 2)
    assert said in done.err
    assert not logged_in.seen("POST", "/jobs")
    assert not logged_in.blobs


def test_items_are_listed_shown_and_cancelled(logged_in: Double, cli: Cli) -> None:
    add_run(logged_in)
    add_run(logged_in, state="failed", status="Failed", exit_code=3, started=True)
    listed = cli("item", "list").out.splitlines()
    assert listed[0].split()[:3] == ["ITEM", "QUEUE", "STATUS"]
    assert listed[2].split()[2] == "Failed"
    assert listed[2].endswith(" 3")
    assert "Exit code:" in cli("item", "show", "1").out
    assert "is Killed" in cli("item", "cancel", "0").err
    assert cli("item", "show", "9").code == 1


@pytest.mark.parametrize("name", ["0", "run-0", "ada/default/run-0"])
def test_a_run_is_found_by_its_path_its_id_and_its_items_id(
    logged_in: Double, cli: Cli, name: str
) -> None:
    add_run(logged_in, log=b"hello\n", state="finished", exit_code=0, started=True)
    assert json.loads(cli("run", "show", name, "--json").out)["run_id"] == "run-0"
    assert cli("logs", name).out == "hello\n"
    assert cli("run", "logs", name, "--offset", "2").out == "llo\n"


def test_what_a_run_has_logged_is_a_table_of_its_keys(logged_in: Double, cli: Cli) -> None:
    add_run(logged_in, state="running", started=True)
    head, line = cli("run", "metrics", "run-0").out.splitlines()
    assert head.split() == ["KEY", "LAST", "VALUES", "TYPES"]
    assert line.split() == ["loss", "0.25", "20", "number"]
    assert json.loads(cli("run", "metrics", "run-0", "--json").out)["summary"] == {"loss": "NaN"}


def test_a_run_that_is_not_there_is_answered_with_the_list(logged_in: Double, cli: Cli) -> None:
    done = cli("run", "stop", "nothing")
    assert done.err == "error: no run or item 'nothing'\nhint: see them: runyard run list\n"
    assert cli("run", "show", "a/b").code == 1


def test_a_run_id_that_two_projects_have_is_asked_for_in_full(
    logged_in: Double, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_run(logged_in)
    add_run(logged_in)
    monkeypatch.setattr(Run, "ref", lambda self: _same(self))
    done = cli("run", "show", "same")
    assert done.code == 1
    assert "may be any of ada/p0/same, ada/p1/same" in done.err


def _same(run: Run) -> RunRef:
    return RunRef(entity="ada", project=f"p{run.item_id}", run_id="same")


def test_runs_are_stopped_with_a_reason(logged_in: Double, cli: Cli) -> None:
    run = add_run(logged_in, state="running", status="Running", started=True)
    assert "is Killed" in cli("run", "stop", "0", "--reason", "wrong data").err
    assert run.state == "killed"
    assert logged_in.seen("POST", "/runs")[-1].json() == {"reason": "wrong data"}


def test_the_tail_of_a_log_is_its_last_lines(logged_in: Double, cli: Cli) -> None:
    log = b"".join(b"line %d\n" % n for n in range(1000))
    add_run(logged_in, log=log, state="finished", exit_code=0)
    assert cli("logs", "0", "--tail", "2").out == "line 998\nline 999\n"
    assert cli("logs", "0", "--tail", "2", "--offset", "1").code == 2


def test_following_a_log_leaves_with_the_exit_code(logged_in: Double, cli: Cli) -> None:
    add_run(logged_in, log=b"x\n", state="failed", status="Failed", exit_code=7)
    assert cli("logs", "-f", "0").code == 7
    assert cli("logs", "0").code == 0


def test_a_key_is_shown_once_on_stdout(logged_in: Double, cli: Cli) -> None:
    done = cli("key", "create", "laptop")
    assert done.out == "ry_shown-once\n"
    assert "ry_shown-once" not in done.err
    assert "ry_shown-once" not in cli("key", "list").out


def test_T25_names_from_the_server_cannot_steer_the_terminal(logged_in: Double, cli: Cli) -> None:
    add_run(logged_in, state="failed", status="Failed", reason="\x1b]0;evil\x07oops\x1b[2J")
    for words in (("item", "show", "0"), ("run", "show", "0"), ("run", "list")):
        assert "\x1b" not in cli(*words).out


def test_tables_on_a_terminal_have_colours_and_honour_NO_COLOR(logged_in: Double) -> None:
    import pty
    import subprocess
    import sys

    add_run(logged_in, state="failed", status="Failed")

    def on_a_terminal(**env: str) -> str:
        ours, theirs = pty.openpty()
        argv = [sys.executable, "-m", "runyard.cli.main", "item", "list"]
        process = subprocess.Popen(
            argv,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", **env},
        )
        os.close(theirs)
        out = b""
        try:
            while piece := os.read(ours, 4096):
                out += piece
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        process.wait()
        return out.decode()

    assert "\x1b[31mFailed" in on_a_terminal()
    assert "\x1b[31m" not in on_a_terminal(NO_COLOR="1")


def test_an_agent_is_not_told_its_server_by_a_flag(cli: Cli) -> None:
    done = cli("agent", "-u", "http://x", "-q", "default")
    assert done.code == 2
    assert "runyard login http://x" in done.err


def test_agents_are_listed_and_asked_to_leave(logged_in: Double, cli: Cli) -> None:
    listed = cli("agent", "list").out.splitlines()
    assert listed[0].split()[:3] == ["ID", "AGENT", "STATUS"]
    assert listed[1].split()[:5] == ["a1", "ada/box", "LOST", "default,", "gpu"]
    assert json.loads(cli("agent", "list", "--json").out)[0]["name"] == "box"
    assert "leaves when its jobs have ended" in cli("agent", "stop", "a1").err
    assert logged_in.seen("DELETE", "/agents/a1")


def test_an_agents_bad_settings_are_named_one_by_one(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("max_jobs: many\nquues: [a]\n")
    done = cli("agent", "-c", str(file))
    assert done.code == 1
    assert "max_jobs" in done.err
    assert "quues" in done.err
    missing = cli("agent", "-c", str(tmp_path / "none.yaml"))
    assert missing.code == 1
    assert "no such file" in missing.err


def test_a_database_is_upgraded_backed_up_and_restored_elsewhere(cli: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli("db", "upgrade", "--home", str(first)).code == 0
    assert "The schema is at" in cli("db", "upgrade", "--home", str(first)).err
    backup = tmp_path / "backup.tar"
    assert cli("db", "backup", str(backup), "--home", str(first)).code == 0
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert cli("db", "backup", str(backup), "--home", str(first)).code == 2  # would overwrite
    assert cli("db", "restore", str(backup), "--home", str(second)).code == 0
    assert (second / "runyard.db").exists()


def test_a_signal_while_waiting_leaves_no_thread_behind(logged_in: Double, cli: Cli) -> None:
    import threading

    before = threading.active_count()
    add_run(logged_in, log=b"x\n", state="finished", status="Finished", exit_code=0)
    cli("logs", "-f", "0")
    wait_until(lambda: threading.active_count() <= before)
