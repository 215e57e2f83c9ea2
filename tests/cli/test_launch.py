"""`runyard launch` on a queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.double import Double, Run, wait_until

IMAGE = ("-d", "python:3.11-slim", "-q", "gpu")


def only(server: Double) -> Run:
    (run,) = server.runs.values()
    return run


def test_an_image_is_queued_with_its_command_and_arguments(logged_in: Double, cli: Cli) -> None:
    done = cli("launch", *IMAGE, "-E", "python -c 'print(1)'", "-a", "x", "--", "--lr", "0.1")
    assert (done.code, done.out) == (0, "")
    assert "runyard logs -f ada/default/run-0" in done.err
    assert only(logged_in).spec == {
        "docker": {"docker_image": "python:3.11-slim"},
        "overrides": {
            "entry_point": ["python", "-c", "print(1)"],
            "args": ["x", "--lr", "0.1"],
        },
    }


@pytest.mark.parametrize(
    "words", [("-q",), ("-q", "--name", "x"), ("--queue", "-e", "ada"), ("-q", "--", "a")]
)
def test_the_queue_flag_alone_means_default(
    logged_in: Double, cli: Cli, words: tuple[str, ...]
) -> None:
    assert cli("launch", "-j", "digits", *words).code == 0
    assert only(logged_in).queue == "default"


def test_flags_beat_the_config_file_and_keep_what_they_do_not_name(
    logged_in: Double, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        "job: old\nname: from-file\nproject: p\noverrides:\n  args: [a]\n  run_config: {lr: 1}\n"
    )
    assert cli("launch", "-c", str(file), "-j", "new", "--name", "flag", "-q").code == 0
    assert only(logged_in).spec == {
        "job": "new",
        "name": "flag",
        "project": "p",
        "overrides": {"args": ["a"], "run_config": {"lr": 1}},
    }


def test_what_to_build_upon_is_of_the_submission_for_a_saved_job(
    logged_in: Double, cli: Cli
) -> None:
    base = '{"job": "digits", "builder": {"platform": "linux/arm64", "cuda": {"base_image": "c"}}}'
    assert cli("launch", "-c", base, "-B", "python:3.12", "--rebuild", "-q").code == 0
    assert only(logged_in).spec == {
        "job": "digits",
        "rebuild": True,
        "builder": {"platform": "linux/arm64", "base_image": "python:3.12"},
    }


def test_an_image_for_accelerators_is_of_the_submission(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    words = ("-u", str(project), "-E", "python train.py", "-D", "docker/Dockerfile", "-q")
    assert cli("launch", *words, "--accelerator-image", "nvidia/cuda:12").code == 0
    spec = only(logged_in).spec
    assert spec["builder"] == {"accelerator": {"base_image": "nvidia/cuda:12"}}
    assert spec["overrides"] == {"dockerfile": "docker/Dockerfile"}


def test_a_base_image_of_code_is_its_job_s(logged_in: Double, cli: Cli, project: Path) -> None:
    assert cli("launch", "-u", str(project), "-E", "python train.py", "-B", "b", "-q").code == 0
    assert "builder" not in only(logged_in).spec
    ((version,),) = logged_in.jobs.values()
    assert version.source["base_image"] == "b"


def test_an_entry_point_replaces_the_files_in_either_spelling(logged_in: Double, cli: Cli) -> None:
    base = '{"job": "digits", "overrides": {"entrypoint": ["old"]}}'
    assert cli("launch", "-c", base, "-E", "new -x", "-q").code == 0
    assert only(logged_in).spec["overrides"] == {"entry_point": ["new", "-x"]}


def test_the_queue_of_a_spec_counts_where_no_flag_names_one(logged_in: Double, cli: Cli) -> None:
    assert cli("launch", "-c", '{"job": "digits", "queue": "gpu"}').code == 0
    assert only(logged_in).queue == "gpu"


def test_inline_json_is_understood_and_at_files_are_not(logged_in: Double, cli: Cli) -> None:
    assert cli("launch", "-c", '{"job": "digits"}', "-q").code == 0
    done = cli("launch", "-c", "@/etc/passwd", "-q")  # T24: nothing is expanded
    assert done.code == 2
    assert "cannot read '@/etc/passwd'" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-j", "a", "-u", "."], "--uri and --job"),
        (["-j", "a", "-d", "b"], "--job and --docker-image"),
        ([], "nothing to run was given"),
        (["-u", "."], "--uri needs --entry-point"),
        (["-j", "a", "-q", "--async"], "--async is for running without a queue"),
        (["-j", "a", "-P", "high"], "--priority needs --queue"),
        (["-j", "a", "-v", "x=1"], "--set-var, --policy and --hold are for a queue"),
        (["-j", "a", "-b", "-q"], "images are not built here"),
        (["-j", "a", "-rg", "r", "-q"], "images are not built here"),
        (["-d", "a", "-B", "b", "-q"], "--docker-image is run as it is"),
        (["-d", "a", "--accelerator-image", "b", "-q"], "--docker-image is run as it is"),
        (["-d", "a", "--rebuild", "-q"], "--docker-image is run as it is"),
        (["-j", "a", "--accelerator-image", "b", "-B", "c", "-q"], "upon one of them"),
        (["-j", "a", "--build", "-q"], "by the agent that runs the job"),
        (["-j", "a", "-g", "main", "-q"], "--git-version is for the job that is made of --uri"),
        (["-c", "{}", "-q"], "--config names neither"),
        (["-c", "{broken", "-q"], "neither YAML nor JSON"),
        (["-j", "a", "-R", "[1]", "-q"], "cannot read '[1]'"),
        (["-j", "a", "-E", "python 'x", "-q"], "No closing quotation"),
        (["-j", "a", "-q", "default", "stray"], "stray"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_anything_is_sent(
    logged_in: Double, cli: Cli, words: list[str], said: str
) -> None:
    done = cli("launch", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.startswith("error: ")
    assert "\nhint: " in done.err
    assert not logged_in.requests


def test_a_misspelt_key_of_a_spec_is_found_before_code_is_uploaded(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    words = ("-u", str(project), "-E", "python train.py", "-q", "-c", '{"overides": {}}')
    done = cli("launch", *words)
    assert done.code == 1
    assert "overides: unknown key; did you mean overrides?" in done.err
    assert not logged_in.requests


def test_the_servers_error_is_shown_with_its_hint(logged_in: Double, cli: Cli) -> None:
    done = cli("launch", "-j", "digits", "-q", "defualt")
    assert done.code == 1
    assert done.err == "error: no queue 'defualt' in ada; near: default\nhint: queue list\n"
    assert cli("launch", "-j", "digits", "-q", "-P", "high").code == 1


def test_a_directory_becomes_a_job_version_and_that_version_is_queued(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    words = ("launch", "-u", str(project), "-E", "python train.py", "-q", "-J", "digits")
    done = cli(*words)
    assert done.code == 0, done.err
    assert "Saved job ada/default/digits:v0" in done.err
    assert only(logged_in).spec == {"job": "ada/default/digits:v0"}
    (version,) = logged_in.jobs["ada/default/digits"]
    assert version.source["entry_point"] == ["python", "train.py"]
    assert list(logged_in.blobs) == [version.source["archive"]]

    again = cli(*words)
    assert "Unchanged job ada/default/digits:v0" in again.err
    assert len(logged_in.seen("PUT", "/blobs")) == 1


def test_nothing_is_uploaded_for_a_queue_that_is_not_there(
    logged_in: Double, cli: Cli, project: Path
) -> None:
    done = cli("launch", "-u", str(project), "-E", "python train.py", "-q", "gup")
    assert done.code == 1
    assert "no queue 'gup'" in done.err
    assert not logged_in.blobs
    assert not logged_in.jobs


def test_a_dry_run_of_a_directory_sends_nothing(logged_in: Double, cli: Cli, project: Path) -> None:
    done = cli("launch", "-u", str(project), "-E", "python train.py", "-q", "default", "--dry-run")
    shown = json.loads(done.out)
    assert shown["job"]["source"]["kind"] == "code"
    assert not [r for r in logged_in.requests if r.method != "GET"]
    assert not logged_in.runs


def test_a_dry_run_prints_the_resolved_spec_and_stores_nothing(logged_in: Double, cli: Cli) -> None:
    done = cli("launch", "-j", "digits", "-q", "--dry-run")
    assert json.loads(done.out) == {"job": "digits"}
    assert not logged_in.runs


def test_json_is_the_item_and_nothing_else(logged_in: Double, cli: Cli) -> None:
    done = cli("launch", "-j", "digits", "-q", "--json")
    assert json.loads(done.out)["id"] == "0"
    assert done.err == ""


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_following_prints_the_log_and_leaves_with_the_jobs_exit_code(
    logged_in: Double, cli: Cli, code: int
) -> None:
    logged_in.on_submit = lambda run: logged_in.end(run, code, log=b"step 1\nstep 2\n")
    done = cli("launch", "-j", "digits", "-q", "--follow")
    assert (done.code, done.out) == (code, "step 1\nstep 2\n")
    assert ("Finished" if code == 0 else f"Failed: exit code {code}") in done.err


def test_following_with_json_prints_the_ended_run_and_the_log_to_stderr(
    logged_in: Double, cli: Cli
) -> None:
    logged_in.on_submit = lambda run: logged_in.end(run, 3, log=b"step\n")
    done = cli("launch", "-j", "digits", "-q", "--follow", "--json")
    assert done.code == 3
    assert json.loads(done.out)["exit_code"] == 3
    assert "step\n" in done.err


@pytest.mark.parametrize(
    ("state", "exit_code", "code"),
    [("failed", None, 1), ("crashed", None, 1), ("killed", None, 130), ("killed", 0, 130),
     ("failed", 0, 1), ("failed", -9, 137)],
)  # fmt: skip
def test_ends_without_an_exit_code_of_their_own_have_one_too(
    logged_in: Double, cli: Cli, state: str, exit_code: int | None, code: int
) -> None:
    logged_in.on_submit = lambda run: logged_in.move(
        run, state=state, status=state.capitalize(), exit_code=exit_code
    )
    assert cli("launch", "-j", "digits", "-q", "--follow").code == code


def test_a_queue_that_nobody_serves_is_pointed_out_while_following(
    logged_in: Double, cli: Cli
) -> None:
    import threading

    def idle_then_end(run: Run) -> None:
        run.status = "Idle"
        threading.Timer(0.5, lambda: logged_in.end(run)).start()

    logged_in.on_submit = idle_then_end
    done = cli("launch", "-j", "digits", "-q", "--follow")
    assert "Idle: no agent serves the queue default. Serve it: runyard agent -q default" in done.err


def test_T25_control_sequences_of_a_job_do_not_reach_the_terminal(
    logged_in: Double, cli: Cli
) -> None:
    evil = b"a\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x1b\\b\rover\x9b2J\n"
    logged_in.on_submit = lambda run: logged_in.end(run, log=evil)
    done = cli("launch", "-j", "digits", "-q", "--follow")
    assert "\x1b" not in done.out
    assert done.out == "aredb\nover\ufffd2J\n"
    raw = cli("launch", "-j", "digits", "-q", "--follow", "--raw")
    assert "\x1b[31mred" in raw.out


def test_an_interrupt_while_following_leaves_the_run_alone_and_says_how_to_go_on(
    logged_in: Double,
) -> None:
    logged_in.on_submit = lambda run: logged_in.move(
        run, state="running", status="Running", started=True, log=b"begun\n"
    )
    argv = [sys.executable, "-m", "runyard.cli.main", "launch", "-j", "digits", "-q", "-f"]
    with subprocess.Popen(
        argv, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "runyard logs -f ada/default/run-0" in err
    assert "runyard run stop ada/default/run-0" in err
    assert "Traceback" not in err
    assert not logged_in.seen("POST", "/runs")


def test_a_reader_that_goes_away_is_no_crash(logged_in: Double) -> None:
    logged_in.on_submit = lambda run: logged_in.end(run, log=b"line\n" * 100_000)
    argv = [sys.executable, "-m", "runyard.cli.main", "launch", "-j", "digits", "-q", "-f"]
    with subprocess.Popen(
        argv, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert "Traceback" not in err
    wait_until(lambda: process.poll() is not None)


def test_no_key_appears_in_anything_that_is_printed(logged_in: Double, cli: Cli) -> None:
    from tests.cli.double import KEY

    for words in (
        ["whoami"],
        ["whoami", "--json"],
        ["launch", "-j", "digits", "-q"],
        ["queue", "list"],
    ):
        done = cli(*words)
        assert KEY not in done.out + done.err


def test_T24_words_that_name_files_or_addresses_are_passed_on_unread(
    logged_in: Double, cli: Cli, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not read me")
    words = [f"@{secret}", f"file://{secret}", "https://example.com/x", f"$(cat {secret})", "~"]
    done = cli("launch", *IMAGE, "-E", "run", "--name", f"@{secret}", "--", *words)

    assert done.code == 0
    spec = only(logged_in).spec
    assert (spec["name"], spec["overrides"]["args"]) == (f"@{secret}", words)
    assert "do not read me" not in json.dumps(spec) + done.out + done.err
