from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .documents import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The built site: the text of each page without its markup, by path."""
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--site-dir", built],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return {
        page.relative_to(built).as_posix(): page.read_text(encoding="utf-8")
        for page in built.rglob("*.html")
    }


@pytest.fixture(scope="session")
def texts(site: Mapping[str, str]) -> Mapping[str, str]:
    return {path: html.unescape(re.sub(r"<[^>]+>", "", page)) for path, page in site.items()}
