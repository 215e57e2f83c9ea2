"""Sweeps: searches that propose runs, and the agents that ask them for work."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from runyard.store.tables.columns import at, ident, metadata, ref, words

# `config` is YAML as its author wrote it. `cursor` is how far a grid has been gone through.
sweeps = Table(
    "sweeps",
    metadata,
    ident(),
    ref("project_id", "projects"),
    Column("name", String(64), nullable=False),  # what the client calls the sweep id
    Column("display_name", Text),
    words("description"),
    words("config", None),
    Column("method", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cursor", Integer, nullable=False, server_default="0"),
    Column("run_cap", Integer),
    Column("best_loss", Float),
    Column("controller", Text),
    Column("scheduler", Text),
    Column("scheduler_run_id", String(64)),  # the run that drives a launched sweep
    Column("prior_runs", Text),  # JSON: a filter of runs
    ref("author_id", "users"),
    at("created_at"),
    at("updated_at"),
    at("heartbeat_at", null=True),
    CheckConstraint(
        "state IN ('PENDING', 'RUNNING', 'PAUSED', 'FINISHED', 'CANCELED', 'CRASHED')",
        name="state",
    ),
    UniqueConstraint("project_id", "name"),
)

sweep_agents = Table(
    "sweep_agents",
    metadata,
    ident(),
    ref("sweep_id", "sweeps"),
    words("host"),
    Column("state", String(16), nullable=False),
    at("created_at"),
    at("heartbeat_at", null=True),
    Index("ix_sweep_agents_sweep", "sweep_id", "id"),
)
