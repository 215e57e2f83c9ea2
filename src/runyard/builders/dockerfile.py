"""
From a recipe to a Dockerfile: pure, and the same text for all builders.

It expects the directory that `context.write` makes: `src` with the job's files, `install` with
those of them that decide what is installed, `runyard` with what is our own. So no name of the job's
files stands in the text, and no ignore file of the job's leaves any of them out. What the job says
is in it twice: its entry point, as JSON, and the directory to start in, whose letters are checked.

The packages are in `/env`, an environment that sees what the base image has, since a base is chosen
for what is in it: a framework for accelerators, above all. No instruction needs more than the
first builders knew, but for the mounts of caches and secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import HOME, ImageRef, Install, Method, Packages, Recipe

SOURCE: Final = "src"
INSTALL: Final = "install"
OWN: Final = "runyard"
SECRETS: Final = {"netrc": "NETRC", "pip.conf": "PIP_CONFIG_FILE"}  # for installing, by variable
BOOTSTRAP: Final = "packages.py"
LIST: Final = "project.txt"
_PLACE: Final = "/opt/runyard"
_CACHE: Final = "/var/cache/runyard"
_LISTS: Final = {
    Method.REQUIREMENTS: "requirements.txt",
    Method.PROJECT: f"{_PLACE}/{LIST}",
    Method.FROZEN: "requirements.frozen.txt",
}
_DIRECTORY: Final = re.compile(r"[\w.@+=,-]+(?:[ /][\w.@+=,-]+)*")
_CACHE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PIP: Final = "/env/bin/python -m pip install --disable-pip-version-check --no-input"
_UV: Final = "'uv>=0.5,<1'"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def render(recipe: Recipe) -> str:
    """Return the Dockerfile for a recipe.

    Raises:
        Invalid: a name in it could be read as something else than a name.
        Rejected: it needs secrets, and the builder cannot mount any.
    """
    return "\n".join(_lines(recipe)) + "\n"


def _lines(recipe: Recipe) -> Iterator[str]:
    yield "# Made by runyard for one job; give the job a Dockerfile.runyard to have it your way."
    yield f"FROM {ImageRef.parse(recipe.base)}"
    yield "USER 0:0"
    if recipe.accelerator:
        yield from _apt(recipe.python)
    yield from _user(recipe.uid)
    yield f"WORKDIR {_directory(recipe.directory)}"
    yield from _environment(recipe)
    if recipe.install.method is not Method.NONE:
        yield from _packages(recipe)
    if not recipe.install.whole:
        yield f"COPY --chown={recipe.uid}:0 {SOURCE}/ {HOME}/"
    path = f"/env/bin:${{PATH:-{_PATH}}}"
    yield f"ENV PATH={path} VIRTUAL_ENV=/env PYTHONUNBUFFERED=1 HOME={HOME}"
    yield f"USER {recipe.uid}:0"
    yield "CMD []"
    if recipe.entry_point:
        yield f"ENTRYPOINT {json.dumps(list(recipe.entry_point))}"


def _run(*lines: str) -> str:
    return "RUN " + " \\\n    ".join(lines)


def _apt(python: str) -> Iterator[str]:
    """Install Python, unless the image has the one that is wanted and it can make environments."""
    name = _python(python)
    packages = f"{name} {name}-venv" + ("" if python else " python3-pip")
    none = (
        "the accelerator base image has neither this Python nor apt-get: choose a Debian or Ubuntu"
    )
    yield _run(
        f"if ! {name} -c 'import ensurepip' 2>/dev/null; then",
        f"command -v apt-get >/dev/null || {{ echo 'runyard: {none} image' >&2; exit 1; }};",
        "export DEBIAN_FRONTEND=noninteractive;",
        f"apt-get update && apt-get install -y --no-install-recommends {packages}",
        "&& rm -rf /var/lib/apt/lists/*; fi",
    )


def _python(version: str) -> str:
    if version and not re.fullmatch(r"3\.\d{1,3}", version):
        raise Invalid(f"Python {version!r}: a version such as 3.11")
    return f"python{version or 3}"


def _user(uid: int) -> Iterator[str]:
    """Make the user and its home with what any shell has; group 0 may write, for odd user ids."""
    lines = [f"mkdir -p {HOME}/.cache"]
    if uid:
        entry = f"runyard:x:{uid}:0:runyard:{HOME}:/bin/sh"
        lines += [
            "&& touch /etc/passwd",
            '&& if [ -n "$(tail -c 1 /etc/passwd)" ]; then echo >> /etc/passwd; fi',
            f"&& echo '{entry}' >> /etc/passwd",
        ]
    yield _run(*lines, f"&& chown -R {uid}:0 {HOME} && chmod -R g=u {HOME}")


def _directory(name: str) -> str:
    if name and (not _DIRECTORY.fullmatch(name) or ".." in name.split("/")):
        raise Invalid(
            f"build context {name!r}: an image can only be made of a directory whose path has "
            "letters, digits, single spaces and . _ - + = @ , only",
            hint="Rename the directory.",
        )
    return f"{HOME}/{name}".rstrip("/")


def _environment(recipe: Recipe) -> Iterator[str]:
    if recipe.install.method is Method.CONDA:
        return  # conda makes it itself
    if recipe.accelerator:
        yield _run(f"{_python(recipe.python)} -m venv --system-site-packages /env")
    elif recipe.install.method is Method.NONE:  # the job may not be in Python at all
        yield _run(
            "if command -v python3 >/dev/null; then",
            "python3 -m venv --system-site-packages --without-pip /env; fi",
        )
    else:
        yield _run(
            "PYTHON=$(command -v python3 || command -v python)",
            "|| { echo 'runyard: the base image has no Python' >&2; exit 1; };",
            '"$PYTHON" -m venv --system-site-packages /env',
        )


def _packages(recipe: Recipe) -> Iterator[str]:
    """Copy what decides, then install it, in a step of its own."""
    install = recipe.install
    lenient = recipe.packages is Packages.LENIENT
    if _boots(install.method, lenient) or install.method is Method.PROJECT:
        yield f"COPY {OWN}/ {_PLACE}/"
    if install.whole:
        yield f"COPY --chown={recipe.uid}:0 {SOURCE}/ {HOME}/"
    elif install.method is not Method.PROJECT:
        yield f"COPY {INSTALL}/ {HOME}/"
    mounts, variables = _mounts(recipe)
    export = (f"export {' '.join(variables)};",) if variables else ()
    cached = bool(recipe.mounts and recipe.cache)
    yield _run(*mounts, *export, *_command(install, lenient, cached))


def _boots(method: Method, lenient: bool) -> bool:
    """Whether our own program installs: it knows what to leave out, and where torch comes from."""
    return method is Method.FROZEN or (lenient and method in (Method.REQUIREMENTS, Method.PROJECT))


def _command(install: Install, lenient: bool, cached: bool) -> tuple[str, ...]:
    if install.method is Method.CONDA:
        return _conda(install.files[0])
    if install.method in (Method.UV_LOCK, Method.UV_PROJECT):
        return _uv(install.method, cached)
    file, no_cache = _LISTS[install.method], "" if cached else " --no-cache-dir"
    if not _boots(install.method, lenient):
        return (f"{_PIP}{no_cache} -r {file}",)
    flags = " --lenient" if lenient else ""
    flags += " --no-deps" if install.method is Method.FROZEN else ""
    return (f"/env/bin/python {_PLACE}/{BOOTSTRAP}{flags}{no_cache} {file}",)


def _uv(method: Method, cached: bool) -> tuple[str, ...]:
    no_cache, pip_no_cache = ("", "") if cached else (" --no-cache", " --no-cache-dir")
    if method is Method.UV_LOCK:
        work = "uv sync --frozen --no-dev --inexact --no-install-project"
    else:
        work = "uv pip install --python /env/bin/python -r pyproject.toml"
    return (
        "export UV_PROJECT_ENVIRONMENT=/env UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy",
        "UV_NO_PROGRESS=1",
        "&& /env/bin/python -m venv /opt/uv",
        f"&& {_PIP.replace('/env', '/opt/uv')}{pip_no_cache} {_UV}",
        f"&& /opt/uv/bin/{work}{no_cache}",
        "&& rm -rf /opt/uv",
    )


def _conda(file: str) -> tuple[str, ...]:
    name = file.rpartition("/")[2]
    if name not in ("environment.yml", "environment.yaml"):
        raise Invalid(f"{file!r} is no name of a conda environment's file")
    none = f"{name} needs a base image with micromamba, mamba or conda: set builder.base_image"
    return (
        "export MAMBA_ALWAYS_YES=true CONDA_ALWAYS_YES=true;",
        f"if command -v micromamba >/dev/null; then micromamba create -p /env -f {name};",
        f"elif command -v mamba >/dev/null; then mamba env create -p /env -f {name};",
        f"elif command -v conda >/dev/null; then conda env create -p /env -f {name};",
        f"else echo 'runyard: {none}' >&2; exit 1; fi",
    )


def _mounts(recipe: Recipe) -> tuple[list[str], list[str]]:
    """Return the mounts of the step that installs, and the variables that point to them."""
    wanted = [name for name in SECRETS if name in recipe.secrets]
    if wanted and not recipe.mounts:
        raise Rejected(
            f"the build needs the secrets {', '.join(wanted)}, and this builder cannot mount any",
            hint="Install docker buildx (or enable BuildKit) or buildah on the agent's host.",
        )
    mounts, variables = [], []
    if recipe.mounts and recipe.cache:
        if not _CACHE_NAME.fullmatch(recipe.cache):
            raise Invalid(f"{recipe.cache!r} cannot be the name of a cache")
        by_uv = recipe.install.method in (Method.UV_LOCK, Method.UV_PROJECT)
        for name in ("pip", "uv") if by_uv else ("pip",):
            mounts.append(f"--mount=type=cache,id={recipe.cache}-{name},target={_CACHE}/{name}")
            variables.append(f"{name.upper()}_CACHE_DIR={_CACHE}/{name}")
    for name in wanted:
        mounts.append(f"--mount=type=secret,id={name},required=true")
        variables.append(f"{SECRETS[name]}=/run/secrets/{name}")
    return mounts, variables
