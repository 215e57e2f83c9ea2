import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runyard.agent.archives import CodeCache
from runyard.agent.environments import Environments
from runyard.agent.fetching import Fetcher
from runyard.agent.git import GitAccess
from runyard.agent.notebooks import make_runnable
from runyard.agent.workspace import Workspaces
from runyard.client.packing import pack, scan
from runyard.domain.errors import Invalid
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.workloads import Workload
from runyard.testing.git_server import GitServer

NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "code", "source": ["!pip list\n", "print(6 * 7)\n"]}]}
)


class Blobs:
    """The server's part: gives out what was uploaded."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.asked = archive, 0

    async def blob(self, item_id: str, digest: str, into: Path) -> None:
        self.asked += 1
        into.write_bytes(self.archive.read_bytes())


def bring(tmp_path: Path, api: Any, source: Source, key: str, *words: str, host: str = "") -> Path:
    fetcher = Fetcher(
        api,
        CodeCache(tmp_path / "cache"),
        Environments(tmp_path / "environments"),
        Workspaces(tmp_path / "work"),
        GitAccess(insecure_hosts=frozenset({host})),
        {"PATH": os.environ["PATH"]},
    )
    held: Any = SimpleNamespace(key=key, item_id="item-1")
    drafted: Any = SimpleNamespace(source=source, workload=Workload(key, entry_point=words))
    fetched = asyncio.run(fetcher.fetch(held, drafted, log=lambda line: None))
    assert fetched.directory is not None
    return Path(fetched.directory)


def run(directory: Path, script: str) -> str:
    argv = [sys.executable, script]
    return subprocess.run(
        argv, cwd=directory, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_attempts_at_one_code_job_share_a_download_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.ipynb").write_text(NOTEBOOK)
    packed = pack(scan(tmp_path / "code"), tmp_path / "a.tar.gz")
    api = Blobs(tmp_path / "a.tar.gz")
    source = Source(SourceKind.CODE, archive=packed.digest)
    first = bring(tmp_path, api, source, "one", "python", "a.ipynb")
    second = bring(tmp_path, api, source, "two", "cat", "x")
    assert run(first, "a.ipynb") == "42"
    assert (second / "a.ipynb").read_text() == NOTEBOOK
    assert bring(tmp_path, api, source, "one", "python", "a.ipynb") == first
    assert api.asked == 1


def test_a_commit_is_fetched_and_its_notebook_runs(tmp_path: Path, server: GitServer) -> None:
    repository = server.repository("r.git")
    commit = repository.commit({"sub/a.ipynb": NOTEBOOK})
    source = Source(SourceKind.GIT, remote=repository.url, commit=commit)
    files = bring(tmp_path, None, source, "one", "python", "sub/a.ipynb", host=server.host)
    assert run(files, "sub/a.ipynb") == "42"


def test_T11_only_notebooks_within_the_jobs_files_are_touched(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    outside = tmp_path / "outside.ipynb"
    outside.write_text(NOTEBOOK)
    os.symlink(outside, files / "link.ipynb")
    make_runnable(files, "", ["../outside.ipynb", "link.ipynb", str(outside), "none.ipynb"])
    assert outside.read_text() == NOTEBOOK
    (files / "bad.ipynb").write_text("{")
    with pytest.raises(Invalid, match="not JSON"):
        make_runnable(files, "", ["bad.ipynb"])
