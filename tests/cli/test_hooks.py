"""`runyard hook` against a real server, with a real receiver."""

from __future__ import annotations

import io
import json

import pytest

from tests.cli.conftest import Cli
from tests.http.conftest import World, clock, live
from tests.http.test_hooks import Receiver, mailbox, receiver, settings

__all__ = ["clock", "live", "mailbox", "receiver", "settings"]


@pytest.fixture
def database(tmp_path, sqlite_template):
    """What a command prints does not depend on the database."""
    import shutil

    from runyard.store.db import Database

    shutil.copy(sqlite_template, tmp_path / "runyard.db")
    database = Database(f"sqlite:///{tmp_path / 'runyard.db'}")
    yield database
    database.close()


@pytest.fixture(autouse=True)
def logged_in(live: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")


def test_a_hook_is_created_tried_shown_changed_and_deleted(
    live: World, receiver: Receiver, cli: Cli
) -> None:
    live.queue()
    made = cli(
        "hook", "create", "oncall", "--url", receiver.url, "--on", "item.failed", "-q", "q",
        "--on", "item.waiting", "--wait", "30m",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert f"sends to http://127.0.0.2:{receiver.port}/…" in made.err
    assert len(made.out.strip()) > 30  # the secret, alone

    tried = cli("hook", "test", "oncall")
    assert (tried.code, tried.err) == (0, "It arrived: HTTP 200 thank you\n")
    receiver.codes += [500]
    tried = cli("hook", "test", "oncall")
    assert tried.code == 1
    assert "It did not arrive: HTTP 500" in tried.err

    listed = cli("hook", "list").out.splitlines()
    assert listed[1].split("  ")[0] == "oncall"
    assert "item.failed, item.waiting" in listed[1]
    shown = cli("hook", "show", "oncall").out
    assert "1800 s" in shown
    assert "the-way-in" not in shown
    assert json.loads(cli("hook", "show", "oncall", "--json").out)["wait_s"] == 1800

    assert cli("hook", "edit", "oncall", "--disable", "--all-queues").code == 0
    hook = json.loads(cli("hook", "show", "oncall", "--json").out)
    assert (hook["enabled"], hook["queue"], hook["wait_s"]) == (False, None, 1800)
    assert cli("hook", "delete", "oncall").code == 2  # nobody is there to be asked
    assert cli("hook", "delete", "oncall", "--yes").code == 0
    assert "No hooks" in cli("hook", "list").err


def test_a_url_need_not_be_an_argument(
    receiver: Receiver, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(receiver.url + "\n"))
    made = cli("hook", "create", "chat", "--url", "-", "--on", "item.failed", "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["secret"]
    assert "the-way-in" not in made.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--on", "item.failed"], 2, "one of --url, --email and --mine"),
        (["--url", "https://example.org"], 2, "--on item.failed"),
        (["--url", "https://e.org", "--mine", "--on", "item.failed"], 2, "one of --url"),
        (["--email", "a@b.org", "--on", "item.failed", "--wait", "soon"], 2, "is no time"),
        (["--email", "a@b.org", "--on", "item.failed", "--wait", "1s"], 1, "wait_s"),
        (["--email", "a@b.org", "--on", "item.fell"], 1, "events.0"),
        (["--email", "no address", "--on", "item.failed"], 1, "emails.0"),
        (["--url", "http://169.254.169.254/", "--on", "item.failed"], 1, "not public"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_or_two(
    cli: Cli, words: list[str], code: int, said: str
) -> None:
    done = cli("hook", "create", "h", *words)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_an_unknown_hook_is_named_with_the_nearest(cli: Cli) -> None:
    cli("hook", "create", "oncall", "--email", "a@example.org", "--on", "item.failed")
    assert "did you mean oncall?" in cli("hook", "show", "oncal").err
    assert "nothing to change" in cli("hook", "edit", "oncall").err
