"""Files of runs: where to upload them, which there are, and deleting them."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote, unquote

from runyard.domain.access import Action
from runyard.domain.errors import NotFound, RunyardError
from runyard.server.graphql import ids
from runyard.server.graphql.context import Area, Context, Info, context_of
from runyard.services.tracking import files, runs
from runyard.store.db import Row
from runyard.store.objects.base import run_file_key
from runyard.store.values import from_ms

_METADATA: Final = "wandb-metadata.json"
_LARGEST_METADATA: Final = 1 << 20
_PAGE: Final = 50
_MOST: Final = 1000  # files on a page


def create_run_files(_: Any, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry for each name, in order; one that can be no file's has no address."""
    context, names = context_of(info), input["files"]
    row, kept = files.announce(
        context.call, input["entityName"], input["projectName"], input["runName"], names
    )
    links = {
        name: context.parts.storage.put_run_file(row["pk"], name, base=context.base_url)
        for name in sorted(set(kept.values()))
    }
    headers = next((link.headers for link in links.values()), {})
    listed = []
    for name in names:
        link = links[kept[name]] if name in kept else None
        source = _file(context, row["pk"], kept.get(name, name), None)
        listed.append({**source, "name": name, "uploadUrl": link and link.url})
    return {
        "runID": ids.run_id(row["name"], row["project"], row["entity"]),
        "uploadHeaders": [f"{name}:{value}" for name, value in headers.items()],
        "files": listed,
    }


def mark_run_files_uploaded(_: Any, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    """Take note that the bytes of files are there, without a word about the run's state."""
    context = context_of(info)
    row = runs.find(
        context.call, input["entityName"], input["projectName"], input["runName"], Action.TRACK
    )
    known = files.note_uploaded(context.call, row["pk"], input["files"])
    storage, edge = context.parts.storage, context.parts.edge
    context.later.append(lambda: storage.settle(edge, row["pk"], known))
    return {"success": True}


def delete_files(_: Any, info: Info, input: Mapping[str, Any]) -> dict[str, Any]:
    """Delete files by their ids; one that is gone already is no error."""
    context = context_of(info)
    wanted = [_of(each) for each in input["files"]]
    files.delete(context.call, wanted)
    storage = context.parts.storage
    context.later.append(lambda: storage.remove_run_files(wanted))
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


def run_files(
    source: Mapping[str, Any],
    info: Info,
    names: Sequence[str | None] | None = None,
    pattern: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    """Return those of the names, there or not, on one page; or all that are there, page by page."""
    context, run_pk = context_of(info), source["pk"]
    explicit = [name for name in names or () if name is not None]
    if explicit:
        found = [] if after else files.named(context.call, run_pk, explicit)
        nodes = [_file(context, run_pk, each.name, each.row) for each in found]
        has_more = False
    else:
        limit = max(0, min(_PAGE if first is None else first, _MOST))
        rows = files.page(
            context.call, run_pk, pattern=pattern, after=_name_of(after), limit=limit + 1
        )
        nodes = [_file(context, run_pk, row["name"], row) for row in rows[:limit]]
        has_more = len(rows) > limit
    cursors = [_cursor(node["name"]) for node in nodes]
    return {
        "edges": [
            {"node": node, "cursor": cursor} for node, cursor in zip(nodes, cursors, strict=True)
        ],
        "pageInfo": {
            "endCursor": cursors[-1] if cursors else None,
            "hasNextPage": has_more,
            "startCursor": cursors[0] if cursors else None,
            "hasPreviousPage": bool(after),
        },
        "totalCount": partial(files.count, context.call, run_pk),
    }


def file_count(source: Mapping[str, Any], info: Info) -> int:
    return files.count(context_of(info).call, source["pk"])


def run_info(source: Mapping[str, Any], info: Info) -> dict[str, Any] | None:
    """Return what the client has noted of the machine, where we have that file ourselves.

    An outside store is not asked: a transaction is open. Clients read the file itself.
    """
    storage = context_of(info).parts.storage
    if not storage.is_own:
        return None
    try:
        key = run_file_key(source["pk"], _METADATA)
        read = json.loads(storage.store.read(key, at_most=_LARGEST_METADATA))
    except (RunyardError, ValueError, RecursionError):
        return None
    return _info(read) if isinstance(read, dict) else None


def _info(read: Mapping[str, Any]) -> dict[str, Any]:
    """Return a RunInfo of what a program wrote, where it has the types that we promise."""

    def get(name: str, kind: type) -> Any:
        value = read.get(name)
        return value if isinstance(value, kind) and value is not True else None

    words = {name: get(name, str) for name in ("program", "os", "python", "colab", "executable")}
    git = get("git", dict) or {}
    args = get("args", list)
    return {
        **words,
        "args": None if args is None else [str(each) for each in args],
        "codeSaved": isinstance(read.get("codePath"), str),
        "cpuCount": get("cpu_count", int),
        "gpuCount": get("gpu_count", int),
        "gpu": get("gpu", str),
        "git": {name: str(git[name]) for name in ("remote", "commit") if git.get(name)} or None,
    }


def url(source: Mapping[str, Any], _: Info, upload: bool | None = None) -> str | None:
    """Return where a file is read or, on demand, written."""
    address = source.get("upload") if upload else source.get("url")
    return address() if callable(address) else address


def _file(context: Context, run_pk: str, name: str, row: Row | None) -> dict[str, Any]:
    storage, base = context.parts.storage, context.base_url

    def read() -> str:
        return storage.get_run_file(run_pk, name, base=base)

    def write() -> str:
        runs.by_pk(context.call, run_pk, Action.TRACK)
        return storage.put_run_file(run_pk, name, base=base).url

    is_there = row is not None and row["size"] is not None
    md5 = row["md5"] if row is not None else None
    hashed = base64.b64encode(bytes.fromhex(md5)).decode() if md5 else None
    return {
        "id": ids.encode("File", run_pk, quote(name, safe="")),
        "name": name,
        "displayName": name,
        "url": read,
        "upload": write,
        "directUrl": read,
        "sizeBytes": row["size"] if row is not None and is_there else 0,
        "mimetype": (row and row["mimetype"]) or mimetypes.guess_type(name)[0] or "",
        "updatedAt": from_ms(row["updated_at"]) if row is not None and is_there else None,
        "md5": hashed,
        "digest": hashed,
        "uploadHeaders": [],
    }


def _of(file_id: str) -> tuple[str, str]:
    run_pk, name = ids.decode(file_id, "File", 2)
    return run_pk, unquote(name)


def _cursor(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of(cursor: str | None) -> str:
    if not cursor:
        return ""
    try:
        return base64.urlsafe_b64decode(cursor).decode()
    except ValueError:
        raise NotFound("no page of files of this cursor") from None


AREA = Area(
    {
        "Mutation": {
            "createRunFiles": create_run_files,
            "markRunFilesUploaded": mark_run_files_uploaded,
            "deleteFiles": delete_files,
        },
        "Run": {"files": run_files, "fileCount": file_count, "runInfo": run_info},
        "File": {"url": url},
    }
)
