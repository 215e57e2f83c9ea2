import os
import socket
from pathlib import Path

import pytest

from runyard.client.gitinfo import Resolved, inspect, resolve
from runyard.domain.errors import Invalid, NotFound, Rejected, TooMuch, Unavailable
from runyard.testing.git_server import GitServer, git

ENV = {"PATH": os.environ["PATH"]}


def ask(server: GitServer, remote: str, ref: str | None) -> Resolved:
    return resolve(remote, ref, host_env=ENV, insecure_hosts={server.host})


def test_a_branch_a_tag_and_nothing_are_resolved_to_commits(server: GitServer) -> None:
    repository = server.repository("r.git")
    first = repository.commit({"a": "1"})
    git(repository.tree, "tag", "-a", "v1", "-m", "first")
    git(repository.tree, "push", "origin", "v1")
    git(repository.tree, "checkout", "-b", "dev/x")
    second = repository.commit({"a": "2"})
    assert ask(server, repository.url, None) == Resolved(first, "main")
    assert ask(server, repository.url, "v1") == Resolved(first, "v1")
    assert ask(server, repository.url, "dev/x") == Resolved(second, "dev/x")
    assert ask(server, repository.url, second) == Resolved(second, "")


def test_without_main_the_branch_is_master(server: GitServer) -> None:
    repository = server.repository("r.git")
    git(repository.tree, "checkout", "--orphan", "master")
    commit = repository.commit({"a": "1"})
    assert ask(server, repository.url, None) == Resolved(commit, "master")


def test_an_unknown_ref_is_answered_with_those_that_are_there(server: GitServer) -> None:
    repository = server.repository("r.git")
    commit = repository.commit({"a": "1"})
    with pytest.raises(NotFound, match="no branch or tag 'mian'") as refused:
        ask(server, repository.url, "mian")
    assert "It has: main" in refused.value.hint
    with pytest.raises(NotFound, match="all its 40 digits"):
        ask(server, repository.url, commit[:10])


def test_no_right_to_read_and_no_way_to_reach_are_told_apart(server: GitServer) -> None:
    server.password = "ada:secret"
    with pytest.raises(Rejected) as refused:
        ask(server, f"{server.url}/r.git", "main")
    assert "credential helper" in refused.value.hint
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable, match="cannot be reached"):
        resolve(f"https://127.0.0.1:{port}/r.git", "main", host_env=ENV)


def test_T5_nothing_is_run_for_a_remote_or_ref_that_is_refused(tmp_path: Path) -> None:
    for remote, ref in (
        (f"ext::sh -c touch% {tmp_path}/run", "main"),
        (f"--upload-pack=touch {tmp_path}/run", "main"),
        ("https://127.0.0.1:1/r", f"--upload-pack=touch {tmp_path}/run"),
    ):
        with pytest.raises(Invalid):
            resolve(remote, ref, host_env=ENV)
    assert not (tmp_path / "run").exists()


def test_a_checkout_tells_its_commit_remote_and_uncommitted_changes(server: GitServer) -> None:
    repository = server.repository("r.git")
    repository.commit({"sub/a": "1\n", "b": "2\n"})
    git(repository.tree, "remote", "set-url", "origin", "https://ada:hunter2@host/r.git")
    (repository.tree / "b").write_text("3\n")
    (repository.tree / "untracked").write_text("no part of the patch")
    found = inspect(repository.tree / "sub")
    assert found is not None
    assert (found.remote, found.path, found.branch) == ("https://host/r.git", "sub", "main")
    assert found.pushed
    assert b"+3" in found.patch
    assert b"untracked" not in found.patch
    git(repository.tree, "commit", "-am", "only here")
    later = inspect(repository.tree)
    assert later is not None
    assert not later.pushed
    assert later.patch == b""


def test_a_huge_patch_is_refused_and_no_checkout_is_none(server: GitServer, tmp_path: Path) -> None:
    repository = server.repository("r.git")
    repository.commit({"a": ""})
    (repository.tree / "a").write_text("x\n" * 10_000)
    with pytest.raises(TooMuch, match="uncommitted changes"):
        inspect(repository.tree, max_patch=1000)
    assert inspect(tmp_path) is None
