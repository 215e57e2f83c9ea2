"""Sweeps: searches that propose runs, and the agents that ask them for work."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
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

# `offered_run_id` is the run that an agent was given last, `offers` how often it was told so.
sweep_agents = Table(
    "sweep_agents",
    metadata,
    ident(),
    ref("sweep_id", "sweeps"),
    words("host"),
    Column("state", String(16), nullable=False),
    Column("offered_run_id", String(64)),
    Column("offers", Integer, nullable=False, server_default="0"),
    at("created_at"),
    at("heartbeat_at", null=True),
    Index("ix_sweep_agents_sweep", "sweep_id", "id"),
)

# The best value of the metric that a run had when it came to a rung of hyperband: written once.
sweep_rungs = Table(
    "sweep_rungs",
    metadata,
    Column("sweep_id", String(64), ForeignKey("sweeps.id"), primary_key=True),
    Column("rung", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("best", Float, nullable=False),
)
