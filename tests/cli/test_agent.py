"""`runyard agent` but for serving: setting aside, readmitting, checking this machine."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli
from tests.cli.double import Double


def test_an_agent_is_set_aside_with_a_reason_and_readmitted(logged_in: Double, cli: Cli) -> None:
    done = cli("agent", "set-aside", "box", "--reason", "new disk")
    assert "ada/box takes nothing more" in done.err
    assert "runyard agent readmit ada/box" in done.err
    assert logged_in.seen("POST", "/agents/a1/set-aside")

    listed = cli("agent", "list")
    assert "SET ASIDE" in listed.out
    assert "set aside by ada: new disk" in listed.err

    assert "takes items again" in cli("agent", "readmit", "ada/box").err
    assert logged_in.aside == ""
    assert "SET ASIDE" not in cli("agent", "list").out


def test_what_became_of_it_is_printed_as_data(logged_in: Double, cli: Cli) -> None:
    made = json.loads(cli("agent", "set-aside", "a1", "--json").out)
    assert made["set_aside_why"].startswith("set aside by ada")
    assert json.loads(cli("agent", "readmit", "a1", "--json").out)["set_aside_at"] is None


def test_an_agent_that_is_not_there_is_not_guessed(logged_in: Double, cli: Cli) -> None:
    for words in (("set-aside", "boxx"), ("readmit", "boxx"), ("stop", "ada/a1")):
        done = cli("agent", *words)
        assert (done.code, "runyard agent list" in done.err) == (1, True)
    assert not logged_in.seen("DELETE", "/agents/a1")


def test_this_machine_is_checked_without_a_server(cli: Cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RUNYARD_AGENT_WORK_DIR", str(tmp_path / "work"))
    done = cli("agent", "check")
    assert done.code == 0, done
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
        ["disk", "ok"], ["write", "ok"], ["tools", "ok"], ["local-process", "ok"],
    ]  # fmt: skip


def test_what_is_amiss_is_named_and_the_exit_code_says_so(cli: Cli, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RUNYARD_AGENT_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr("runyard.agent.health.MIN_FREE", 1 << 60)
    done = cli("agent", "check", "-r", "mainframe", "--json")
    assert done.code == 1
    found = {check["name"]: check for check in json.loads(done.out)}
    assert not found["disk"]["ok"]
    assert "no driver for mainframe" in found["mainframe"]["detail"]
    assert found["write"]["ok"]
