import asyncio
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from runyard.agent.git import GitAccess, fetch
from runyard.domain.errors import HostFault, Invalid, Rejected, RunyardError, TooMuch, Unavailable
from runyard.testing.git_server import GitServer, Repository, git

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Fetcher:
    """Fetches into a fresh directory each time, with an agent's settings."""

    def __init__(self, tmp_path: Path, host: str = "") -> None:
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.places = tmp_path / "places"
        self.access: dict[str, Any] = {"insecure_hosts": frozenset({host})}
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        self.log = bytearray()

    def __call__(self, remote: str, commit: str, **more: Any) -> Path:
        into = self.places / str(len(list(self.places.glob("*"))))
        access = GitAccess(**self.access)
        asyncio.run(
            fetch(remote, commit, into, env=self.env, log=self.log.extend, access=access, **more)
        )
        return into


@pytest.fixture
def fetcher(tmp_path: Path, server: GitServer) -> Fetcher:
    return Fetcher(tmp_path, server.host)


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return server.repository("r.git")


def test_a_commit_that_no_branch_is_at_any_more_is_fetched(
    fetcher: Fetcher, repository: Repository
) -> None:
    first = repository.commit({"train.py": "1", "sub/x": "y"})
    repository.commit({"train.py": "2"})
    into = fetcher(repository.url, first)
    assert (into / "train.py").read_text() == "1"
    assert (into / "sub/x").read_text() == "y"
    assert git(into, "rev-parse", "HEAD") == first
    assert git(into, "config", "remote.origin.url") == repository.url
    assert b"git fetch" in fetcher.log


def test_a_server_that_gives_only_branches_is_asked_for_all_of_them(
    fetcher: Fetcher, repository: Repository
) -> None:
    first = repository.commit({"a": "1"})
    repository.commit({"a": "2"})
    # Protocol 2 gives any commit; without it an old server's refusal is what comes back.
    (fetcher.home / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    assert (fetcher(repository.url, first) / "a").read_text() == "1"


def test_the_submitters_changes_are_applied(fetcher: Fetcher, repository: Repository) -> None:
    commit = repository.commit({"a": "1\n", "b": "1\n"})
    (repository.tree / "a").write_text("2\n")
    (repository.tree / "b").unlink()
    patch = subprocess.run(
        ["git", "-C", str(repository.tree), "diff", "--binary", "HEAD"],
        check=True,
        capture_output=True,
    ).stdout
    into = fetcher(repository.url, commit, patch=patch)
    assert (into / "a").read_text() == "2\n"
    assert not (into / "b").exists()
    with pytest.raises(Rejected, match="does not apply"):
        fetcher(repository.url, commit, patch=b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ bad\n")


def test_no_such_commit_and_no_such_repository_are_for_good(
    fetcher: Fetcher, repository: Repository, server: GitServer
) -> None:
    repository.commit({"a": "1"})
    with pytest.raises(Rejected, match=f"has no commit {COMMIT}"):
        fetcher(repository.url, COMMIT)
    with pytest.raises(Rejected, match="not found"):
        fetcher(f"{server.url}/other.git", COMMIT)


def test_a_server_that_is_not_there_is_for_now(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unavailable):
        Fetcher(tmp_path)(f"https://127.0.0.1:{port}/r.git", COMMIT)


def test_an_ssh_server_that_is_not_there_is_for_now_with_and_without_credentials(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    fetcher = Fetcher(tmp_path)
    for access in ({}, {"credentials": "none", "known_hosts": str(tmp_path / "known hosts")}):
        fetcher.access = access
        with pytest.raises(Unavailable, match="Connection refused"):
            fetcher(f"ssh://git@127.0.0.1:{port}/r.git", COMMIT)


def test_a_server_that_never_answers_is_given_up_and_git_is_gone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        fetcher = Fetcher(tmp_path, host)
        fetcher.access["seconds"] = 0.5
        started = time.monotonic()
        with pytest.raises(Unavailable, match="longer than"):
            fetcher(f"http://{host}/r.git", COMMIT)
        assert time.monotonic() - started < 5
    running = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True).stdout
    assert host.encode() not in running


def test_credentials_come_from_the_agents_side_and_only_if_it_says_so(
    fetcher: Fetcher, repository: Repository, server: GitServer
) -> None:
    commit = repository.commit({"a": "1"})
    server.password = "ada:hunter2"
    with pytest.raises(Rejected) as refused:
        fetcher(repository.url, commit)
    assert "credential helper" in refused.value.hint
    store = fetcher.home / "store"
    store.write_text(f"http://ada:hunter2@{server.host}\n")
    (fetcher.home / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={store}\n")
    into = fetcher(repository.url, commit)
    assert (into / "a").read_text() == "1"
    assert "hunter2" not in (into / ".git/config").read_text()
    assert b"hunter2" not in fetcher.log
    fetcher.access["credentials"] = "none"
    with pytest.raises(Rejected):
        fetcher(repository.url, commit)


@pytest.mark.parametrize(
    ("remote", "commit"),
    [
        ("ext::sh -c touch% {run}", COMMIT),
        ("ext::touch\t{run}", COMMIT),
        ("file://{repository}", COMMIT),
        ("{repository}", COMMIT),
        ("--upload-pack=touch {run}", COMMIT),
        ("--upload-pack=touch${{IFS}}{run}", COMMIT),
        ("ssh://-oProxyCommand=touch%20{run}/x", COMMIT),
        ("git@-oProxyCommand=touch:x", COMMIT),
        ("https://127.0.0.1:1/r", "--upload-pack=touch {run}"),
        ("https://127.0.0.1:1/r", "-f"),
        ("https://127.0.0.1:1/r", "main"),
    ],
)
def test_T5_what_git_would_run_or_read_as_an_option_is_refused_before_git_is_run(
    tmp_path: Path, remote: str, commit: str
) -> None:
    named = {"run": str(tmp_path / "run"), "repository": str(tmp_path)}
    fetcher = Fetcher(tmp_path)
    with pytest.raises(Invalid):
        fetcher(remote.format(**named), commit.format(**named))
    assert not (tmp_path / "run").exists()
    assert not fetcher.places.exists()


def test_T5_the_hosts_own_configuration_cannot_lead_git_to_another_transport(
    tmp_path: Path, fetcher: Fetcher, repository: Repository
) -> None:
    commit = repository.commit({"a": "1"})
    for other in (f"ext::sh -c touch% {tmp_path}/run% %S ", f"file://{tmp_path}/repositories/"):
        (fetcher.home / ".gitconfig").write_text(
            f'[url "{other}"]\n\tinsteadOf = {repository.url.removesuffix("r.git")}\n'
            "[protocol]\n\tallow = always\n"
        )
        with pytest.raises(Rejected, match="not allowed"):
            fetcher(repository.url, commit)
    assert not (tmp_path / "run").exists()


def test_T6_no_hook_template_filter_or_monitor_of_anyones_runs(
    tmp_path: Path, fetcher: Fetcher, repository: Repository
) -> None:
    run = tmp_path / "run"
    for place in ("templates/hooks", "hooks"):
        for name in ("post-checkout", "post-merge", "reference-transaction", "post-index-change"):
            hook = fetcher.home / place / name
            hook.parent.mkdir(parents=True, exist_ok=True)
            hook.write_text(f"#!/bin/sh\ntouch {run}\n")
            hook.chmod(0o755)
    commit = repository.commit(
        {
            ".gitattributes": "* filter=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {run}\n',
            "hooks/post-checkout": f"#!/bin/sh\ntouch {run}\n",
            "a": "1",
        }
    )
    (fetcher.home / ".gitconfig").write_text(
        f"[init]\n\ttemplateDir = {fetcher.home}/templates\n"
        f"[core]\n\thooksPath = {fetcher.home}/hooks\n\tfsmonitor = touch {run}\n"
    )
    into = fetcher(repository.url, commit)
    assert (into / "a").read_text() == "1"
    assert not (into / ".git/hooks").exists()
    assert not run.exists()


def test_T6_links_out_of_the_checkout_are_refused(fetcher: Fetcher, repository: Repository) -> None:
    commit = repository.commit({"a": "1"})
    os.symlink("a", repository.tree / "good")
    good = repository.commit({})
    assert (fetcher(repository.url, good) / "good").read_text() == "1"
    for target in ("/etc/passwd", "../../secret", ".git/../../x"):
        os.symlink(target, repository.tree / "bad")
        bad = repository.commit({})
        with pytest.raises(Rejected, match="bad -> "):
            fetcher(repository.url, bad)
        (repository.tree / "bad").unlink()
    patch = (
        b"diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n"
        b"+/etc/passwd\n\\ No newline at end of file\n"
    )
    with pytest.raises(Rejected, match="l -> /etc/passwd"):
        fetcher(repository.url, commit, patch=patch)


def test_T6_a_patch_writes_neither_above_the_checkout_nor_into_git(
    fetcher: Fetcher, repository: Repository
) -> None:
    commit = repository.commit({"a": "1"})
    for path in ("../out", ".git/hooks/post-checkout", "/tmp/out"):
        patch = f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n".encode()
        with pytest.raises(Rejected, match="does not apply"):
            fetcher(repository.url, commit, patch=patch)
    assert not (fetcher.places / "out").exists()


def tree_with(repository: Repository, entries: dict[str, str], files: dict[str, str]) -> str:
    """Commit a tree that git would not make by itself: "mode path" → object."""
    for name, text in files.items():
        (repository.tree / "blob").write_text(text)
        entries[name] = git(repository.tree, "hash-object", "-w", "blob")
        (repository.tree / "blob").unlink()
    listing = b"".join(
        f"{what.split(' ', 1)[0]} {'commit' if what.startswith('16') else 'blob'} {id_}\t"
        f"{what.split(' ', 1)[1]}\0".encode()
        for what, id_ in entries.items()
    )
    made = subprocess.run(
        ["git", "-C", str(repository.tree), "mktree", "--missing", "-z"],
        input=listing,
        check=True,
        capture_output=True,
    )
    commit = git(repository.tree, "commit-tree", made.stdout.decode().strip(), "-m", "made")
    git(repository.tree, "push", "--force", "origin", f"{commit}:refs/heads/made")
    return commit


def modules(path: str, url: str) -> str:
    return f'[submodule "m"]\n\tpath = "{path}"\n\turl = {url}\n'


def test_submodules_are_fetched_on_request_in_depth_and_by_relative_address(
    fetcher: Fetcher, repository: Repository, server: GitServer
) -> None:
    leaf = server.repository("leaf.git").commit({"leaf": "1"})
    middle = tree_with(
        server.repository("middle.git"),
        {"160000 down": leaf},
        {"100644 .gitmodules": modules("down", "../leaf.git")},
    )
    commit = tree_with(
        repository,
        {"160000 lib": middle},
        {"100644 .gitmodules": modules("lib", f"{server.url}/middle.git")},
    )
    assert list((fetcher(repository.url, commit) / "lib").iterdir()) == []
    into = fetcher(repository.url, commit, submodules=True)
    assert (into / "lib/down/leaf").read_text() == "1"


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c touch% {run}", "file:///srv/x", "--upload-pack=touch", "-u./x", "/srv/x",
     "ssh://-oProxyCommand=touch/x", "http://169.254.169.254/x"],
)  # fmt: skip
def test_T5_a_submodule_has_no_more_transports_than_its_repository(
    tmp_path: Path, fetcher: Fetcher, repository: Repository, url: str
) -> None:
    text = modules("lib", url.format(run=tmp_path / "run"))
    commit = tree_with(repository, {"160000 lib": COMMIT}, {"100644 .gitmodules": text})
    with pytest.raises(Invalid):
        fetcher(repository.url, commit, submodules=True)
    assert not (tmp_path / "run").exists()


def test_T6_a_submodule_path_with_a_carriage_return_is_refused(
    fetcher: Fetcher, repository: Repository, server: GitServer
) -> None:
    evil = server.repository("evil.git").commit({"post-checkout": "#!/bin/sh\n"})
    commit = tree_with(
        repository,
        {"160000 lib\r": evil},
        {"100644 .gitmodules": modules("lib\\r", "../evil.git").replace("\\r", "\r")},
    )
    with pytest.raises(Rejected, match=r"'lib\\r' is not allowed"):
        fetcher(repository.url, commit, submodules=True)


def test_T6_a_submodule_is_never_written_through_a_link(
    tmp_path: Path, fetcher: Fetcher, repository: Repository, server: GitServer
) -> None:
    evil = server.repository("evil.git").commit({"hooks/post-checkout": "#!/bin/sh\n"})
    for entries, files in (
        ({"160000 A/lib": evil}, {"120000 a": ".git"}),  # one name where case does not count
        ({"160000 lib": evil}, {"120000 lib": ".git"}),
        ({"160000 .git": evil}, {}),
        ({"160000 ..": evil}, {}),
    ):
        name = next(iter(entries)).split(" ", 1)[1]
        text = {"100644 .gitmodules": modules(name, "../evil.git")}
        try:
            commit = tree_with(repository, dict(entries), {**files, **text})
        except subprocess.CalledProcessError:
            continue  # this git makes no such tree at all
        try:
            into = fetcher(repository.url, commit, submodules=True)
        except RunyardError:
            continue
        assert not (into / ".git/hooks").exists()


def test_a_repository_may_not_fill_the_disk(fetcher: Fetcher, repository: Repository) -> None:
    commit = repository.commit({"a": "x" * 2000, "b": "y"})
    fetcher.access["max_bytes"] = 1000
    with pytest.raises(TooMuch, match="2,001 bytes in 2 files"):
        fetcher(repository.url, commit)
    fetcher.access |= {"max_bytes": 10_000, "max_files": 1}
    with pytest.raises(TooMuch):
        fetcher(repository.url, commit)


def test_T14_the_agents_environment_does_not_reach_git(
    fetcher: Fetcher, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.commit({"a": "1"})
    fetcher.env |= {
        "RUNYARD_API_KEY": "hunter2",
        "GIT_SSH_COMMAND": "touch",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": f"touch {tmp_path}/run",
        "GIT_TRACE": str(tmp_path / "trace"),
    }
    fetcher(repository.url, commit)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "trace").exists()


def test_a_host_without_git_is_at_fault(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path)}
    with pytest.raises(HostFault, match="git is not installed"):
        asyncio.run(
            fetch("https://example.com/x.git", "0" * 40, tmp_path / "x", env=env, log=print)
        )
