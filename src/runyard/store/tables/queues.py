"""Projects, queues, jobs, runs, items and the agents that take them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from runyard.store.tables.columns import SERIAL, at, ident, metadata, ref, words

projects = Table(
    "projects",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    words("description"),
    words("created_by"),
    at("created_at"),
    UniqueConstraint("entity_id", "name"),
)

queues = Table(
    "queues",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("name", String(64), nullable=False),
    Column("resource", String(32), nullable=False),
    words("config", "{}"),
    words("variables", "{}"),
    words("policy", "{}"),
    words("links", "[]"),
    words("description"),
    Column("mode", String(8), nullable=False, server_default="open"),
    words("mode_by"),
    words("mode_why"),
    at("mode_at", null=True),
    words("created_by"),
    at("created_at"),
    at("deleted_at", null=True),
    CheckConstraint("mode IN ('open', 'paused', 'draining')", name="mode"),
    Index("uq_queues_live", "entity_id", "name", unique=True,
          sqlite_where=text("deleted_at IS NULL"), postgresql_where=text("deleted_at IS NULL")),
)  # fmt: skip

jobs = Table(
    "jobs",
    metadata,
    ident(),
    ref("project_id", "projects"),
    Column("name", String(128), nullable=False),
    words("description"),
    Column("latest", Integer, nullable=False),
    at("created_at"),
    UniqueConstraint("project_id", "name"),
)

job_versions = Table(
    "job_versions",
    metadata,
    ident(),
    ref("job_id", "jobs"),
    Column("version", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    words("source", None),
    words("input_schemas", "{}"),
    words("created_by"),
    at("created_at"),
    # The same as the tracking client sees it; NULL until it is made, 0 if it cannot be.
    Column("artifact_id", BigInteger),
    UniqueConstraint("job_id", "version"),
    Index("ix_job_versions_digest", "job_id", "digest"),
    Index("ix_job_versions_plain", "created_at", sqlite_where=text("artifact_id IS NULL"),
          postgresql_where=text("artifact_id IS NULL")),
)  # fmt: skip

job_aliases = Table(
    "job_aliases",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("alias", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    ident(),
    ref("project_id", "projects"),
    Column("name", String(128), nullable=False),  # what the wandb client calls the run id
    Column("display_name", Text),
    Column("state", String(16), nullable=False),
    Column("item_id", String(64)),
    ref("author_id", "users"),
    Column("job", Text),
    words("config", "{}"),
    at("created_at"),
    at("started_at", null=True),
    at("ended_at", null=True),
    Column("exit_code", Integer),
    words("reason"),
    at("stop_requested_at", null=True),
    Column("log_size", BigInteger, nullable=False, server_default="0"),
    Column("log_truncated", Boolean, nullable=False, server_default=text("false")),
    # What the program says of itself. `said_exit` is its word about its end, which counts.
    Column("said_exit", Integer),
    words("notes"),
    words("description"),
    words("tags", "[]"),
    Column("group_name", Text),
    Column("job_type", Text),
    Column("git_commit", Text),
    words("about", "{}"),  # JSON: host, program, repo
    Column("sweep_id", String(64)),
    Column("sweep_agent_id", String(64)),
    at("deleted_at", null=True),
    UniqueConstraint("project_id", "name"),
    CheckConstraint(
        "(state IN ('finished', 'failed', 'killed', 'crashed')) = (ended_at IS NOT NULL)",
        name="ended",
    ),
    Index("ix_runs_project", "project_id", "id"),
    Index("ix_runs_author", "author_id", "id"),
    Index("ix_runs_sweep", "sweep_id", "id", sqlite_where=text("sweep_id IS NOT NULL"),
          postgresql_where=text("sweep_id IS NOT NULL")),
    Index("ix_runs_deleted", "deleted_at", sqlite_where=text("deleted_at IS NOT NULL"),
          postgresql_where=text("deleted_at IS NOT NULL")),
)  # fmt: skip

_waits = text("state = 'PENDING' AND parked IS NULL")

items = Table(
    "items",
    metadata,
    ident(),
    ref("queue_id", "queues"),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    at("enqueued_at"),
    ref("run_id", "runs"),
    ref("author_id", "users"),
    Column("attempt", Integer, nullable=False),
    Column("requeues", Integer, nullable=False),
    Column("agent_id", String(64)),
    Column("last_agent_id", String(64)),
    Column("token", String(64)),  # random; an index on it would cost every move of an item
    at("lease_expires_at", null=True),
    Column("claim_ttl", BigInteger, nullable=False),
    Column("failure_stage", String(16)),
    Column("failure_message", Text),
    Column("failure_detail", Text),
    at("ended_at", null=True),
    Column("pinned_agent", String(128)),
    words("spec", None),
    Column("policy", Text),  # what the submission narrowed of the queue's
    Column("parked", String(8)),  # not to be leased: held by a person, or backing off
    words("parked_why"),
    at("ready_at", null=True),  # the end of backing off
    at("expires_at", null=True),  # the end of its time to live in the queue
    at("run_deadline", null=True),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("host_faults", Integer, nullable=False, server_default="0"),
    Column("aged", Integer, nullable=False, server_default="0"),  # levels gained by waiting
    Column("turn", Float, nullable=False, server_default="0"),  # its place by fair share
    Column("charged", Float),  # seconds that its author's share was booked with for it
    CheckConstraint(
        "state IN ('PENDING', 'LEASED', 'CLAIMED', 'FINISHED', 'FAILED', 'CANCELLED')",
        name="known_state",
    ),
    CheckConstraint(
        "(state IN ('LEASED', 'CLAIMED')) = (token IS NOT NULL)", name="held_means_leased"
    ),
    CheckConstraint(
        "(token IS NULL) = (agent_id IS NULL) AND (token IS NULL) = (lease_expires_at IS NULL)",
        name="lease_is_whole",
    ),
    CheckConstraint("(state = 'FAILED') = (failure_stage IS NOT NULL)", name="failed_says_why"),
    CheckConstraint(
        "(state IN ('FINISHED', 'FAILED', 'CANCELLED')) = (ended_at IS NOT NULL)", name="ended"
    ),
    CheckConstraint("state <> 'CLAIMED' OR attempt > 0", name="claimed_is_an_attempt"),
    CheckConstraint("priority BETWEEN 0 AND 3 AND requeues >= 0", name="bounds"),
    CheckConstraint("parked IS NULL OR state = 'PENDING'", name="only_waiting_is_parked"),
    CheckConstraint("parked IN ('held', 'backoff')", name="known_parking"),
    CheckConstraint("ready_at IS NULL OR parked = 'backoff'", name="ready_ends_backoff"),
    # Partial, so that finished history never slows the hot queries down.
    # The author comes last, for those whose limit is reached to be passed over in the index.
    Index("ix_items_waiting", "queue_id", "priority", "turn", "enqueued_at", "id", "author_id",
          sqlite_where=_waits, postgresql_where=_waits),
    Index("ix_items_line", "queue_id", "author_id", "priority", "enqueued_at", "id",
          sqlite_where=_waits, postgresql_where=_waits),
    Index("ix_items_parked", "queue_id", "parked", "id",
          sqlite_where=text("parked IS NOT NULL"), postgresql_where=text("parked IS NOT NULL")),
    Index("ix_items_ready", "ready_at",
          sqlite_where=text("ready_at IS NOT NULL"), postgresql_where=text("ready_at IS NOT NULL")),
    Index("ix_items_expires", "expires_at",
          sqlite_where=text("expires_at IS NOT NULL AND state = 'PENDING'"),
          postgresql_where=text("expires_at IS NOT NULL AND state = 'PENDING'")),
    Index("ix_items_deadline", "run_deadline",
          sqlite_where=text("run_deadline IS NOT NULL"),
          postgresql_where=text("run_deadline IS NOT NULL")),
    Index("ix_items_held", "agent_id",
          sqlite_where=text("token IS NOT NULL"), postgresql_where=text("token IS NOT NULL")),
    Index("ix_items_overdue", "lease_expires_at",
          sqlite_where=text("token IS NOT NULL"), postgresql_where=text("token IS NOT NULL")),
    Index("ix_items_queue", "queue_id", "id"),
    Index("ix_items_queue_state", "queue_id", "state", "id"),
    Index("ix_items_author", "author_id", "id"),
)  # fmt: skip

attempts = Table(
    "attempts",
    metadata,
    Column("item_id", String(64), ForeignKey("items.id"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("agent_id", String(64), nullable=False),
    Column("handle", Text),
    Column("phase", String(16)),
    Column("exit_code", Integer),
    words("reason"),
    Column("log_base", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False, server_default="0"),
    at("claimed_at"),
    at("started_at", null=True),
    at("ended_at", null=True),
    Index("ix_attempts_ended", "ended_at", "claimed_at"),
)

item_events = Table(
    "item_events",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    ref("item_id", "items"),
    at("at"),
    Column("was", String(16)),
    Column("became", String(16), nullable=False),
    words("actor"),
    words("detail"),
    Index("ix_item_events_item", "item_id", "seq"),
    sqlite_autoincrement=True,
)

item_warnings = Table(
    "item_warnings",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    ref("item_id", "items"),
    at("at"),
    Column("stage", String(16), nullable=False),
    words("message"),
    Index("ix_item_warnings_item", "item_id", "seq"),
)

agents = Table(
    "agents",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("epoch", Integer, nullable=False),
    words("hostname"),
    words("version"),
    Column("status", String(16), nullable=False),
    Column("max_jobs", Integer, nullable=False),
    words("config", "{}"),
    ref("registered_by", "users"),
    at("registered_at"),
    at("last_seen_at"),
    at("stop_requested_at", null=True),
    Column("strikes", Integer, nullable=False, server_default="0"),
    at("set_aside_at", null=True),
    words("set_aside_why"),
    # Whose program it is: ours, or the tracking client's own.
    Column("kind", String(8), nullable=False, server_default="runyard"),
    CheckConstraint("kind IN ('runyard', 'wandb')", name="kind"),
    UniqueConstraint("entity_id", "name"),
)

# By name: an agent may serve a queue that does not exist yet.
agent_queues = Table(
    "agent_queues",
    metadata,
    Column("agent_id", String(64), ForeignKey("agents.id"), primary_key=True),
    Column("queue_name", String(64), primary_key=True),
    Index("ix_agent_queues_name", "queue_name"),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("entity_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("digest", String(80), primary_key=True),
    Column("size", BigInteger, nullable=False),
    at("created_at"),
)

# A user's standing in a queue with fair share. `used` is the logarithm of what was used, so written
# that its order never ages (`domain.sharing`); `level` is where it will be when all that waits has
# run, and places the next item. `moved`: `used` turned out to be another than was reckoned with, so
# that what waits is to be placed anew.
shares = Table(
    "shares",
    metadata,
    Column("queue_id", String(64), ForeignKey("queues.id"), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("used", Float, nullable=False),
    Column("level", Float, nullable=False),
    Column("typical_s", Float, nullable=False),
    Column("moved", Boolean, nullable=False),
    Index("ix_shares_moved", "queue_id", "user_id", sqlite_where=text("moved"),
          postgresql_where=text("moved")),
)  # fmt: skip
