"""
The tables. Alembic's migrations build them; a test holds the two equal.

Times are milliseconds since the epoch, UTC: they compare and index as integers in both
databases and cannot lose a time zone. JSON is text: nothing in SQL looks into it. The checks
carry the *shape* of each state; the order of states is the domain's.
"""

from __future__ import annotations

from runyard.store.tables.artifacts import (
    aliases,
    artifact_clients,
    artifact_types,
    artifacts,
    collections,
    entries,
    manifests,
    members,
    multipart_uploads,
    objects,
    uses,
)
from runyard.store.tables.columns import metadata
from runyard.store.tables.images import image_uses, images, stage_chunks
from runyard.store.tables.people import (
    audit,
    credentials,
    entities,
    identities,
    invitations,
    login_codes,
    memberships,
    roles,
    secrets,
    server_keys,
    users,
)
from runyard.store.tables.queues import (
    agent_queues,
    agents,
    attempts,
    blobs,
    item_events,
    item_warnings,
    items,
    job_aliases,
    job_versions,
    jobs,
    log_chunks,
    projects,
    queues,
    runs,
    shares,
)
from runyard.store.tables.sweeps import sweep_agents, sweep_rungs, sweeps
from runyard.store.tables.tracking import (
    console_chunks,
    custom_charts,
    line_chunks,
    resource_drafts,
    run_alerts,
    run_files,
    streams,
)
from runyard.store.tables.upkeep import cursors, deliveries, hooks, idempotency_keys

__all__ = [
    "agent_queues",
    "agents",
    "aliases",
    "artifact_clients",
    "artifact_types",
    "artifacts",
    "attempts",
    "audit",
    "blobs",
    "collections",
    "console_chunks",
    "credentials",
    "cursors",
    "custom_charts",
    "deliveries",
    "entities",
    "entries",
    "hooks",
    "idempotency_keys",
    "identities",
    "image_uses",
    "images",
    "invitations",
    "item_events",
    "item_warnings",
    "items",
    "job_aliases",
    "job_versions",
    "jobs",
    "line_chunks",
    "log_chunks",
    "login_codes",
    "manifests",
    "members",
    "memberships",
    "metadata",
    "multipart_uploads",
    "objects",
    "projects",
    "queues",
    "resource_drafts",
    "roles",
    "run_alerts",
    "run_files",
    "runs",
    "secrets",
    "server_keys",
    "shares",
    "stage_chunks",
    "streams",
    "sweep_agents",
    "sweep_rungs",
    "sweeps",
    "users",
    "uses",
]
