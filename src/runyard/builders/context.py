"""
From a job's fetched files to what a builder is given: which Dockerfile, and which directory.

First come the Dockerfile that the submission or the job names, then a Dockerfile.runyard or
Dockerfile.wandb beside the program that the entry point starts, then one that is rendered. The
job's files are read only; what is rendered lies in a directory of our own, with a copy of them.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runyard.builders import dockerfile, froms, packages
from runyard.domain.errors import Rejected
from runyard.domain.images import BaseImage, Install, Method, Plan, Recipe

BESIDE: Final = ("Dockerfile.runyard", "Dockerfile.wandb")
_PROGRAM: Final = re.compile(r"python(?:3(?:\.\d+)?)?|bash|sh")
_LARGEST: Final = 1 << 20  # of a Dockerfile
# A frontend is a program that decides what is built, from which cache and with which secrets.
_FRONTEND: Final = re.compile(r"(?im)^\s*(?:#|//)[^\S\n]*syntax[^\S\n]*=[^\S\n]*(.*?)\s*$")
_SHEBANG: Final = re.compile(r"\A\ufeff?#![^\n]*\n")  # before such a line, or a JSON object's key
_DOCKERS: Final = re.compile(
    r"(?:docker\.io/)?docker/dockerfile(?::(?:latest|1|1\.(?:[2-9]|\d\d)(?:\.\d+)?))?"
)
_LEFT_OUT: Final = "Is it left out by .runyardignore or .gitignore?"


@dataclass(frozen=True, slots=True)
class Context:
    """`root` holds all of the job's files, `directory` is what is built, in it or all of it.

    `dockerfile` is the job's own; without one `install` says what a rendered one installs.
    `entry_point` is as it is to be started in the image, from the directory.
    """

    root: Path
    directory: Path
    dockerfile: Path | None = None
    entry_point: tuple[str, ...] = ()
    install: Install = field(default_factory=Install)

    @property
    def own(self) -> str:
        """The path of the job's own Dockerfile, in its files; empty if it is rendered."""
        return self.dockerfile.relative_to(self.root).as_posix() if self.dockerfile else ""

    def unclear(self) -> str:
        """Return what in the job's own Dockerfile may name an image beyond `bases`, if any does."""
        return froms.unclear(_text(self.dockerfile)) if self.dockerfile else ""

    def bases(self) -> tuple[str, ...]:
        """Return the images that the job's own Dockerfile builds upon."""
        return froms.read(_text(self.dockerfile)) if self.dockerfile else ()


@dataclass(frozen=True, slots=True)
class Written:
    """What an `Order` is given."""

    context: Path
    dockerfile: Path


def choose(
    files: Path, *, build_context: str = "", named: str = "", entry_point: Sequence[str] = ()
) -> Context:
    """Return what to build of a job's files; blocking.

    `named` is the Dockerfile that the submission, else the job, names, from the build context.

    Raises:
        Rejected: a directory or Dockerfile that is named is not there, or lies outside.
    """
    root = Path(os.path.realpath(files))
    words = tuple(entry_point)
    directory = _inside(root, root, build_context, "the build context")
    if not os.path.isdir(directory):  # Path's own raises for names that are too long
        raise Rejected(
            f"the build context {build_context!r} is not a directory of the job's files",
            hint=_LEFT_OUT,
        )
    if named:
        path = _inside(root, directory, named, "the Dockerfile")
        if not os.path.isfile(path):
            shown = os.path.normpath(os.path.join(build_context, named))
            raise Rejected(
                f"the Dockerfile {shown!r} is not in the job's files",
                hint=f"Its path is relative to the build context. {_LEFT_OUT}",
            )
        return Context(root, directory, path, words)
    beside, shorter = _beside(root, directory, words)
    if beside is not None:
        return Context(root, beside.parent, beside, shorter)
    install = packages.detect(directory, within=root)
    return Context(root, directory, None, words, install)


def recipe(plan: Plan, context: Context, *, mounts: bool, cache: str) -> Recipe:
    """Return what a Dockerfile for the context is rendered from."""
    below = context.directory.relative_to(context.root).as_posix()
    return Recipe(
        base=plan.base.pinned,
        install=context.install,
        entry_point=context.entry_point,
        accelerator=plan.accelerator,
        python=plan.python,
        uid=plan.uid,
        packages=plan.packages,
        mounts=mounts,
        cache=cache,
        secrets=plan.secrets,
        directory="" if below == "." else below,
    )


def write(
    recipe: Recipe, context: Context, into: Path, *, bases: Sequence[BaseImage] = ()
) -> Written:
    """Write what a builder reads into an empty directory; blocking.

    The job's own Dockerfile is built where it lies; if digests of its `bases` are known, a copy of
    it that names them is. The recipe is not looked at then.

    Raises:
        Invalid, Rejected: as of `dockerfile.render`.
    """
    if context.dockerfile is not None:
        return Written(context.directory, _pinned(context.dockerfile, into, bases))
    text = dockerfile.render(recipe)
    into.mkdir(parents=True, exist_ok=True)
    _copy(context.root, into / dockerfile.SOURCE)
    install, own = into / dockerfile.INSTALL, into / dockerfile.OWN
    install.mkdir()
    for name in () if context.install.whole else context.install.files:
        (install / name).parent.mkdir(parents=True, exist_ok=True)
        _copy_file(context.root / name, install / name)
    own.mkdir()
    bootstrap = Path(__file__).with_name("bootstrap_packages.py")
    _copy_file(bootstrap, own / dockerfile.BOOTSTRAP)
    if context.install.method is Method.PROJECT:
        lines = packages.listed(context.directory)
        (own / dockerfile.LIST).write_text("".join(f"{line}\n" for line in lines))
    file = into / "Dockerfile"
    file.write_text(text)
    return Written(into, file)


def _beside(
    root: Path, directory: Path, words: tuple[str, ...]
) -> tuple[Path | None, tuple[str, ...]]:
    """Find a Dockerfile beside the first word that is a file; shorten `python FILE` to its name."""
    for at, word in enumerate(words):
        if not word or os.path.isabs(word) or "\0" in word:
            continue
        file = os.path.realpath(directory / word)  # what lies outside is not even looked at
        if not Path(file).is_relative_to(root) or not os.path.isfile(file):
            continue
        place = _inside(root, directory, os.path.dirname(word), "the entry point")
        for name in BESIDE:
            if os.path.lexists(place / name):
                found = _inside(root, place, name, "the Dockerfile")
                if at == 1 and _PROGRAM.fullmatch(words[0]):
                    words = (words[0], os.path.basename(word), *words[2:])
                return found, words
        break
    return None, words


def _inside(root: Path, directory: Path, name: str, what: str) -> Path:
    """Return where a name leads, links followed, unless that is outside of the job's files."""
    path = Path(os.path.realpath(directory / name)) if "\0" not in name else Path("/")
    if os.path.isabs(name) or not path.is_relative_to(root):
        raise Rejected(
            f"{what} {name!r} lies outside of the job's files",
            hint="Give a path within the job's directory, without '..' and links that leave it.",
        )
    return path


def _text(file: Path) -> str:
    if file.stat().st_size > _LARGEST:
        raise Rejected(f"{file.name} is larger than {_LARGEST >> 20} MiB")
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def _check_frontend(text: str, name: str) -> None:
    others = [it for it in _FRONTEND.findall(text) if not _DOCKERS.fullmatch(it)]
    if others or _SHEBANG.sub("", text).lstrip("\ufeff \t\r\n").startswith("{"):
        told = f"syntax = {others[0][:200]}" if others else "it begins with '{'"
        raise Rejected(
            f"{name} is to be read by another program than Docker's own: {told}",
            hint="leave the line out, or write `# syntax=docker/dockerfile:1`",
        )


def _pinned(file: Path, into: Path, bases: Sequence[BaseImage]) -> Path:
    text = _text(file)
    _check_frontend(text, file.name)
    changed = froms.pin(text, {base.name: base.digest for base in bases})
    if changed == text:
        return file
    into.mkdir(parents=True, exist_ok=True)
    copy = into / file.name
    copy.write_text(changed, encoding="utf-8", errors="surrogateescape")
    ignoring = file.with_name(f"{file.name}.dockerignore")  # BuildKit looks for it beside the file
    if ignoring.is_file() and not ignoring.is_symlink():
        _copy_file(ignoring, copy.with_name(ignoring.name))
    return copy


def _copy(source: Path, target: Path) -> None:
    """Copy a tree, links as links, without what is neither file nor directory.

    Modes are the same whatever the fetching process had for its own, and let the group write.
    """
    target.mkdir()
    target.chmod(0o775)
    with os.scandir(source) as entries:
        for entry in entries:
            there = target / entry.name
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), there)
            elif entry.is_dir():
                _copy(Path(entry.path), there)
            elif entry.is_file():
                _copy_file(Path(entry.path), there)


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    runs = source.stat().st_mode & stat.S_IXUSR
    target.chmod(0o775 if runs else 0o664)
