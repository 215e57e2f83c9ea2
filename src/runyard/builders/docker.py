"""
Images by the docker command, on the agent's own engine or on another one.

There are three ways, and which of them is there only client and engine know: buildx; BuildKit by a
client that has it built in (18.09 to 20.10); the legacy builder, which is all that is left with a
newer client without buildx. The last one mounts neither caches nor secrets. The client is asked
once. It gets a configuration of its own for each build, so that the logins of the agent's user are
no part of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from runyard.builders import diagnosis, programs
from runyard.builders.base import BuildFailed, Built, Log, Order
from runyard.builders.logins import config_file
from runyard.builders.programs import Desk
from runyard.builders.teams import apart
from runyard.builders.transcript import Transcript
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.images import ImageRef

_TLS: Final = ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
_PUSHED: Final = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")
_NO_IMAGE: Final = re.compile(r"no such image|image not known|no such object", re.IGNORECASE)
_HINT: Final = (
    "start the engine and let the agent's user reach it, or name it by DOCKER_HOST; or take "
    "another builder (`builder: {type: buildah}` or `none`)"
)


class _Way(Enum):
    BUILDX = auto()
    BUILDKIT = auto()
    LEGACY = auto()


@dataclass(frozen=True, slots=True)
class _Engine:
    """`place` names it for all that share it; `is_podman`: it only speaks docker's language."""

    place: str
    is_podman: bool


class DockerBuilder:
    """`host` is the engine's address; None is DOCKER_HOST of `env`, else the usual socket."""

    name = "docker"

    def __init__(self, host: str | None = None, env: Mapping[str, str] | None = None) -> None:
        given = os.environ if env is None else env
        user = Path(given.get("DOCKER_CONFIG") or Path(given.get("HOME") or "/") / ".docker")
        self._plugins = user / "cli-plugins"
        self._env = programs.passed_on(given, *_TLS)
        if self._env.get("DOCKER_TLS_VERIFY"):
            self._env.setdefault("DOCKER_CERT_PATH", str(user))
        if address := host or given.get("DOCKER_HOST"):
            self._env["DOCKER_HOST"] = address
        self._known: _Engine | None = None
        self._chosen: _Way | None = None

    async def check(self) -> None:
        try:
            await self._way()
        except HostFault as error:
            raise Rejected(
                error.message, hint="install the docker command, with its buildx plug-in"
            ) from error
        except Unavailable as error:
            raise Rejected(error.message, hint=_HINT) from error

    async def mounts(self) -> bool:
        return await self._way() is not _Way.LEGACY

    async def place(self) -> str:
        return (await self._engine()).place

    async def local(self, name: str) -> str | None:
        found = await self._inspect(name)
        return found["Id"] if found else None

    async def build(self, order: Order, /, *, log: Log) -> Built:
        way = await self._way()
        if order.secrets and way is _Way.LEGACY:
            raise Rejected(
                "the build has secrets, and docker's legacy builder cannot mount any",
                hint="install docker buildx on the agent's host, or take buildah",
            )
        with programs.desk() as desk:
            options = await asyncio.to_thread(self._prepare, order, desk, way)
            env = self._env_of(desk, way)
            transcript = Transcript()
            code = await programs.follow(
                options, env, directory=order.context, log=log, read=transcript.feed
            )
            if code:
                raise diagnosis.explain(transcript, code)
            image = (await asyncio.to_thread(desk.image_id.read_text)).strip()
            digest = await self._push(order.target, env, log) if order.push else ""
        found = await self._inspect(image)
        size = int(found["Size"]) if found else 0
        if not order.push:
            return Built(order.target, image, size)
        pushed = order.target.pinned(digest)
        return Built(pushed, str(pushed), size)

    async def remove(self, image: ImageRef, /) -> None:
        name = image.tagged if image.tag else str(image)
        answer = await self._ask("image", "rm", name)
        if answer.code and not _NO_IMAGE.search(answer.err):
            raise Unavailable(f"the image {name} cannot be removed: {answer.words}")

    async def close(self) -> None:
        pass

    def _prepare(self, order: Order, desk: Desk, way: _Way) -> list[str]:
        """Write what the build needs, and return the command that makes it."""
        desk.write("config.json", config_file(order.logins, plugins=self._plugin_directories()))
        dockerfile = apart(order.dockerfile, desk)
        build = ["docker", "buildx", "build", "--load"]
        if way is not _Way.BUILDX:
            build = ["docker", "build"]
        options = desk.options(order, dockerfile)
        if way is _Way.LEGACY:
            options += ["--force-rm"]
        else:
            options += ["--progress=plain", *desk.secret_options(order.secrets)]
            options += ["--build-arg", f"BUILDKIT_CACHE_MOUNT_NS={order.team}"]
            # The environment is a Dockerfile's own to change, and another team's name could stand
            # there: which hosts a step knows is not, and is part of what a layer is found by.
            options += ["--add-host", f"{order.team}.runyard.invalid:127.0.0.1"]
        return [*build, *options, "--", str(order.context)]

    def _env_of(self, desk: Desk, way: _Way) -> dict[str, str]:
        return {
            **self._env,
            "HOME": str(desk.path),
            "DOCKER_CONFIG": str(desk.path),
            "DOCKER_BUILDKIT": "0" if way is _Way.LEGACY else "1",
            # The same order has the same content, and so one name: no record of the time beside it.
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        }

    async def _push(self, target: ImageRef, env: Mapping[str, str], log: Log) -> str:
        said = programs.Tail()
        code = await programs.follow(
            ["docker", "push", "--", target.tagged], env,
            directory=Path("/"), log=log, read=said.feed,
        )  # fmt: skip
        if code:
            raise diagnosis.explain_push(target.tagged, said.last_line)
        if found := _PUSHED.findall(said.text):
            return str(found[-1])
        image = await self._inspect(target.tagged)
        for name in (image or {}).get("RepoDigests") or ():
            repository, _, digest = name.partition("@")
            if ImageRef(repository).path == target.path:
                return str(digest)
        raise BuildFailed(f"{target.tagged} was pushed, and docker does not say under which digest")

    async def _way(self) -> _Way:
        if self._chosen is None:
            engine = await self._engine()
            self._chosen = _Way.LEGACY if engine.is_podman else await self._best()
        return self._chosen

    async def _best(self) -> _Way:
        if (await self._ask("buildx", "version")).code == 0:
            return _Way.BUILDX
        answer = await self._ask("build", "--help", DOCKER_BUILDKIT="1")
        builtin = answer.code == 0 and "--secret" in answer.out
        return _Way.BUILDKIT if builtin else _Way.LEGACY

    async def _engine(self) -> _Engine:
        if self._known is None:
            info = await self._about("info", "{{json .}}")
            if info.get("ServerErrors") or not info.get("ID"):
                raise Unavailable(f"docker's engine does not answer: {info.get('ServerErrors')}")
            version = await self._about("version", "{{json .Server}}")
            parts = version.get("Components") or ()
            is_podman = any("podman" in str(part.get("Name")).lower() for part in parts)
            # Podman makes up an id for each answer.
            own = f"podman:{info['Name']}:{info['DockerRootDir']}" if is_podman else info["ID"]
            self._known = _Engine(f"docker:{own}", is_podman)
        return self._known

    async def _about(self, what: str, form: str) -> dict[str, Any]:
        answer = await self._ask(what, "--format", form)
        try:
            found = json.loads(answer.out)
        except ValueError:
            found = None
        if answer.code or not isinstance(found, dict):
            raise Unavailable(f"docker's engine does not answer: {answer.words}")
        return found

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        answer = await self._ask("image", "inspect", "--", name)
        if answer.code == 0:
            found: dict[str, Any] = json.loads(answer.out)[0]
            return found
        if _NO_IMAGE.search(answer.err):
            return None
        raise Unavailable(f"docker's engine does not answer: {answer.words}")

    async def _ask(self, *words: str, **more: str) -> programs.Answer:
        with programs.desk() as desk:
            desk.write("config.json", config_file((), plugins=self._plugin_directories()))
            env = {**self._env, "HOME": str(desk.path), "DOCKER_CONFIG": str(desk.path), **more}
            return await programs.ask(["docker", *words], env)

    def _plugin_directories(self) -> list[Path]:
        """Where the agent's user keeps plug-ins of the client, which our configuration hides."""
        return [self._plugins] if self._plugins.is_dir() else []
