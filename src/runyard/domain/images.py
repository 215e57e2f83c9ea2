"""
What to build, under which name, and how those who hold images are spoken of.

An image is named by what decides its content: the job's files, the base image by its digest, and
the options of its build. So whether it is there already is one question to a registry, asked before
anything is fetched; equal plans have equal tags, and another plan never takes one's place.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from runyard.domain.errors import Invalid

FORMAT: Final = 1  # of what is rendered; another number gives every plan another tag
HOME: Final = "/home/runyard"  # where an image that we render has the job's files, and starts
UID: Final = 1000
HUB: Final = "docker.io"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL: Final = (
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"  # never an option of a program, nor `..`
)
_HOST: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::\d{{1,5}})?")
_PART: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_PLATFORM: Final = re.compile(r"linux/(?:amd64|arm64|arm/v[678]|386|ppc64le|s390x|riscv64)")


class Packages(StrEnum):
    """What becomes of an image some of whose packages cannot be installed."""

    STRICT = "strict"  # the build fails
    LENIENT = "lenient"  # they are left out, with a warning on the item


class Method(StrEnum):
    """How the job's Python packages are installed."""

    NONE = "none"
    REQUIREMENTS = "requirements"  # requirements.txt
    PROJECT = "project"  # [project] of pyproject.toml
    UV_PROJECT = "uv-project"  # the same, with a [tool.uv] that says where packages come from
    UV_LOCK = "uv-lock"  # pyproject.toml with its uv.lock
    CONDA = "conda"  # environment.yml
    FROZEN = "frozen"  # requirements.frozen.txt, of a run that the job was made from


@dataclass(frozen=True, slots=True)
class ImageRef:
    """`repository` is `host/path` or a local name, never with a tag; `digest` is `sha256:…`."""

    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        if self.digest:
            return f"{self.repository}@{self.digest}"
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    @property
    def tagged(self) -> str:
        """The name that a build gives to it; a digest can only be known afterwards."""
        return f"{self.repository}:{self.tag}"

    @property
    def registry(self) -> str:
        """The registry's host, with its port if the name has one."""
        host, slash, _ = self.repository.partition("/")
        return host if slash and _is_host(host) else HUB

    @property
    def path(self) -> str:
        """The repository within its registry; Docker Hub's own images are in `library`."""
        host, slash, rest = self.repository.partition("/")
        path = rest if slash and _is_host(host) else self.repository
        return f"library/{path}" if self.registry == HUB and "/" not in path else path

    def pinned(self, digest: str) -> ImageRef:
        return replace(self, digest=digest)

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Read a reference as it is typed: `[host/]path[:tag][@digest]`.

        Raises:
            Invalid: it is none.
        """
        name, at, digest = text.partition("@")
        repository, tag = name, ""
        if ":" in name.rpartition("/")[2]:
            repository, _, tag = name.rpartition(":")
        host, slash, rest = repository.partition("/")
        path = rest if slash and _is_host(host) else repository
        if (
            not all(_PART.fullmatch(part) for part in path.split("/"))
            or len(repository) > 255
            or (tag and not _TAG.fullmatch(tag))
            or (":" in name.rpartition("/")[2] and not tag)
            or (at and not _DIGEST.fullmatch(digest))
        ):
            raise Invalid(
                f"image {text!r} is not [host/]name[:tag][@sha256:<64 hex digits>]: lower case, "
                "without spaces and '#'"
            )
        return cls(repository, tag, digest)


def check_repository(text: str) -> str:
    """Return a repository to push to, which has neither tag nor digest.

    Raises:
        Invalid: it is none.
    """
    scheme, found, rest = text.partition("://")
    if found:
        raise Invalid(f"{text!r}: leave {scheme}:// out; a registry is named as {rest!r}")
    ref = ImageRef.parse(text)
    if ref.tag or ref.digest:
        raise Invalid(f"{text!r}: a repository without a tag; the tag is made of the content")
    return ref.repository


def check_platform(text: str) -> str:
    """Return a platform that images are built for.

    Raises:
        Invalid: it is none.
    """
    if not _PLATFORM.fullmatch(text):
        raise Invalid(f"platform {text!r}: one such as linux/amd64 or linux/arm64")
    return text


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image to build upon. `digest` is empty where nobody could tell it."""

    name: str
    digest: str = ""

    @property
    def pinned(self) -> str:
        """The reference for a FROM line: by digest, if it has one that a registry knows."""
        ref = ImageRef.parse(self.name)
        return str(ref.pinned(self.digest)) if self.digest else self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides what an image contains, known before any file is fetched.

    `team` has images of its own, so that none can poison another's (T21). `source` names the job's
    files by content. `notebooks` are those that the command names, which are made scripts.
    `dockerfile` is the job's own, by its path; its base images, `bases`, are known once it was
    read. `uid` 0 is root. `secrets` are the names of what is mounted during the build.
    """

    team: str
    source: str
    base: BaseImage
    entry_point: tuple[str, ...] = ()
    notebooks: tuple[str, ...] = ()
    build_context: str = ""
    dockerfile: str = ""
    bases: tuple[BaseImage, ...] = ()
    accelerator: bool = False
    python: str = ""
    platform: str = ""
    uid: int = UID
    packages: Packages = Packages.STRICT
    secrets: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        content = json.dumps([FORMAT, asdict(self)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Install:
    """`files` decide what is installed, by path in the job's directory, and are copied first.

    `whole`: they refer to other files of the directory, so that all of it is copied before.
    """

    method: Method = Method.NONE
    files: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a Dockerfile is rendered from. `base` is pinned where that is possible.

    `mounts`: the builder mounts caches and secrets; `cache` is the name of the team's cache then.
    `python` "" is the base's own. `secrets` as of `Plan`. `directory` is where it starts, in the
    job's files.
    """

    base: str
    install: Install = field(default_factory=Install)
    entry_point: tuple[str, ...] = ()
    accelerator: bool = False
    python: str = ""
    uid: int = UID
    packages: Packages = Packages.STRICT
    mounts: bool = False
    cache: str = ""
    secrets: tuple[str, ...] = ()
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials of one registry, for pulling and pushing."""

    registry: str
    username: str
    password: str = field(repr=False)
    expires_at: datetime | None = None


def _is_host(text: str) -> bool:
    return bool(_HOST.fullmatch(text)) and ("." in text or ":" in text or text == "localhost")
