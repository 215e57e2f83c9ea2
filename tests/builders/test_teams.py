"""A Dockerfile whose steps no other team is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.builders.programs import desk
from runyard.builders.teams import apart
from runyard.domain.errors import Rejected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN x", "FROM a\n+\nRUN x"),
        ("FROM a", "FROM a\n+\n"),
        ("# c\n\nfrom a AS b\nRUN x\nFROM b\n", "# c\n\nfrom a AS b\n+\nRUN x\nFROM b\n+\n"),
        ("FROM \\\n  a \\\n  AS b\nRUN x\n", "FROM \\\n  a \\\n  AS b\n+\nRUN x\n"),
        ("FROM a\r\nRUN x\r\n", "FROM a\r\n+\nRUN x\r\n"),
        ("FROM a\nRUN <<END\nFROM b\nEND\n", "FROM a\n+\nRUN <<END\nFROM b\nEND\n"),
        ("# escape=`\nFROM `\n a\nRUN x\n", "# escape=`\nFROM `\n a\n+\nRUN x\n"),
    ],
)
def test_each_stage_says_the_team(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "Dockerfile").write_bytes(text.encode())
    with desk() as own:
        written = apart(tmp_path / "Dockerfile", own)
        assert written.parent == own.path
        got = written.read_bytes().decode()
    assert got == expected.replace("+", "ARG RUNYARD_TEAM")


@pytest.mark.parametrize("content", [b"FROM a\n\xff", b"#" * (1 << 20) + b"\n"])
def test_what_is_no_dockerfile_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "Dockerfile").write_bytes(content)
    with desk() as own, pytest.raises(Rejected, match="Dockerfile"):
        apart(tmp_path / "Dockerfile", own)


def test_an_ignore_file_that_is_a_link_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    (tmp_path / "hosts-own").write_text("private\n")
    (tmp_path / "Dockerfile.dockerignore").symlink_to(tmp_path / "hosts-own")
    with desk() as own:
        apart(tmp_path / "Dockerfile", own)
        assert not (own.path / "Dockerfile.dockerignore").exists()
