"""
Making a job's version of what is on this machine: a directory, a checkout, a git address, an
image.

First everything is found out here and nothing is sent (`Draft`), then it is sent (`save`): what
the server has already is not uploaded again, and the version comes last, so that a broken
upload leaves no half of a job.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from runyard.client import gitinfo, packing, runtimes
from runyard.client.api import Api
from runyard.domain import sources
from runyard.domain.errors import Invalid
from runyard.domain.jobs import Source, SourceKind
from runyard.wire.rest import JobIn, JobVersionOut

DEFAULT_ENTRY_POINT: Final = ("python", "main.py")
_CHUNK: Final = 1 << 18
Progress = Callable[[str, int, int], None]  # what is done ("packing"), bytes so far, in all


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a job is to be made of. `path` is a directory, a git address, or an image."""

    kind: SourceKind
    path: str
    name: str | None = None
    entry_point: Sequence[str] = ()
    ref: str | None = None
    runtime: str | None = None
    build_context: str | None = None
    base_image: str | None = None
    dockerfile: str | None = None
    services: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)  # variables to names
    aliases: Sequence[str] = ()
    description: str = ""
    inputs: Mapping[str, Any] | None = None  # None keeps what the newest version declares


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that the job needs, in a file on this machine."""

    digest: str
    size: int
    file: Path


@dataclass(frozen=True, slots=True)
class Draft:
    """A job's version that is not saved yet. `notes` are for its maker to read."""

    name: str
    source: Source
    aliases: tuple[str, ...]
    description: str
    uploads: tuple[Upload, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Mapping[str, Any] | None = None


def kind_of(uri: str) -> SourceKind:
    """Tell what somebody means by a path or address: git if it looks like it, else code."""
    return SourceKind.GIT if sources.looks_like_git(uri) else SourceKind.CODE


@contextmanager
def drafted(
    recipe: Recipe, *, environ: Mapping[str, str], progress: Progress | None = None
) -> Iterator[Draft]:
    """Find out what the version will be; the files to upload last as long as the block.

    Raises:
        Invalid, NotFound, Rejected, TooMuch, Unavailable: as `packing` and `gitinfo`.
    """
    if recipe.kind is SourceKind.IMAGE:
        yield _image(recipe)
        return
    with tempfile.TemporaryDirectory(prefix="runyard-") as folder:
        if recipe.kind is SourceKind.CODE:
            yield _code(recipe, Path(folder), progress)
        elif sources.looks_like_git(recipe.path):
            yield _git(recipe, environ)
        else:
            yield _checkout(recipe, Path(folder))


def save(
    api: Api, entity: str, project: str, draft: Draft, progress: Progress | None = None
) -> JobVersionOut:
    """Upload what is missing and save the version."""
    for upload in draft.uploads:
        if not api.has_blob(entity, upload.digest):
            api.put_blob(entity, upload.digest, _chunks(upload, progress), upload.size)
    job = JobIn(
        source=draft.source.to_json(),
        description=draft.description,
        aliases=list(draft.aliases),
        input_schemas=None if draft.inputs is None else dict(draft.inputs),
    )
    return api.save_job(entity, project, draft.name, job)


def _image(recipe: Recipe) -> Draft:
    image = sources.check_image(recipe.path)
    if recipe.base_image:
        raise Invalid("base_image: an image job runs its own image")
    notes = ("the runtime of an image job is that of its image",) if recipe.runtime else ()
    tag = sources.image_tag_alias(image)
    name = recipe.name or sources.default_image_name(image)
    source = Source(
        SourceKind.IMAGE,
        image=image,
        entry_point=tuple(recipe.entry_point),
        services=recipe.services,
    )
    aliases = tuple(dict.fromkeys([*recipe.aliases, *([tag] if tag else [])]))
    return _draft(recipe, name, source, notes, aliases=aliases)


def _code(recipe: Recipe, folder: Path, progress: Progress | None) -> Draft:
    root = Path(recipe.path)
    if recipe.ref:
        raise Invalid("git_ref: applies to a git address only")
    packed_as = folder / "code.tar.gz"
    report = None if progress is None else _named(progress, "packing")
    packed = packing.pack(packing.scan(root), packed_as, report)
    words, notes = _entry_point(recipe)
    name = recipe.name or sources.default_code_name(root.resolve().name, _script(words))
    source = Source(
        SourceKind.CODE,
        archive=packed.digest,
        entry_point=words,
        runtime=runtimes.python_version(recipe.runtime, runtimes.reader(root)),
        build_context=recipe.build_context or "",
        dockerfile=recipe.dockerfile or "",
        base_image=recipe.base_image or "",
        services=recipe.services,
    )
    upload = Upload(packed.digest, packed.size, packed_as)
    return _draft(recipe, name, source, notes, (upload,))


def _git(recipe: Recipe, environ: Mapping[str, str]) -> Draft:
    resolved = gitinfo.resolve(recipe.path, recipe.ref, host_env=environ)
    words, notes = _entry_point(recipe)
    name = recipe.name or sources.default_git_name(recipe.path, _script(words))
    return _draft(recipe, name, _git_source(recipe, recipe.path, resolved.commit, words), notes)


def _checkout(recipe: Recipe, folder: Path) -> Draft:
    """Make a git job of the directory in hand: its remote, its commit, its changes."""
    found = gitinfo.inspect(Path(recipe.path))
    if found is None or not found.remote:
        raise Invalid(
            f"{recipe.path} is neither a git address nor a checkout that has a remote",
            hint="give the address, or make a code job: runyard job create code PATH",
        )
    remote = sources.check_remote(found.remote)
    if recipe.ref and recipe.ref not in (found.commit, found.branch):
        raise Invalid(
            f"git_ref: {recipe.path} is at {found.branch or found.commit}, not {recipe.ref}",
            hint=f"check it out first, or give the address: {remote}",
        )
    words, notes = _entry_point(recipe)
    if not found.pushed:
        notes += (f"commit {found.commit[:12]} is not on {remote} yet: push it, or jobs fail",)
    uploads: tuple[Upload, ...] = ()
    if found.patch:
        digest = f"sha256:{hashlib.sha256(found.patch).hexdigest()}"
        file = folder / "changes.patch"
        file.write_bytes(found.patch)
        uploads = (Upload(digest, len(found.patch), file),)
        notes += ("uncommitted changes go along as a patch; untracked files do not",)
    name = recipe.name or sources.default_git_name(remote, _script(words))
    patch = uploads[0].digest if uploads else ""
    source = _git_source(recipe, remote, found.commit, words, patch)
    return _draft(recipe, name, source, notes, uploads)


def _git_source(
    recipe: Recipe, remote: str, commit: str, words: tuple[str, ...], patch: str = ""
) -> Source:
    return Source(
        SourceKind.GIT,
        remote=remote,
        commit=commit,
        patch=patch,
        entry_point=words,
        runtime=sources.check_runtime(recipe.runtime) if recipe.runtime else "",
        build_context=recipe.build_context or "",
        dockerfile=recipe.dockerfile or "",
        base_image=recipe.base_image or "",
        services=recipe.services,
    )


def _draft(
    recipe: Recipe,
    name: str,
    source: Source,
    notes: tuple[str, ...],
    uploads: tuple[Upload, ...] = (),
    *,
    aliases: tuple[str, ...] | None = None,
) -> Draft:
    return Draft(
        name=sources.check_job_name(name),
        source=replace(source, secrets=recipe.secrets),
        aliases=tuple(recipe.aliases) if aliases is None else aliases,
        description=recipe.description,
        uploads=uploads,
        notes=notes + _input_notes(recipe.inputs or {}),
        inputs=recipe.inputs,
    )


def _input_notes(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    if not inputs:
        return ()
    from runyard.domain import schemas  # slow to import, and seldom needed

    return tuple(n for name, each in inputs.items() for n in schemas.notes(each, f"inputs[{name}]"))


def _entry_point(recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not recipe.entry_point and recipe.dockerfile:
        return (), ("no entry point was given: the Dockerfile's own is taken",)
    if not recipe.entry_point:
        return DEFAULT_ENTRY_POINT, ("no entry point was given: `python main.py` is taken",)
    words = sources.check_entry_point(recipe.entry_point)
    warning = sources.missing_interpreter(words)
    return words, (warning,) if warning else ()


def _script(words: Sequence[str]) -> str:
    return next((word for word in words if word.endswith((".py", ".sh", ".ipynb"))), "")


def _chunks(upload: Upload, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    with upload.file.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress("uploading", done, upload.size)


def _named(progress: Progress, doing: str) -> packing.Progress:
    return lambda done, total: progress(doing, done, total)
