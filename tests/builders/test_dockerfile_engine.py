"""
Rendered Dockerfiles on a real engine: odd words, odd users, and every way of installing.

    RUNYARD_TEST_DOCKER=1 pytest tests/builders/test_dockerfile_engine.py
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pip._internal.models.index import PyPI
from uv import find_uv_bin

from runyard.builders import context, packages
from runyard.domain.images import BaseImage, Packages, Plan
from tests.builders.engine import PYTHON, docker, inside, named

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.timeout(600)]

LEGACY, BUILDKIT = "0", "1"
INDEX = PyPI.simple_url  # one that is sure to have what is asked for
SHOW = "import json, os, sys\nprint(json.dumps([sys.argv[1:], os.getcwd(), os.getuid()]))\n"
PROJECT = (
    '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["six"]\n'
)


@pytest.fixture
def name() -> Iterator[str]:
    with named() as name:
        yield name


def build(
    files: Path, name: str, *, way: str = BUILDKIT, base: str = PYTHON, **said: Any
) -> list[bytes]:
    """Build an image of the files, and return the lines of the log."""
    chosen = {key: said.pop(key) for key in ("build_context", "entry_point") if key in said}
    plan = Plan("team", "x", BaseImage(base), **said)
    found = context.choose(files, **chosen)
    into = files.parent / f"into-{way}"
    recipe = context.recipe(plan, found, mounts=way == BUILDKIT, cache="runyard-test")
    written = context.write(recipe, found, into)
    plain: tuple[str, ...] = ("--progress=plain",) if way == BUILDKIT else ()
    for secret in plan.secrets:
        plain += ("--secret", f"id={secret},src={files.parent / secret}")
    words = ("build", *plain, "-t", name, "-f", str(written.dockerfile), str(written.context))
    return docker(*words, DOCKER_BUILDKIT=way).encode().splitlines()


def put(root: Path, **files: str) -> Path:
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


@pytest.mark.parametrize("way", [LEGACY, BUILDKIT])
def test_odd_words_and_names_come_through_as_they_are(tmp_path: Path, name: str, way: str) -> None:
    odd = ("$HOME ${X:-y} `id` $(id)", "it's", 'a "b"', "\n# no\nUSER 0", "\\", "é", "")
    files = put(tmp_path / "job", __dockerignore="*\n", Dockerfile="FROM nothing\n")
    put(files / "a b", show__py=SHOW, __dockerignore="*\n", requirements__txt="-r $x[1]*.txt\n")
    (files / "a b" / "$x[1]*.txt").write_text("six\n")
    entry = ("python", "show.py", *odd)
    build(files, name, way=way, build_context="a b", entry_point=entry, uid=4711)
    assert json.loads(docker("run", "--rm", name)) == [list(odd), "/home/runyard/a b", 4711]
    assert inside(name, "python -c 'import six'; touch x .. && id -u", "--user", "9:0") == "9"
    assert inside(name, "ls -A ..").split("\n") == [".cache", ".dockerignore", "Dockerfile", "a b"]


def test_root_has_the_same_home(tmp_path: Path, name: str) -> None:
    files = put(tmp_path / "job", show__py=SHOW)
    build(files, name, uid=0, entry_point=("python3", "show.py"))
    assert json.loads(docker("run", "--rm", name)) == [[], "/home/runyard", 0]
    assert inside(name, "echo ~") == "/home/runyard"


def test_what_the_base_has_is_seen(tmp_path: Path, name: str) -> None:
    text = f"FROM {PYTHON}\nRUN python -m pip install --no-cache-dir six\nUSER 65534\n"
    text += 'ENTRYPOINT ["false"]\nCMD ["x"]\n'
    files = put(tmp_path / "base", Dockerfile=text)
    with named() as base:
        docker("build", "-q", "-t", base, str(files))
        job = put(tmp_path / "job", requirements__txt="six\n")
        log = build(job, name, base=base, entry_point=("python", "-c", "import six; print(six)"))
        assert any(b"already satisfied: six" in line for line in log)
        assert "/usr/local/lib" in docker("run", "--rm", name)


def test_the_index_that_a_list_names_is_asked(tmp_path: Path, name: str) -> None:
    text = f"--index-url {INDEX}/\nsix  # {name}\n"  # a step that is kept prints nothing
    files = put(tmp_path / "job", requirements__txt=text)
    log = b"\n".join(build(files, name, entry_point=("true",)))
    assert f"Looking in indexes: {INDEX}/".encode() in log


def test_the_operators_settings_of_pip_hold_and_are_not_in_the_image(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "pip.conf").write_text("[install]\nprefer-binary = true\nreport = /used\n")
    (tmp_path / "netrc").write_text("machine a.example login me password hidden\n")
    files = put(tmp_path / "job", requirements__txt="six\n")
    build(files, name, entry_point=("true",), secrets=("netrc", "pip.conf"))
    assert "six" in inside(name, "cat /used")
    assert inside(name, "find /run/secrets -size +0 -type f") == ""


def test_a_projects_packages_are_installed(tmp_path: Path, name: str) -> None:
    build(put(tmp_path / "job", pyproject__toml=PROJECT), name, entry_point=("true",))
    assert inside(name, "python -c 'import six; print(six.__file__)'").startswith("/env/")


def test_a_lock_decides_the_versions(tmp_path: Path, name: str) -> None:
    files = put(tmp_path / "job", pyproject__toml=PROJECT.replace('"six"', '"six<=1.16"'))
    subprocess.run([find_uv_bin(), "lock", "-q"], cwd=files, check=True)
    build(files, name, entry_point=("true",))
    assert inside(name, "python -c 'import six; print(six.__version__)'") == "1.16.0"
    assert inside(name, "ls /opt") == ""


def test_a_projects_own_index_is_asked(tmp_path: Path, name: str) -> None:
    text = f'{PROJECT}[tool.uv]  # {name}\nindex = [{{ url = "{INDEX}", default = true }}]\n'
    log = build(put(tmp_path / "job", pyproject__toml=text), name, entry_point=("true",))
    assert any(b"+ six" in line for line in log)
    assert inside(name, "python -c 'import six; print(six.__file__)'").startswith("/env/")


@pytest.mark.parametrize("way", [LEGACY, BUILDKIT])
def test_a_package_that_cannot_be_installed_is_left_out_and_told(
    tmp_path: Path, name: str, way: str
) -> None:
    text = f"six  # {name}\nsix-of-no-such-version==99.9\n"  # a step that is kept prints nothing
    files = put(tmp_path / "job", requirements__txt=text)
    log = build(files, name, way=way, packages=Packages.LENIENT, entry_point=("true",))
    assert [told for line in log if (told := packages.failed(line))] == [
        "six-of-no-such-version==99.9"
    ]
    assert inside(name, "python -c 'import six; print(six.__file__)'").startswith("/env/")


def test_frozen_requirements_are_installed_without_what_they_need(
    tmp_path: Path, name: str
) -> None:
    files = put(tmp_path / "job", requirements__frozen__txt="python-dateutil==2.9.0\n")
    build(files, name, entry_point=("true",))
    found = inside(name, "python -m pip list --format=freeze")
    assert "python-dateutil==2.9.0" in found
    assert "six" not in found


def test_a_conda_environment_is_made_by_the_bases_conda(tmp_path: Path, name: str) -> None:
    conda = (
        '#!/bin/sh\n[ "$*" = "env create -p /env -f environment.yml" ] && mkdir -p /env/bin \\\n'
    )
    conda += "  && cp environment.yml /env/made\n"
    files = put(tmp_path / "base", conda=conda)
    put(
        files,
        Dockerfile=f"FROM {PYTHON}\nCOPY conda /usr/bin/conda\nRUN chmod 755 /usr/bin/conda\n",
    )
    job = put(tmp_path / "job", environment__yml="dependencies: [python=3.11]\n")
    with named() as base:
        docker("build", "-q", "-t", base, str(files))
        build(job, name, base=base, entry_point=("true",))
    assert inside(name, "cat /env/made") == "dependencies: [python=3.11]"


def test_a_conda_environment_without_conda_says_what_to_do(tmp_path: Path, name: str) -> None:
    files = put(tmp_path / "job", environment__yml="dependencies: [python]\n")
    with pytest.raises(AssertionError, match="needs a base image with micromamba, mamba or conda"):
        build(files, name, entry_point=("true",))
