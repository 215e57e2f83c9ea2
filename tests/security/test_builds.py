"""
Builds against whoever writes the job: its files, its Dockerfile, its base image, its registry.

What a builder must do is among its laws; here is what is refused before one is asked.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from runyard.agent import images as way_of_images
from runyard.agent.unpacking import unpack
from runyard.builders import context, froms, packages
from runyard.domain.errors import Rejected
from runyard.domain.images import Recipe
from runyard.testing.scripted import Stage, ends
from tests.agent.double import Double
from tests.agent.test_images import Site, job

pytestmark = pytest.mark.anyio

# Each builds upon, or copies from, `evil/x` (or `evil`) for some builder.
HIDDEN = {
    "a keyword in two lines": "FROM python:3\nFR\\\nOM evil/x\n",
    "a name in two lines": "FROM python:3\\\n000/evil\n",
    "a comment amid a keyword": "FROM python:3\nFR\\\n# x\nOM evil/x\n",
    "a mount": "FROM python:3\nRUN --mount=type=bind,from=evil/x,target=/x cp -r /x /y\n",
    "a mount whose key is in capitals": "FROM python:3\nRUN --mount=FROM=evil/x,target=/x id\n",
    "a flag with quotes": 'FROM python:3\nCOPY --fr"om"=evil/x / /\n',
    "a flag with a backslash": "FROM python:3\nCOPY --from=ev\\il/x / /\n",
    "a mount with quotes": 'FROM python:3\nRUN --mount=target=/x,"from=evil/x" id\n',
    "for later": "FROM python:3 AS a\nONBUILD COPY --from=evil/x / /\nFROM a\n",
    "a builder's argument": "FROM python:3${TARGETARCH:+000/x}\n",
    "a builder's argument with a default": "FROM ${TARGETARCH:-python:3}\n",
    "an argument that we set": "ARG RUNYARD_TEAM=python:3\nFROM $RUNYARD_TEAM\n",
    "an argument that is unset": "ARG X=python:3\nARG X\nFROM ${X:-evil/x}\n",
    "an argument set to nothing": "ARG X=\nFROM ${X-python:}evil\n",
    "an argument with odd quotes": 'ARG X""=evil/x\nFROM ${X:-python:3}\n',
    "an argument of which a part goes": "ARG X=python:3evil\nFROM ${X#python:3}\n",
    "no here-document": "FROM python:3\nRUN echo '<<E'\nFROM evil/x\nE\n",
    "one for some": "FROM python:3\nRUN cat <<E\nFROM evil/x\nE\n",
    "an end of a line that is none": "FROM python:3\nRUN cat \x0b<<E\nFROM evil/x\nE\n",
}
PLAIN = """# syntax=docker/dockerfile:1
ARG VERSION=3.11 KIND="slim"
FROM --platform=linux/amd64 python:${VERSION}-${KIND} AS made
RUN --mount=type=cache,target=/root/.cache,id=pip \\
    --mount=type=secret,id=netrc,required=true \\
    pip install "numpy" && echo "$HOME" --from="x"
FROM python:${VERSION}
COPY --chown=1:0 --from=made /env /env
RUN --mount=type=bind,from=made,source=/env,target=/x true
CMD ["python", "--from=$X"]
"""


@pytest.mark.parametrize("name", HIDDEN)
def test_T21_what_a_dockerfile_builds_upon_is_seen_or_said_to_be_unclear(name: str) -> None:
    others = [image for image in froms.read(HIDDEN[name]) if image != "python:3"]
    assert others or froms.unclear(HIDDEN[name])


def test_T21_what_is_plain_is_clear() -> None:
    assert froms.unclear(PLAIN) == ""
    assert froms.read(PLAIN) == ("python:3.11-slim", "python:3.11")


@pytest.fixture
def double() -> Double:
    return Double(i1=job())


@pytest.fixture
def site(tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(way_of_images, "ASK_EVERY", 0.01)
    return Site(tmp_path, double, Stage(lambda _: ends(0, b"")))


@pytest.mark.parametrize("name", HIDDEN)
async def test_T21_a_queues_list_of_images_is_not_got_around(
    site: Site, double: Double, name: str
) -> None:
    site.tree.files["Dockerfile.runyard"] = HIDDEN[name]
    double.items["i1"].images = ["python:*"]
    await site.run()
    assert not site.builder.orders
    failure: Any = double.items["i1"].failure
    assert "on the queue's list" in failure.message or "cannot be told" in failure.message


FRONTENDS = [
    "# syntax=evil/x\nFROM a\n",
    "#syntax = evil/x:1 \nFROM a\n",
    "// syntax=evil/x\nFROM a\n",
    "# escape=`\n# SYNTAX=evil/x\nFROM a\n",
    "#!/bin/x\n# syntax=evil/x\nFROM a\n",
    '{"syntax": "evil/x"}\nFROM a\n',
    '#!/bin/x\n{"syntax": "evil/x"}\n',
    "# syntax=docker/dockerfile:1.0-experimental\nFROM a\n",  # it puts all teams' caches together
    f"# syntax=docker/dockerfile@sha256:{'0' * 64}\nFROM a\n",
    "# syntax=docker/dockerfile-upstream:master\nFROM a\n",
]


@pytest.mark.parametrize("text", FRONTENDS)
def test_T21_no_program_of_the_submitter_reads_the_dockerfile(tmp_path: Path, text: str) -> None:
    with pytest.raises(Rejected, match="by another program"):
        written(tmp_path, text)


@pytest.mark.parametrize("tag", ["", ":1", ":1.7", ":1.16.0", ":latest"])
def test_dockers_own_frontend_may_be_named(tmp_path: Path, tag: str) -> None:
    text = f"# syntax=docker/dockerfile{tag}\nFROM a\n# about syntax\n"
    assert written(tmp_path, text).read_text() == text


def written(tmp_path: Path, text: str) -> Path:
    files = tmp_path / "job"
    files.mkdir()
    (files / "Dockerfile").write_text(text)
    chosen = context.choose(files, named="Dockerfile")
    return context.write(Recipe(base=""), chosen, tmp_path / "out").dockerfile


def test_T8_an_entry_point_does_not_tell_what_the_host_has(tmp_path: Path) -> None:
    files = tmp_path / "job"
    files.mkdir()
    (tmp_path / "there").write_text("")
    for word in ("../there", "../not-there", str(tmp_path / "there"), "x\0y"):
        chosen = context.choose(files, entry_point=("python", word))
        assert chosen.entry_point == ("python", word)


@pytest.mark.parametrize("name", ["pyproject.toml", "uv.lock"])
def test_T20_lists_in_lists_are_no_fault_of_the_agents(tmp_path: Path, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy"]\n')
    (tmp_path / name).write_text("a = " + "[" * 100_000)
    packages.detect(tmp_path)


def test_T20_an_archive_has_no_more_directories_in_one_another_than_can_be_removed(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "code.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("/".join(["d"] * 1500)))
    with pytest.raises(Rejected, match="deeper than"):
        unpack(archive, tmp_path / "out")
