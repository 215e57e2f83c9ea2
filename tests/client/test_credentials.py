"""Which server and key are used, and that keys stay with their owner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runyard.client import credentials
from runyard.client.credentials import Credentials, find
from runyard.domain.errors import Invalid, Unauthenticated

Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return {"RUNYARD_HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def local_server(env: Env, url: str = "http://127.0.0.1:8080", key: str = "local") -> Path:
    file = Path(env["RUNYARD_HOME"], "server.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps({"url": url, "key": key}))
    return file


def test_without_anything_the_next_commands_are_named(env: Env) -> None:
    with pytest.raises(Unauthenticated) as caught:
        find(env)
    assert "runyard up" in caught.value.hint
    assert "runyard login" in caught.value.hint


def test_the_server_of_this_machine_needs_no_login(env: Env) -> None:
    local_server(env)
    assert find(env).key == "local"


def test_a_login_beats_the_server_of_this_machine_and_variables_beat_both(env: Env) -> None:
    local_server(env)
    credentials.save(env, Credentials("https://a.example", "saved", ""))
    assert (find(env).base_url, find(env).key) == ("https://a.example", "saved")
    env |= {"RUNYARD_BASE_URL": "https://b.example/", "RUNYARD_API_KEY": "env"}
    assert (find(env).base_url, find(env).key) == ("https://b.example", "env")
    assert find(env, key="argument").key == "argument"


def test_each_server_has_its_own_key_and_no_other_servers(env: Env) -> None:
    credentials.save(env, Credentials("https://a.example", "key-a", ""))
    credentials.save(env, Credentials("https://b.example", "key-b", ""))
    assert find(env).key == "key-b"
    assert find(env, base_url="https://a.example/").key == "key-a"
    with pytest.raises(Unauthenticated, match=r"no key for https://c\.example"):
        find(env, base_url="https://c.example")


def test_T14_the_key_of_this_machines_server_is_not_sent_to_another(env: Env) -> None:
    local_server(env)
    with pytest.raises(Unauthenticated, match="no key for"):
        find(env, base_url="https://other.example")


def test_logging_out_forgets_one_key(env: Env) -> None:
    credentials.save(env, Credentials("https://a.example", "key-a", ""))
    credentials.save(env, Credentials("https://b.example", "key-b", ""))
    assert credentials.forget(env) == "https://b.example"
    assert find(env).key == "key-a"
    assert credentials.forget(env, "https://none.example") is None


def test_T14_the_file_is_for_its_owner_alone(env: Env) -> None:
    path = credentials.save(env, Credentials("https://a.example", "key-a", ""))
    assert path.stat().st_mode & 0o777 == 0o600
    credentials.save(env, Credentials("https://b.example", "key-b", ""))
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob(".credentials-*"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_T14_a_file_that_others_may_read_is_refused_with_the_cure(env: Env, mode: int) -> None:
    path = credentials.save(env, Credentials("https://a.example", "key-a", ""))
    path.chmod(mode)
    with pytest.raises(Invalid) as caught:
        find(env)
    assert caught.value.hint == f"chmod 600 {path}"
    own = local_server(env)
    path.unlink()
    own.chmod(mode)
    with pytest.raises(Invalid):
        find(env)


def test_T14_a_key_is_in_no_repr() -> None:
    assert "secret" not in repr(Credentials("https://a.example", "secret", "file"))


@pytest.mark.parametrize(
    "url", ["localhost:8080", "ftp://x", "http://", "file:///etc/passwd", "http://u:p@host"]
)
def test_addresses_that_are_none_are_refused(env: Env, url: str) -> None:
    with pytest.raises(Invalid):
        find(env, base_url=url, key="k")


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_broken_file_is_named(env: Env, text: str) -> None:
    path = credentials.save(env, Credentials("https://a.example", "key-a", ""))
    path.write_text(text)
    with pytest.raises(Invalid, match="JSON") as caught:
        find(env)
    assert str(path) in caught.value.message
