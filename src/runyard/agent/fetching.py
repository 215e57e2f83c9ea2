"""
Brings a job's files to this host: code from the server, git from its remote, images not at all.

The files land in the attempt's own directory; what was downloaded is kept by content. A local
process then gets the Python environment that its requirements ask for; a container installs
them itself, if its base image was chosen for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runyard.agent.archives import CodeCache, materialise
from runyard.agent.bench import Fetched
from runyard.agent.environments import Environments
from runyard.agent.git import GitAccess, fetch
from runyard.agent.notebooks import make_runnable
from runyard.agent.rendering import Draft
from runyard.agent.workspace import Workspaces
from runyard.client.agent_api import AgentApi
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.workloads import Workload
from runyard.wire.agent import Held

Log = Callable[[bytes], None]
Bring = Callable[[Path], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """The real `bench.Sources`. `host_env` is the agent's environment, for git."""

    api: AgentApi
    cache: CodeCache
    environments: Environments
    workspaces: Workspaces
    git: GitAccess
    host_env: Mapping[str, str]

    async def fetch(self, held: Held, drafted: Draft, *, log: Log) -> Fetched:
        """Return where the job's files are and what they need.

        Raises:
            Rejected, TooMuch, Invalid: it cannot be had.
            Unavailable: the server, the remote or the package index cannot be asked.
        """
        source = drafted.source
        if source.kind is SourceKind.IMAGE:
            return Fetched()
        if source.kind is SourceKind.COMMAND:
            container = drafted.workload.image is not None
            bring: Bring = partial(_scheduler, container=container)
        elif source.kind is SourceKind.CODE:
            bring = partial(self._code, held, source.archive)
        else:
            bring = partial(self._commit, held, source, log)
        files = await self.workspaces.fill(held.key, partial(_runnable, bring, drafted.workload))
        project = files / source.build_context
        if drafted.workload.image is not None:
            there = await asyncio.to_thread((project / "requirements.txt").is_file)
            wanted = Path(source.build_context, "requirements.txt").as_posix()
            return Fetched(str(files), requirements=wanted if there else None)
        made = await self.environments.for_directory(
            project, python=source.runtime or None, log=log
        )
        return Fetched(str(files), dict(made.env) if made else None)

    async def _code(self, held: Held, digest: str, into: Path) -> None:
        tree = await self.cache.get(digest, partial(self.api.blob, held.item_id, digest))
        await asyncio.to_thread(materialise, tree, into)

    async def _commit(self, held: Held, source: Source, log: Log, into: Path) -> None:
        patch = await self._patch(held, source.patch, into) if source.patch else None
        await fetch(
            source.remote,
            source.commit,
            into,
            submodules=source.submodules,
            patch=patch,
            env=self.host_env,
            log=log,
            access=self.git,
        )

    async def _patch(self, held: Held, digest: str, into: Path) -> bytes:
        file = into.with_name(f"{into.name}.patch")
        await self.api.blob(held.item_id, digest, file)
        return await asyncio.to_thread(file.read_bytes)


async def _scheduler(into: Path, *, container: bool) -> None:
    """Bring what a sweep's scheduler needs. A base image lacks the tracking client; a host where
    schedulers are to run has it."""
    if container:
        await asyncio.to_thread((into / "requirements.txt").write_text, "wandb\n")


async def _runnable(bring: Bring, workload: Workload, into: Path) -> None:
    await bring(into)
    await asyncio.to_thread(make_runnable, into, workload.working_dir, workload.entry_point)
