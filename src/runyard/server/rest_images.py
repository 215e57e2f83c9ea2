"""Routes of images: listed, and left to the agents to delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import AwareDatetime

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.server.shapes import run_ref
from runyard.services.images import listing, pruning
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text
from runyard.wire import rest, rest_images


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/images", tags=["images"])
    @opens(Kind.USER)
    async def list_images(
        caller: Caller,
        entity: Entity = None,
        state: Annotated[
            str | None,
            Query(max_length=16, description="Only BUILDING, READY, FAILED or DOOMED ones."),
        ] = None,
        repository: Annotated[
            str | None, Query(max_length=255, description="Only of this repository.")
        ] = None,
        unused_since: Annotated[
            AwareDatetime | None, Query(description="Only those that nothing has used since.")
        ] = None,
        job: Annotated[
            str | None,
            Query(max_length=400, description="Only of jobs whose path begins with this."),
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[rest_images.ImageOut]:
        """List images that agents have built or found, the newest first."""
        wanted = listing.Wanted(entity, state, repository, job, unused_since)
        found, in_use = await edge.read(
            caller,
            lambda call: listing.page(call, wanted, before=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: str(row["id"]), partial(_image, in_use=in_use))

    @app.post("/api/v1/images/prune", tags=["images"])
    @opens(Kind.USER)
    async def prune_images(body: rest_images.PruneIn, caller: Caller) -> rest_images.PrunedOut:
        """Let images go that nothing needs; agents delete them. A dry run only says which."""
        wanted = pruning.Wanted(
            entity=body.entity,
            older_than=_duration(body.older_than_s),
            unused_for=_duration(body.unused_for_s),
            repository=body.repository,
            keep_last=body.keep_last,
        )
        # What is looked through may be much: nobody who writes waits for it. What is used in
        # between is seen when it comes to writing.
        plan = await edge.read(caller, lambda call: pruning.plan(call, wanted))
        if not body.dry_run:
            plan = await edge.write(caller, lambda call: pruning.doom(call, wanted, plan))
        return _pruned(plan, dry_run=body.dry_run)


def _duration(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _image(row: Row, in_use: Mapping[str, int]) -> rest_images.ImageOut:
    is_built = bool(row["item_id"]) and row["ready_at"] is not None
    return rest_images.ImageOut(
        id=row["id"],
        entity=row["entity"],
        place=row["place"],
        repository=row["repository"],
        tag=row["tag"],
        digest=row["digest"],
        state=row["state"],
        size=row["size"],
        job=row["job"],
        about=from_text(row["about"]),
        began_at=from_ms(row["began_at"]),
        built_at=from_ms(row["ready_at"]) if is_built else None,
        used_at=from_ms(row["used_at"]),
        run=run_ref(row) if row["run_name"] is not None else None,
        in_use=in_use.get(row["id"], 0),
        error=row["error"],
    )


def _pruned(plan: pruning.Plan, *, dry_run: bool) -> rest_images.PrunedOut:
    return rest_images.PrunedOut(
        dry_run=dry_run,
        images=[
            rest_images.PrunedImage(
                id=image.id,
                place=image.name.place,
                repository=image.name.repository,
                tag=image.name.tag,
                digest=image.digest,
                size=image.size,
                job=image.job,
                used_at=image.used_at,
            )
            for image in plan.images
        ],
        bytes=sum(image.size for image in plan.images),
        failed=len(plan.failed),
        needed=plan.needed,
        more=plan.more,
    )
