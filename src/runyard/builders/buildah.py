"""
Images by buildah, which needs no engine: they are in the storage that podman runs them from.

Steps run with chroot isolation, as nothing more can be had in every place where an agent runs, and
root's own see the host's network and processes then, though not their environment. Where a runtime
works, BUILDAH_ISOLATION=oci (or rootless) in the agent's environment keeps these apart. A killed
buildah would leave its working container behind, mounted: it is asked to end first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runyard.builders import diagnosis, froms, programs
from runyard.builders.base import BuildFailed, Built, Log, Order
from runyard.builders.logins import config_file
from runyard.builders.programs import Desk
from runyard.builders.teams import apart
from runyard.builders.transcript import Transcript
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.images import ImageRef

# What decides where its storage is, and how it is set up.
_OWN: Final = (
    "HOME", "USER", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "STORAGE_DRIVER", "STORAGE_OPTS",
)  # fmt: skip
_NO_IMAGE: Final = re.compile(r"image not known|no such image|did not resolve|not found", re.I)
# A step that may change its root once more leaves a chroot; none of the others builds anything.
_DROPPED: Final = tuple(
    f"--cap-drop=CAP_{name}" for name in ("SYS_CHROOT", "MKNOD", "NET_RAW", "AUDIT_WRITE")
)
# Before it, mounts lead to the host's files: CVE-2024-1753, -9407, -9675, -11218.
_MENDED: Final = (1, 38, 1)
_MOUNTED: Final = re.compile(
    r"type=(?:cache|secret|tmpfs)|id=\w[\w.-]*|(?:target|dst|destination)=/?[\w./-]+"
    r"|(?:required|sharing|readonly|ro|rw|uid|gid|mode|size)(?:=\w*)?"
)
_GRACE: Final = 10.0  # seconds for buildah to put its working container away


class BuildahBuilder:
    name = "buildah"

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        given = os.environ if env is None else env
        self._env = programs.passed_on(given, *_OWN)
        self._caches = Path(given.get("TMPDIR") or "/var/tmp", f"runyard-buildah-{os.getuid()}")  # noqa: S108
        self._isolation = given.get("BUILDAH_ISOLATION") or "chroot"
        self._place = ""
        self._mended: bool | None = None

    @property
    def is_exposed(self) -> bool:
        """Whether a step could get at what root has on this host: its processes and devices."""
        return self._isolation == "chroot" and os.getuid() == 0

    async def check(self) -> None:
        try:
            await self.place()
        except HostFault as error:
            raise Rejected(
                error.message, hint="install buildah, or take another builder"
            ) from error
        except Unavailable as error:
            raise Rejected(
                error.message, hint="see that `buildah info` works for the agent's user"
            ) from error

    async def mounts(self) -> bool:
        return True

    async def place(self) -> str:
        if not self._place:
            answer = await self._ask("info")
            if answer.code:
                raise Unavailable(f"buildah does not work on the agent's host: {answer.words}")
            info = json.loads(answer.out)
            self._place = f"buildah:{info['host']['hostname']}:{info['store']['GraphRoot']}"
        return self._place

    async def local(self, name: str) -> str | None:
        found = await self._inspect(name)
        return f"sha256:{found['FromImageID']}" if found else None

    async def build(self, order: Order, /, *, log: Log) -> Built:
        with programs.desk() as desk:
            argv = await asyncio.to_thread(self._prepare, order, desk)
            text = await asyncio.to_thread((desk.path / "Dockerfile").read_text)
            is_mended = await self._is_mended()
            if not is_mended:
                _check_mounts(text)
            env = {**self._env, "TMPDIR": await asyncio.to_thread(self._cache_of, order.team)}
            auth = ["--authfile", str(desk.path / "config.json")]
            for base in froms.read(text):
                is_plain = ImageRef.parse(base).registry in order.insecure
                if is_plain or not is_mended:
                    await self._pull(base, auth, env, log, is_plain=is_plain)
                if not is_mended:  # what an image left for its builds to do is done by this one
                    about = await self._inspect(base) or {}
                    later = about.get("Docker", {}).get("config", {}).get("OnBuild") or ()
                    _check_mounts("".join(f"{line}\n" for line in later))
            await self._run(argv, env, order.context, log)
            image = (await asyncio.to_thread(desk.image_id.read_text)).strip()
            digest = await self._push(order, desk, auth, env, log) if order.push else ""
        found = await self._inspect(image)
        layers = json.loads(found["Manifest"])["layers"] if found else ()
        size = sum(int(layer["size"]) for layer in layers)
        if not order.push:
            return Built(order.target, image, size)
        pushed = order.target.pinned(digest)
        return Built(pushed, str(pushed), size)

    async def remove(self, image: ImageRef, /) -> None:
        name = image.tagged if image.tag else str(image)
        answer = await self._ask("rmi", name)
        if answer.code and not _NO_IMAGE.search(answer.err):
            raise Unavailable(f"the image {name} cannot be removed: {answer.words}")

    async def close(self) -> None:
        pass

    def _prepare(self, order: Order, desk: Desk) -> list[str]:
        """Write what the build needs, and return the command that makes it."""
        login = desk.write("config.json", config_file(order.logins))
        dockerfile = apart(order.dockerfile, desk)
        options = [
            "--isolation", self._isolation, *_DROPPED, "--layers", "--force-rm",
            "--format", "docker", "--pull=false", "--http-proxy=false", "--authfile", str(login),
            *desk.options(order, dockerfile), *desk.secret_options(order.secrets),
        ]  # fmt: skip
        ignored = desk.path / "Dockerfile.dockerignore"
        if ignored.exists():
            options += ["--ignorefile", str(ignored)]
        return ["buildah", "build", *options, "--", str(order.context)]

    async def _is_mended(self) -> bool:
        """Whether buildah keeps the mounts of a step within the build."""
        if self._mended is None:
            said = await self._ask("--version")
            found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said.out)
            self._mended = found is not None and tuple(map(int, found.groups())) >= _MENDED
        return self._mended

    def _cache_of(self, team: str) -> str:
        """Return a directory that only this team's builds keep their cache mounts in."""
        name = hashlib.sha256(team.encode()).hexdigest()[:16]
        path = self._caches / name
        for part in (self._caches, path):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.lstat()
            if found.st_uid != os.getuid() or part.is_symlink() or found.st_mode & 0o077:
                raise HostFault(f"{part} is not a directory of the agent's user alone")
        return str(path)

    async def _pull(
        self, base: str, auth: list[str], env: Mapping[str, str], log: Log, *, is_plain: bool
    ) -> None:
        """Have a base image; `is_plain`: its registry speaks plain http, and that one alone."""
        plain = ["--tls-verify=false"] if is_plain else []
        argv = ["buildah", "pull", *plain, "--policy", "missing", *auth, "--", base]
        await self._run(argv, env, Path("/"), log, f"STEP 1/1: FROM {base}\n")

    async def _run(
        self, argv: list[str], env: Mapping[str, str], directory: Path, log: Log, step: str = ""
    ) -> None:
        """Run buildah to a good end, once more if its storage was changed under it."""
        for is_last in (False, False, True):
            transcript = Transcript()
            transcript.feed(step)
            code = await programs.follow(
                argv, env, directory=directory, log=log, read=transcript.feed, grace=_GRACE
            )
            if not code:
                return
            error = diagnosis.explain(transcript, code)
            if is_last or not isinstance(error, diagnosis.StorageChanged):
                raise error

    async def _push(
        self, order: Order, desk: Desk, auth: list[str], env: Mapping[str, str], log: Log
    ) -> str:
        argv = ["buildah", "push", *auth, "--digestfile", str(desk.digest)]
        if order.target.registry in order.insecure:
            argv.append("--tls-verify=false")
        said = programs.Tail()
        code = await programs.follow(
            [*argv, "--", order.target.tagged, f"docker://{order.target.tagged}"], env,
            directory=Path("/"), log=log, read=said.feed, grace=_GRACE,
        )  # fmt: skip
        if code:
            raise diagnosis.explain_push(order.target.tagged, said.last_line)
        digest = (await asyncio.to_thread(desk.digest.read_text)).strip()
        if not digest:
            raise BuildFailed(
                f"{order.target.tagged} was pushed, and buildah does not say under which digest"
            )
        return digest

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        answer = await self._ask("inspect", "--type", "image", "--", name)
        if answer.code == 0:
            found: dict[str, Any] = json.loads(answer.out)
            return found
        if _NO_IMAGE.search(answer.err):
            return None
        raise Unavailable(f"buildah does not work on the agent's host: {answer.words}")

    async def _ask(self, *words: str) -> programs.Answer:
        with tempfile.TemporaryDirectory(prefix="runyard-buildah-") as path:
            return await programs.ask(["buildah", *words], {**self._env, "TMPDIR": path})


def _check_mounts(text: str) -> None:
    """Pass if the mounts of these instructions are such as stay within a build anyway."""
    odd = [f"RUN {flag}" for flag in froms.flags_of_run(text) if not _stays_inside(flag)]
    if unclear := froms.unclear(text):
        odd.append(unclear)
    if odd:
        raise Rejected(
            f"this host's buildah could let a step reach the host's files: {odd[0][:200]}",
            hint="mount caches and secrets only, by plain names, and name each base image as it "
            f"is; or let the agent's host have buildah {'.'.join(map(str, _MENDED))} or newer",
        )


def _stays_inside(flag: str) -> bool:
    name, _, value = flag.partition("=")
    parts = value.split(",")
    return (
        name == "--mount"
        and ".." not in value
        and any(part.startswith("type=") for part in parts)  # or it is one of the host's
        and all(map(_MOUNTED.fullmatch, parts))
    )
