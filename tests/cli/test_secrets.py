"""`runyard secret` and `runyard db rotate-secrets`, on a real server."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.http.conftest import World, clock, live, settings

__all__ = ["clock", "live", "settings"]

VALUE = "s3cret-value"


@pytest.fixture(autouse=True)
def logged_in(live: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def value_of(live: World, name: str) -> str:
    """Return what an agent would get."""
    from runyard.server.edge import SERVER
    from runyard.services import secrets

    spec = {"secrets": {"A": {"entity": "admin", "name": name}}}
    edge, database = live.server.edge, live.server.database
    (given,) = database.read(lambda tx: secrets.values_for(edge.call(tx, SERVER), [spec]))
    assert isinstance(given, dict)
    return given["A"]


@pytest.mark.parametrize(
    ("data", "kept"),
    [(b"s3cret-value\n", VALUE), (b"s3cret-value", VALUE), (b"s3cret-value\n\n", VALUE + "\n")],
)
def test_a_value_from_a_pipe_loses_its_last_line_end(
    cli: Cli, live: World, monkeypatch: pytest.MonkeyPatch, data: bytes, kept: str
) -> None:
    typed(monkeypatch, data)
    done = cli("secret", "set", "hf", "-d", "of the hub")
    assert done.code == 0, done.err
    assert value_of(live, "hf") == kept
    assert "s3cret" not in done.out + done.err
    assert "config.secrets.VARIABLE=hf" in done.err


def test_a_value_from_a_file_is_kept_to_the_last_byte(
    cli: Cli, live: World, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN\nx\n-----END\n")
    done = cli("secret", "set", "pem", "--file", str(tmp_path / "key.pem"), "--for-jobs", "--json")
    assert json.loads(done.out)["for_jobs"] is True
    assert value_of(live, "pem") == "-----BEGIN\nx\n-----END\n"


def test_a_value_is_asked_for_unseen_and_twice(
    cli: Cli, live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    asked: dict[str, object] = {}

    def prompt(text: str, **more: object) -> str:
        asked.update(more)
        return VALUE

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", prompt)
    assert cli("secret", "set", "hf").code == 0
    assert asked == {"hide_input": True, "confirmation_prompt": True, "err": True}
    assert value_of(live, "hf") == VALUE


@pytest.mark.parametrize(
    ("data", "words"), [(b"\xff\xfe", "is not text"), (b"", "0 bytes"), (b"x" * 70_000, "65,5")]
)
def test_what_cannot_be_a_value_is_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, data: bytes, words: str
) -> None:
    typed(monkeypatch, data)
    done = cli("secret", "set", "hf")
    assert done.code == 1
    assert words in done.err


def test_T14_a_value_is_no_argument(cli: Cli) -> None:
    assert cli("secret", "set", "hf", VALUE).code == 2
    assert cli("secret", "set", "hf", "--value", VALUE).code == 2


def test_a_secret_is_opened_to_jobs_without_its_value(cli: Cli, live: World) -> None:
    live.admin.ok("PUT", "/secrets/admin/hf", json={"value": VALUE})
    assert cli("secret", "edit", "hf").code == 2
    done = cli("secret", "edit", "hf", "--for-jobs", "--json")
    assert (done.code, json.loads(done.out)["for_jobs"]) == (0, True)
    assert "queues and jobs" in cli("secret", "edit", "hf", "-d", "text").err
    assert value_of(live, "hf") == VALUE


def test_a_job_is_saved_with_the_names_of_its_secrets(cli: Cli, live: World, project: Path) -> None:
    words = ("job", "create", "code", str(project), "-E", "python train.py", "-n", "digits")
    done = cli(*words, "--secret", "HF_TOKEN=hf")
    assert done.code == 0, done.err
    saved = live.admin.ok("GET", "/jobs/admin/default/digits/versions/latest")
    assert saved["source"]["secrets"] == {"HF_TOKEN": "hf"}
    refused = cli(*words, "--secret", VALUE)
    assert refused.code == 2
    assert VALUE not in refused.err
    assert cli(*words, "--secret", "PATH=hf").code == 1


def test_secrets_are_listed_and_deleted(cli: Cli, live: World) -> None:
    for name in ("one", "two"):
        live.admin.ok("PUT", f"/secrets/admin/{name}", json={"value": VALUE, "description": "d"})
    body = {"name": "uses", "resource": "local-process", "config": {"secrets": {"A": "one"}}}
    live.admin.ok("POST", "/queues", json=body)
    listed = cli("secret", "list")
    assert "one" in listed.out
    assert "admin" in listed.out
    assert [s["name"] for s in json.loads(cli("secret", "list", "--json").out)] == ["one", "two"]
    assert cli("secret", "delete", "two", "--yes").code == 0
    refused = cli("secret", "delete", "one", "--yes")
    assert refused.code == 1
    assert "uses" in refused.err
    assert "--force" in refused.err
    assert cli("secret", "delete", "one", "--yes", "--force").code == 0
    assert "runyard secret set NAME" in cli("secret", "list").out + cli("secret", "list").err
    assert cli("secret", "delete", "none", "--yes").code == 1


def test_the_key_is_rotated_and_the_old_one_pruned(
    cli: Cli, live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.admin.ok("PUT", "/secrets/admin/hf", json={"value": VALUE})
    home, url = live.server.settings.home, live.server.database.url
    where = ("--home", str(home), "--database-url", url.render_as_string(False))
    done = cli("db", "rotate-secrets", *where)
    assert done.code == 0, done.err
    assert "1 secrets were sealed anew" in done.err + done.out
    assert len(live.server.sealer.key_ids) == 2
    assert cli("db", "rotate-secrets", "--prune", *where).code == 2  # nobody is there to be asked
    assert cli("db", "rotate-secrets", "--prune", "--yes", *where).code == 0
    assert len(live.server.sealer.key_ids) == 1
    assert value_of(live, "hf") == VALUE


def test_what_no_key_opens_is_named_after_a_rotation(cli: Cli, live: World) -> None:
    live.admin.ok("PUT", "/secrets/admin/lost", json={"value": VALUE})
    live.server.sealer.path.unlink()
    url = live.server.database.url.render_as_string(False)
    where = ("--home", str(live.server.settings.home), "--database-url", url)
    done = cli("db", "rotate-secrets", *where)
    assert done.code == 1
    assert "/lost" in done.err
    live.admin.ok("PUT", "/secrets/admin/lost", json={"value": VALUE})  # there is a way out
    assert value_of(live, "lost") == VALUE
