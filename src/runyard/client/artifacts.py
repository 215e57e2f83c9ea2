"""Artifacts: listed, shown, downloaded and checked."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from runyard.client.parts import Calls, path
from runyard.domain.artifacts import check_path
from runyard.domain.errors import Invalid
from runyard.wire.rest_artifacts import CollectionOut, FileOut, VersionOut

Progress = Callable[[int], None]  # how many bytes have come


class ArtifactsApi(Calls):
    def artifacts(
        self, entity: str, project: str, *, type: str | None = None, limit: int | None = None
    ) -> Iterator[CollectionOut]:
        where = path("artifacts", entity, project)
        return self._pages(where, CollectionOut, {"type": type}, limit)

    def artifact_versions(
        self, entity: str, project: str, name: str, *, limit: int | None = None
    ) -> Iterator[VersionOut]:
        where = path("artifacts", entity, project, name, "versions")
        return self._pages(where, VersionOut, None, limit)

    def artifact(self, entity: str, project: str, name: str, alias: str) -> VersionOut:
        return self._get(path("artifacts", entity, project, name, "versions", alias), VersionOut)

    def artifact_files(self, entity: str, project: str, name: str, alias: str) -> Iterator[FileOut]:
        where = path("artifacts", entity, project, name, "versions", alias, "files")
        return self._pages(where, FileOut)

    def download_file(self, file: FileOut, into: Path, progress: Progress) -> Path:
        """Fetch a file to its path below `into`; it appears there whole, and as it was logged.

        Raises:
            Invalid: its path leads elsewhere, or what came is not what was logged. Unavailable.
        """
        check_path(file.path)
        target = into / file.path
        root = os.path.realpath(into)
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.commonpath([root, os.path.realpath(target.parent)]) != root:
            raise Invalid(f"{file.path!r} would be written outside of {into}, through a link")
        digest = hashlib.md5(usedforsecurity=False)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".download-")
        try:
            with os.fdopen(handle, "wb") as out, self.transport.fetch(file.url) as pieces:
                for piece in pieces:
                    digest.update(piece)
                    out.write(piece)
                    progress(len(piece))
            if base64.b64encode(digest.digest()).decode() != file.digest:
                raise Invalid(f"{file.path}: what came is not what was logged", hint="try again")
            os.chmod(name, 0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
        return target
