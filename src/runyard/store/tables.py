"""
The tables. Alembic's migrations build them; a test holds the two equal.

Times are milliseconds since the epoch, UTC: they compare and index as integers in both
databases and cannot lose a time zone. JSON is text: nothing in SQL looks into it. The checks
carry the *shape* of each state; the order of states is the domain's.
"""

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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# SQLite numbers rows by itself only where the type is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


def _id(name: str = "id") -> Column[str]:
    return Column(name, String(64), primary_key=True)


def _ref(name: str, target: str, *, null: bool = False) -> Column[str]:
    return Column(name, String(64), ForeignKey(f"{target}.id"), nullable=null)


def _at(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _text(name: str, default: str | None = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


entities = Table(
    "entities",
    metadata,
    _id(),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    _at("created_at"),
    CheckConstraint("kind IN ('user', 'team')", name="kind"),
)

users = Table(
    "users",
    metadata,
    Column("id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("is_admin", Boolean, nullable=False),
    Column("kind", String(8), nullable=False, server_default="person"),
    Column("team_id", String(64)),  # to whom a service account belongs
    Column("queues", Text),  # JSON list: all that a service account may touch; NULL is any
    Column("email", String(320)),
    # An admin of the server, or a login provider, says so: others' logins may be linked by it.
    Column("email_vouched", Boolean, nullable=False, server_default=text("false")),
    _at("disabled_at", null=True),
    CheckConstraint("(kind = 'service') = (team_id IS NOT NULL)", name="service_has_a_team"),
    Index("ix_users_team", "team_id", sqlite_where=text("team_id IS NOT NULL"),
          postgresql_where=text("team_id IS NOT NULL")),
)  # fmt: skip

# Who a person is to a provider of logins.
identities = Table(
    "identities",
    metadata,
    Column("issuer", String(512), primary_key=True),
    Column("subject", String(256), primary_key=True),
    _ref("user_id", "users"),
    _at("created_at"),
    _at("last_login_at", null=True),
    # A group of the provider's has made the person admin of the server, and can undo it.
    Column("made_admin", Boolean, nullable=False, server_default=text("false")),
    Index("ix_identities_user", "user_id"),
)

# What a login ended with, until the program that began it fetches the key: once, within minutes.
login_codes = Table(
    "login_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    _ref("user_id", "users"),
    Column("challenge", String(64), nullable=False),  # PKCE, S256: of the program's verifier
    _at("expires_at"),
    Index("ix_login_codes_expires", "expires_at"),
)

# Random keys that all servers of the database share, for what is good for minutes only.
server_keys = Table(
    "server_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    _text("value", None),
    _at("created_at"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("team_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("role", String(64), nullable=False),  # built in, or of `roles`
    _text("granted_by"),  # "oidc" where a group of the provider's decides
    Index("ix_memberships_user", "user_id"),
)

roles = Table(
    "roles",
    metadata,
    Column("team_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    _text("permissions", "[]"),
    _text("description"),
    _at("created_at"),
)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    Column("hash", String(64), nullable=False, unique=True),
    Column("team_id", String(64), ForeignKey("entities.id"), nullable=True),
    Column("role", String(64)),
    _text("email"),
    _text("created_by"),
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", null=True),
    Column("used_by", String(64)),
    Index("ix_invitations_team", "team_id", "id"),
)

credentials = Table(
    "credentials",
    metadata,
    _id(),
    Column("hash", String(64), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    _ref("user_id", "users"),
    Column("agent_id", String(64)),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("run_id", String(64)),
    _text("name"),
    _text("prefix"),
    _at("created_at"),
    _at("expires_at", null=True),
    _at("last_used_at", null=True),
    CheckConstraint(
        "(kind = 'agent') = (agent_id IS NOT NULL) AND (kind = 'run') = (run_id IS NOT NULL)",
        name="scope",
    ),
    Index("ix_credentials_user", "user_id", "kind", "id"),
    Index("ix_credentials_agent", "agent_id", sqlite_where=text("agent_id IS NOT NULL"),
          postgresql_where=text("agent_id IS NOT NULL")),
    Index("ix_credentials_run", "run_id", sqlite_where=text("run_id IS NOT NULL"),
          postgresql_where=text("run_id IS NOT NULL")),
)  # fmt: skip

projects = Table(
    "projects",
    metadata,
    _id(),
    _ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    _at("created_at"),
    UniqueConstraint("entity_id", "name"),
)

queues = Table(
    "queues",
    metadata,
    _id(),
    _ref("entity_id", "entities"),
    Column("name", String(64), nullable=False),
    Column("resource", String(32), nullable=False),
    _text("config", "{}"),
    _text("variables", "{}"),
    _text("policy", "{}"),
    _text("links", "[]"),
    _text("description"),
    Column("mode", String(8), nullable=False, server_default="open"),
    _text("mode_by"),
    _text("mode_why"),
    _at("mode_at", null=True),
    _text("created_by"),
    _at("created_at"),
    _at("deleted_at", null=True),
    CheckConstraint("mode IN ('open', 'paused', 'draining')", name="mode"),
    Index("uq_queues_live", "entity_id", "name", unique=True,
          sqlite_where=text("deleted_at IS NULL"), postgresql_where=text("deleted_at IS NULL")),
)  # fmt: skip

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _ref("project_id", "projects"),
    Column("name", String(128), nullable=False),
    _text("description"),
    Column("latest", Integer, nullable=False),
    _at("created_at"),
    UniqueConstraint("project_id", "name"),
)

job_versions = Table(
    "job_versions",
    metadata,
    _id(),
    _ref("job_id", "jobs"),
    Column("version", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    _text("source", None),
    _text("input_schemas", "{}"),
    _text("created_by"),
    _at("created_at"),
    UniqueConstraint("job_id", "version"),
    Index("ix_job_versions_digest", "job_id", "digest"),
)

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
    _id(),
    _ref("project_id", "projects"),
    Column("name", String(128), nullable=False),  # what the wandb client calls the run id
    Column("display_name", Text),
    Column("state", String(16), nullable=False),
    Column("item_id", String(64)),
    _ref("author_id", "users"),
    Column("job", Text),
    _text("config", "{}"),
    _at("created_at"),
    _at("started_at", null=True),
    _at("ended_at", null=True),
    Column("exit_code", Integer),
    _text("reason"),
    _at("stop_requested_at", null=True),
    Column("log_size", BigInteger, nullable=False, server_default="0"),
    Column("log_truncated", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("project_id", "name"),
    CheckConstraint(
        "(state IN ('finished', 'failed', 'killed', 'crashed')) = (ended_at IS NOT NULL)",
        name="ended",
    ),
    Index("ix_runs_project", "project_id", "id"),
    Index("ix_runs_author", "author_id", "id"),
)

_waits = text("state = 'PENDING' AND parked IS NULL")

items = Table(
    "items",
    metadata,
    _id(),
    _ref("queue_id", "queues"),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    _at("enqueued_at"),
    _ref("run_id", "runs"),
    _ref("author_id", "users"),
    Column("attempt", Integer, nullable=False),
    Column("requeues", Integer, nullable=False),
    Column("agent_id", String(64)),
    Column("last_agent_id", String(64)),
    Column("token", String(64)),  # random; an index on it would cost every move of an item
    _at("lease_expires_at", null=True),
    Column("claim_ttl", BigInteger, nullable=False),
    Column("failure_stage", String(16)),
    Column("failure_message", Text),
    Column("failure_detail", Text),
    _at("ended_at", null=True),
    Column("pinned_agent", String(128)),
    _text("spec", None),
    Column("policy", Text),  # what the submission narrowed of the queue's
    Column("parked", String(8)),  # not to be leased: held by a person, or backing off
    _text("parked_why"),
    _at("ready_at", null=True),  # the end of backing off
    _at("expires_at", null=True),  # the end of its time to live in the queue
    _at("run_deadline", null=True),
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
    _text("reason"),
    Column("log_base", BigInteger, nullable=False),
    Column("gpus", Integer, nullable=False, server_default="0"),
    _at("claimed_at"),
    _at("started_at", null=True),
    _at("ended_at", null=True),
    Index("ix_attempts_ended", "ended_at", "claimed_at"),
)

item_events = Table(
    "item_events",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    _ref("item_id", "items"),
    _at("at"),
    Column("was", String(16)),
    Column("became", String(16), nullable=False),
    _text("actor"),
    _text("detail"),
    Index("ix_item_events_item", "item_id", "seq"),
    sqlite_autoincrement=True,
)

item_warnings = Table(
    "item_warnings",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    _ref("item_id", "items"),
    _at("at"),
    Column("stage", String(16), nullable=False),
    _text("message"),
    Index("ix_item_warnings_item", "item_id", "seq"),
)

agents = Table(
    "agents",
    metadata,
    _id(),
    _ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("epoch", Integer, nullable=False),
    _text("hostname"),
    _text("version"),
    Column("status", String(16), nullable=False),
    Column("max_jobs", Integer, nullable=False),
    _text("config", "{}"),
    _ref("registered_by", "users"),
    _at("registered_at"),
    _at("last_seen_at"),
    _at("stop_requested_at", null=True),
    Column("strikes", Integer, nullable=False, server_default="0"),
    _at("set_aside_at", null=True),
    _text("set_aside_why"),
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
    _at("created_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    _text("response", None),
    _at("created_at"),
    Index("ix_idempotency_keys_age", "created_at"),
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

audit = Table(
    "audit",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    _at("at"),
    _text("actor"),
    Column("actor_kind", String(8), nullable=False),
    Column("entity_id", String(64)),  # NULL: of the server as a whole
    Column("action", String(64), nullable=False),
    _text("thing"),
    Column("before", Text),
    Column("after", Text),
    Index("ix_audit_entity", "entity_id", "seq"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    metadata,
    _id(),
    _ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("key_id", String(64), nullable=False),  # which of the server's keys sealed it
    Column("sealed", LargeBinary, nullable=False),
    Column("for_jobs", Boolean, nullable=False, server_default=text("false")),
    _text("description"),
    _text("created_by"),
    _at("created_at"),
    _at("updated_at"),
    UniqueConstraint("entity_id", "name"),
    Index("ix_secrets_key", "key_id"),
)

hooks = Table(
    "hooks",
    metadata,
    _id(),
    _ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("queue_name", String(64)),  # NULL: of all queues of the entity
    Column("kind", String(8), nullable=False),
    _text("target"),
    _text("events", "[]"),
    Column("wait_s", Integer),  # for the event "waiting": longer than this
    Column("secret", LargeBinary),  # sealed; signs what is sent
    Column("key_id", String(64)),
    Column("author_id", String(64)),  # NULL: of everybody's items; else a subscription of theirs
    _text("created_by"),
    _at("created_at"),
    _at("failing_since", null=True),
    _at("disabled_at", null=True),
    _text("disabled_why"),
    CheckConstraint("kind IN ('webhook', 'email')", name="kind"),
    UniqueConstraint("entity_id", "name"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("hook_id", String(64), ForeignKey("hooks.id"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("subject", String(128), nullable=False),  # so that one thing is told once
    _text("payload", "{}"),
    Column("state", String(8), nullable=False),
    Column("tries", Integer, nullable=False),
    _at("created_at"),
    _at("next_at", null=True),
    _at("ended_at", null=True),
    _text("error"),
    CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
    UniqueConstraint("hook_id", "event", "subject"),
    Index("ix_deliveries_hook", "hook_id", "id"),
    Index("ix_deliveries_age", "created_at"),
    Index("ix_deliveries_due", "hook_id", "next_at", "id", sqlite_where=text("state = 'waiting'"),
          postgresql_where=text("state = 'waiting'")),
)  # fmt: skip

# How far those who follow `item_events` have read.
cursors = Table(
    "cursors",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
