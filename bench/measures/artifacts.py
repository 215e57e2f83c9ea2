"""
Artifacts by the real client: many small files and one large, up and down.

The floor is a bare HTTP file server, in one process as ours, that is sent the same bytes by as many
connections as the client opens.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from harness.client import Client
from harness.replaying import file_server
from harness.results import Row
from harness.yard import Program, Yard

from measures.floors import Floors, median
from measures.tracking import PROJECT
from measures.tracking import Program as Asking

_BYTES = 1000  # of a small file
_AT_ONCE = 64  # connections, as many as the client's downloads; its uploads open up to 128
_FLAT_MB = 64.0  # how much more memory a large file may take than none
_UP = """
import sys, time, wandb
run = wandb.init()
artifact = wandb.Artifact(sys.argv[1], "dataset")
artifact.add_dir(sys.argv[2])
begun = time.perf_counter()
run.log_artifact(artifact).wait()
print(time.perf_counter() - begun)
run.finish()
"""
_DOWN = """
import sys, time, wandb
artifact = wandb.Api().artifact(sys.argv[1] + ":latest")
begun = time.perf_counter()
artifact.download(sys.argv[2], skip_cache=True)
print(time.perf_counter() - begun)
"""
_MADE = """mutation($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id } } }"""
_OFFERED = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
  files { edges { node { uploadUrl } } } } }"""
_FILES = """query($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) { artifact(name: $name) {
    files(first: 5000) { edges { node { directUrl } } } } } }"""
_Rates = tuple[list[float], list[float]]  # up, down


def rows(floors: Floors) -> list[Row]:
    times, number, size = (1, 500, 128 << 20) if floors.quick else (3, 2000, 1 << 30)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Yard() as yard:
            client = Client(folder, yard.key, yard.entity)

            def through(name: str, files: Path) -> tuple[float, float]:
                (up,) = client.run(yard.urls[0], _UP, name, str(files))
                (down,) = client.run(yard.urls[0], _DOWN, name, str(folder / f"{name}-down"))
                _compare(files, folder / f"{name}-down")
                return up, down

            small: _Rates = ([], [])
            bare: _Rates = ([], [])
            links: _Rates = ([], [])
            asking = Asking(yard.urls[0], yard.key, yard.entity)
            for turn in range(times):
                files = _small_files(folder / f"small-{turn}", number)
                for into, taken in zip(bare, _bare(folder / f"bare-{turn}", files), strict=True):
                    into.append(number / taken)
                for into, taken in zip(small, through(f"small-{turn}", files), strict=True):
                    into.append(number / taken)
                for into, taken in zip(links, _links(asking, files, turn), strict=True):
                    into.append(number / taken)
            large = _large_file(folder / "large", size)
            with _Memory(yard.servers[0]) as memory:
                up, down = through("large", large)
    floor = "a bare HTTP file server, {} of the same files by 64 connections"
    mega = size / 1e6
    return [
        Row(f"artifact of {number:,} small files, up", "files/s", small[0], median(bare[0]),
            floor.format("PUT"), median(bare[0]) / 2, more_is_better=True,
            note="from log_artifact to the end of wait(); the target is half of the floor"),
        Row(f"artifact of {number:,} small files, down", "files/s", small[1], median(bare[1]),
            floor.format("GET"), median(bare[1]) / 2, more_is_better=True,
            note="download(); the target is half of the floor"),
        Row(f"{number:,} small files by links, up", "files/s", links[0], median(bare[0]),
            floor.format("PUT"), more_is_better=True, note="the floor's own program, no client"),
        Row(f"{number:,} small files by links, down", "files/s", links[1], median(bare[1]),
            floor.format("GET"), more_is_better=True, note="the floor's own program, no client"),
        Row(f"one file of {mega:,.0f} MB, up", "MB/s", [mega / up], more_is_better=True),
        Row(f"one file of {mega:,.0f} MB, down", "MB/s", [mega / down], more_is_better=True),
        Row("memory of the server beyond what it had before", "MB", [memory.grown_mb],
            target=_FLAT_MB, note="the most while that file came and went"),
    ]  # fmt: skip


def _small_files(folder: Path, number: int) -> Path:
    folder.mkdir()
    for n in range(number):
        (folder / f"{n}.bin").write_bytes(os.urandom(_BYTES))
    return folder


def _large_file(folder: Path, size: int) -> Path:
    folder.mkdir()
    piece = os.urandom(1 << 20)
    with (folder / "large.bin").open("wb") as file:
        for _ in range(size >> 20):
            file.write(piece)
    return folder


def _compare(sent: Path, got: Path) -> None:
    """Raises: RuntimeError: what came back is not what was sent."""
    names = {path.name for path in sent.iterdir()}
    if {path.name for path in got.iterdir()} != names:
        raise RuntimeError(f"{got}: files are missing")
    for name in names:
        if (sent / name).stat().st_size != (got / name).stat().st_size:
            raise RuntimeError(f"{got / name} is not what was sent")


def _bare(folder: Path, files: Path) -> tuple[float, float]:
    """Return the seconds that a bare server takes for the files, there and back."""
    folder.mkdir()
    bodies = {path.name: path.read_bytes() for path in files.iterdir()}
    with file_server(folder) as url:
        put = _seconds(url, bodies, lambda c, name: c.request("PUT", f"/{name}", bodies[name]))
        get = _seconds(url, bodies, lambda c, name: c.request("GET", f"/{name}"))
    return put, get


def _links(asking: Asking, files: Path, turn: int) -> tuple[float, float]:
    """Return the seconds that we take for new files and for those of the client's artifact, by the
    program that asks the bare server."""
    bodies = [os.urandom(_BYTES) for _ in files.iterdir()]
    begun = {"entityName": asking.entity, "projectName": PROJECT, "digest": f"{turn:032x}",
             "artifactCollectionName": "links", "artifactTypeName": "dataset"}  # fmt: skip
    made = asking.ask(_MADE, "", input=begun)["createArtifact"]["artifact"]["id"]
    specs = [
        {"artifactID": made, "name": str(n), "md5": _md5(body)} for n, body in enumerate(bodies)
    ]
    offered = asking.ask(_OFFERED, "", input={"artifactFiles": specs, "storageLayout": "V2"})
    urls = [e["node"]["uploadUrl"] for e in offered["createArtifactFiles"]["files"]["edges"]]
    puts = dict(zip(urls, bodies, strict=True))
    put = _seconds(urls[0], puts, lambda c, url: c.request("PUT", _path(url), puts[url]))
    found = asking.ask(_FILES, f"{files.name}:latest")["project"]["artifact"]["files"]["edges"]
    urls = [edge["node"]["directUrl"] for edge in found]
    return put, _seconds(urls[0], urls, lambda c, url: c.request("GET", _path(url)))


def _path(url: str) -> str:
    return urlsplit(url).path


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _seconds(
    url: str, names: Sequence[str] | dict[str, bytes],
    ask: Callable[[http.client.HTTPConnection, str], None],
) -> float:  # fmt: skip
    parts = urlsplit(url)
    local = threading.local()

    def one(name: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        ask(local.connection, name)
        answer = local.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the bare server answers {answer.status}")

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        begun = time.perf_counter()
        list(threads.map(one, names))
        return time.perf_counter() - begun


class _Memory:
    """Watches how much resident memory a process has."""

    def __init__(self, program: Program) -> None:
        self._program, self._before = program, program.memory_mb()
        self._most = self._before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown_mb(self) -> float:
        return self._most - self._before

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self._most = max(self._most, self._program.memory_mb())
