"""What the server keeps for its own work: notifications, and what it has read already."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from runyard.store.tables.columns import at, ident, metadata, ref, words

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    words("response", None),
    at("created_at"),
    Index("ix_idempotency_keys_age", "created_at"),
)

hooks = Table(
    "hooks",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("queue_name", String(64)),  # NULL: of all queues of the entity
    Column("kind", String(8), nullable=False),
    words("target"),
    words("events", "[]"),
    Column("wait_s", Integer),  # for the event "waiting": longer than this
    Column("secret", LargeBinary),  # sealed; signs what is sent
    Column("key_id", String(64)),
    Column("author_id", String(64)),  # NULL: of everybody's items; else a subscription of theirs
    words("created_by"),
    at("created_at"),
    at("failing_since", null=True),
    at("disabled_at", null=True),
    words("disabled_why"),
    CheckConstraint("kind IN ('webhook', 'email')", name="kind"),
    UniqueConstraint("entity_id", "name"),
)

deliveries = Table(
    "deliveries",
    metadata,
    ident(),
    Column("hook_id", String(64), ForeignKey("hooks.id"), nullable=False),
    Column("event", String(32), nullable=False),
    Column("subject", String(128), nullable=False),  # so that one thing is told once
    words("payload", "{}"),
    Column("state", String(8), nullable=False),
    Column("tries", Integer, nullable=False),
    at("created_at"),
    at("next_at", null=True),
    at("ended_at", null=True),
    words("error"),
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
