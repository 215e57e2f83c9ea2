"""Governance: templates, policies, accounts in full, secrets, hooks and an audit log"""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As SQL, because SQLite can add a column with its checks but not a check alone, and says it
# in the same words as PostgreSQL. Dropped in the opposite order.
COLUMNS = (
    ("agents", "strikes", "INTEGER DEFAULT 0 NOT NULL"),
    ("agents", "set_aside_at", "BIGINT"),
    ("agents", "set_aside_why", "TEXT DEFAULT '' NOT NULL"),
    ("attempts", "gpus", "INTEGER DEFAULT 0 NOT NULL"),
    ("attempts", "started_at", "BIGINT"),
    ("items", "policy", "TEXT"),
    (
        "items",
        "parked",
        "VARCHAR(8)"
        " CONSTRAINT ck_items_only_waiting_is_parked CHECK (parked IS NULL OR state = 'PENDING')"
        " CONSTRAINT ck_items_known_parking CHECK (parked IN ('held', 'backoff'))",
    ),
    ("items", "parked_why", "TEXT DEFAULT '' NOT NULL"),
    (
        "items",
        "ready_at",
        "BIGINT"
        " CONSTRAINT ck_items_ready_ends_backoff CHECK (ready_at IS NULL OR parked = 'backoff')",
    ),
    ("items", "expires_at", "BIGINT"),
    ("items", "run_deadline", "BIGINT"),
    ("items", "retries", "INTEGER DEFAULT 0 NOT NULL"),
    ("items", "host_faults", "INTEGER DEFAULT 0 NOT NULL"),
    ("items", "aged", "INTEGER DEFAULT 0 NOT NULL"),
    ("items", "turn", "FLOAT DEFAULT 0 NOT NULL"),
    ("items", "charged", "FLOAT"),
    ("job_versions", "input_schemas", "TEXT DEFAULT '{}' NOT NULL"),
    ("queues", "variables", "TEXT DEFAULT '{}' NOT NULL"),
    ("queues", "links", "TEXT DEFAULT '[]' NOT NULL"),
    ("queues", "description", "TEXT DEFAULT '' NOT NULL"),
    (
        "queues",
        "mode",
        "VARCHAR(8) DEFAULT 'open' NOT NULL"
        " CONSTRAINT ck_queues_mode CHECK (mode IN ('open', 'paused', 'draining'))",
    ),
    ("queues", "mode_by", "TEXT DEFAULT '' NOT NULL"),
    ("queues", "mode_why", "TEXT DEFAULT '' NOT NULL"),
    ("queues", "mode_at", "BIGINT"),
    ("users", "kind", "VARCHAR(8) DEFAULT 'person' NOT NULL"),
    (
        "users",
        "team_id",
        "VARCHAR(64) CONSTRAINT ck_users_service_has_a_team"
        " CHECK ((kind = 'service') = (team_id IS NOT NULL))",
    ),
    ("users", "queues", "TEXT"),
    ("users", "email", "VARCHAR(320)"),
    ("users", "email_vouched", "BOOLEAN DEFAULT false NOT NULL"),
    ("users", "disabled_at", "BIGINT"),
)
_WAITS = "state = 'PENDING' AND parked IS NULL"
INDEXES = (
    (
        "items",
        "ix_items_waiting",
        ["queue_id", "priority", "turn", "enqueued_at", "id", "author_id"],
        _WAITS,
    ),
    ("items", "ix_items_line", ["queue_id", "author_id", "priority", "enqueued_at", "id"], _WAITS),
    ("items", "ix_items_parked", ["queue_id", "parked", "id"], "parked IS NOT NULL"),
    ("items", "ix_items_ready", ["ready_at"], "ready_at IS NOT NULL"),
    ("items", "ix_items_expires", ["expires_at"], "expires_at IS NOT NULL AND state = 'PENDING'"),
    ("items", "ix_items_deadline", ["run_deadline"], "run_deadline IS NOT NULL"),
    ("users", "ix_users_team", ["team_id"], "team_id IS NOT NULL"),
)
# Attempts that failed to start or were lost had no end, and none had a start: without them a
# report of usage would count the one for ever and the other as nothing.
_ENDS = """
    UPDATE attempts SET ended_at =
        (SELECT items.ended_at FROM items WHERE items.id = attempts.item_id)
    WHERE ended_at IS NULL
"""
_STARTS = """
    UPDATE attempts SET started_at = (
        SELECT runs.started_at FROM runs JOIN items ON items.run_id = runs.id
        WHERE items.id = attempts.item_id AND runs.started_at >= attempts.claimed_at
        AND (attempts.ended_at IS NULL OR runs.started_at <= attempts.ended_at)
    )
"""
ROLES = {1: "viewer", 2: "member", 3: "admin"}


def upgrade() -> None:
    for table, column, kind in COLUMNS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    op.drop_index("ix_items_waiting", "items")
    for table, name, columns, where in INDEXES:
        _index(table, name, columns, where)
    op.execute(_ENDS)
    op.execute(_STARTS)
    op.create_index("ix_attempts_ended", "attempts", ["ended_at", "claimed_at"])
    rows = _memberships()
    op.drop_table("memberships")
    op.create_table(
        "memberships",
        sa.Column("team_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("granted_by", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["entities.id"], name="fk_memberships_team_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id"),
        sa.PrimaryKeyConstraint("team_id", "user_id", name="pk_memberships"),
    )
    op.create_index("ix_memberships_user", "memberships", ["user_id"])
    _fill({**row, "role": ROLES[row["role"]]} for row in rows)
    op.create_table(
        "audit",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), server_default="", nullable=False),
        sa.Column("actor_kind", sa.String(length=8), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("thing", sa.Text(), server_default="", nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entity", "audit", ["entity_id", "seq"])

    op.create_table(
        "cursors",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "hooks",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("queue_name", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("events", sa.Text(), server_default="[]", nullable=False),
        sa.Column("wait_s", sa.Integer(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.String(length=64), nullable=True),
        sa.Column("author_id", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_why", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('webhook', 'email')", name=op.f("ck_hooks_kind")),
        sa.ForeignKeyConstraint(["entity_id"], ["entities.id"], name=op.f("fk_hooks_entity_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
        sa.UniqueConstraint("entity_id", "name", name=op.f("uq_hooks_entity_id_name")),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("team_id", sa.String(length=64), nullable=True),
        sa.Column("role", sa.String(length=64), nullable=True),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_by", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["team_id"], ["entities.id"], name=op.f("fk_invitations_team_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("hash", name=op.f("uq_invitations_hash")),
    )
    op.create_index("ix_invitations_team", "invitations", ["team_id", "id"])

    op.create_table(
        "roles",
        sa.Column("team_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("permissions", sa.Text(), server_default="[]", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["entities.id"], name=op.f("fk_roles_team_id")),
        sa.PrimaryKeyConstraint("team_id", "name", name=op.f("pk_roles")),
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("for_jobs", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["entity_id"], ["entities.id"], name=op.f("fk_secrets_entity_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("entity_id", "name", name=op.f("uq_secrets_entity_id_name")),
    )
    op.create_index("ix_secrets_key", "secrets", ["key_id"])

    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("hook_id", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("payload", sa.Text(), server_default="{}", nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'failed')", name=op.f("ck_deliveries_state")
        ),
        sa.ForeignKeyConstraint(["hook_id"], ["hooks.id"], name=op.f("fk_deliveries_hook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "hook_id", "event", "subject", name=op.f("uq_deliveries_hook_id_event_subject")
        ),
    )
    op.create_index("ix_deliveries_hook", "deliveries", ["hook_id", "id"])
    op.create_index("ix_deliveries_age", "deliveries", ["created_at"])
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["hook_id", "next_at", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )

    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=True),
        sa.Column("made_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_identities_user_id")),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_user", "identities", ["user_id"])
    op.create_table(
        "login_codes",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("challenge", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_login_codes_user_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_login_codes")),
    )
    op.create_index("ix_login_codes_expires", "login_codes", ["expires_at"])
    op.create_table(
        "server_keys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_keys")),
    )

    op.create_table(
        "shares",
        sa.Column("queue_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("used", sa.Float(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("typical_s", sa.Float(), nullable=False),
        sa.Column("moved", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["queue_id"], ["queues.id"], name=op.f("fk_shares_queue_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_shares_user_id")),
        sa.PrimaryKeyConstraint("queue_id", "user_id", name=op.f("pk_shares")),
    )
    op.create_index(
        "ix_shares_moved",
        "shares",
        ["queue_id", "user_id"],
        sqlite_where=sa.text("moved"),
        postgresql_where=sa.text("moved"),
    )


def downgrade() -> None:
    for table in (
        "shares",
        "server_keys",
        "login_codes",
        "identities",
        "deliveries",
        "secrets",
        "roles",
        "invitations",
        "hooks",
        "cursors",
        "audit",
    ):
        op.drop_table(table)
    levels = {word: level for level, word in ROLES.items()}
    rows = _memberships()
    op.drop_table("memberships")
    op.create_table(
        "memberships",
        sa.Column("team_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.Integer(), nullable=False),
        sa.CheckConstraint("role BETWEEN 1 AND 3", name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(["team_id"], ["entities.id"], name="fk_memberships_team_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_memberships_user_id"),
        sa.PrimaryKeyConstraint("team_id", "user_id", name="pk_memberships"),
    )
    op.create_index("ix_memberships_user", "memberships", ["user_id"])
    # A role that the older version does not know sinks to the one that may only look.
    _fill({**row, "role": levels.get(row["role"], 1)} for row in rows)
    op.drop_index("ix_attempts_ended", "attempts")
    for table, name, _, _ in INDEXES:
        op.drop_index(name, table)
    for table, column, _ in reversed(COLUMNS):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    _index(
        "items",
        "ix_items_waiting",
        ["queue_id", "priority", "enqueued_at", "id"],
        "state = 'PENDING'",
    )


def _index(table: str, name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def _memberships() -> list[dict[str, Any]]:
    rows = op.get_bind().execute(sa.text("SELECT team_id, user_id, role FROM memberships"))
    return [dict(row) for row in rows.mappings()]


def _fill(rows: Iterable[Mapping[str, Any]]) -> None:
    insertion = sa.text(
        "INSERT INTO memberships (team_id, user_id, role) VALUES (:team_id, :user_id, :role)"
    )
    for row in rows:
        op.get_bind().execute(insertion, row)
