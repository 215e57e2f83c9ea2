"""Tracking: what programs tell of their runs, files, artifacts and sweeps"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# As SQL, for SQLite can add a column with its check in place, in the words of PostgreSQL.
COLUMNS = (
    (
        "agents",
        "kind",
        "VARCHAR(8) DEFAULT 'runyard' NOT NULL"
        " CONSTRAINT ck_agents_kind CHECK (kind IN ('runyard', 'wandb'))",
    ),
    ("job_versions", "artifact_id", "BIGINT"),
    ("projects", "description", "TEXT DEFAULT '' NOT NULL"),
    ("projects", "created_by", "TEXT DEFAULT '' NOT NULL"),
    ("runs", "said_exit", "INTEGER"),
    ("runs", "notes", "TEXT DEFAULT '' NOT NULL"),
    ("runs", "description", "TEXT DEFAULT '' NOT NULL"),
    ("runs", "tags", "TEXT DEFAULT '[]' NOT NULL"),
    ("runs", "group_name", "TEXT"),
    ("runs", "job_type", "TEXT"),
    ("runs", "git_commit", "TEXT"),
    ("runs", "about", "TEXT DEFAULT '{}' NOT NULL"),
    ("runs", "sweep_id", "VARCHAR(64)"),
    ("runs", "sweep_agent_id", "VARCHAR(64)"),
    ("runs", "deleted_at", "BIGINT"),
)
# In the order in which they refer to each other.
TABLES = (
    "custom_charts",
    "multipart_uploads",
    "objects",
    "resource_drafts",
    "artifact_types",
    "sweeps",
    "collections",
    "console_chunks",
    "line_chunks",
    "run_alerts",
    "run_files",
    "streams",
    "sweep_agents",
    "sweep_rungs",
    "artifacts",
    "artifact_clients",
    "aliases",
    "entries",
    "manifests",
    "members",
    "uses",
)


def upgrade() -> None:
    for table, column, kind in COLUMNS:
        op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    op.create_index(
        "ix_runs_sweep",
        "runs",
        ["sweep_id", "id"],
        sqlite_where=sa.text("sweep_id IS NOT NULL"),
        postgresql_where=sa.text("sweep_id IS NOT NULL"),
    )
    op.create_index(
        "ix_runs_deleted",
        "runs",
        ["deleted_at"],
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_job_versions_plain",
        "job_versions",
        ["created_at"],
        sqlite_where=sa.text("artifact_id IS NULL"),
        postgresql_where=sa.text("artifact_id IS NULL"),
    )
    op.create_table(
        "custom_charts",
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("access", sa.Text(), server_default="", nullable=False),
        sa.Column("spec", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entity_id"], ["entities.id"], name=op.f("fk_custom_charts_entity_id")
        ),
        sa.PrimaryKeyConstraint("entity_id", "name", name=op.f("pk_custom_charts")),
    )
    op.create_table(
        "multipart_uploads",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("upload", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entity_id"], ["entities.id"], name=op.f("fk_multipart_uploads_entity_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_multipart_uploads")),
    )
    op.create_index("ix_multipart_uploads_age", "multipart_uploads", ["created_at"], unique=False)
    op.create_table(
        "objects",
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("birth_artifact_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["entity_id"], ["entities.id"], name=op.f("fk_objects_entity_id")),
        sa.PrimaryKeyConstraint("entity_id", "md5", name=op.f("pk_objects")),
    )
    op.create_index("ix_objects_age", "objects", ["used_at"], unique=False)
    op.create_table(
        "resource_drafts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("resource", sa.String(length=32), nullable=False),
        sa.Column("config", sa.Text(), server_default="{}", nullable=False),
        sa.Column("variables", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entity_id"], ["entities.id"], name=op.f("fk_resource_drafts_entity_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource_drafts")),
    )
    op.create_index("ix_resource_drafts_age", "resource_drafts", ["created_at"], unique=False)
    op.create_table(
        "artifact_types",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_artifact_types_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_types")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_artifact_types_project_id_name")),
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cursor", sa.Integer(), server_default="0", nullable=False),
        sa.Column("run_cap", sa.Integer(), nullable=True),
        sa.Column("best_loss", sa.Float(), nullable=True),
        sa.Column("controller", sa.Text(), nullable=True),
        sa.Column("scheduler", sa.Text(), nullable=True),
        sa.Column("scheduler_run_id", sa.String(length=64), nullable=True),
        sa.Column("prior_runs", sa.Text(), nullable=True),
        sa.Column("author_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('PENDING', 'RUNNING', 'PAUSED', 'FINISHED', 'CANCELED', 'CRASHED')",
            name=op.f("ck_sweeps_state"),
        ),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_sweeps_author_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sweeps_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_sweeps_project_id_name")),
    )
    op.create_table(
        "collections",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("type_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=9), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("tags", sa.Text(), server_default="[]", nullable=False),
        sa.Column("next_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('sequence', 'portfolio')", name=op.f("ck_collections_kind")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_collections_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["type_id"], ["artifact_types.id"], name=op.f("fk_collections_type_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_collections_project_id_name")),
    )
    op.create_index("ix_collections_type", "collections", ["type_id", "id"], unique=False)
    op.create_table(
        "console_chunks",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_console_chunks_run_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_console_chunks")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_console_chunks_run", "console_chunks", ["run_id", "start"], unique=False)
    op.create_table(
        "line_chunks",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("start", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("min_step", sa.BigInteger(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_line_chunks_run_id")),
        sa.PrimaryKeyConstraint("run_id", "kind", "start", name=op.f("pk_line_chunks")),
    )
    op.create_index(
        "ix_line_chunks_steps", "line_chunks", ["run_id", "kind", "max_step"], unique=False
    )
    op.create_table(
        "run_alerts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("body", sa.Text(), server_default="", nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_alerts_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_alerts")),
    )
    op.create_index("ix_run_alerts_run", "run_alerts", ["run_id", "id"], unique=False)
    op.create_table(
        "run_files",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("md5", sa.String(length=32), nullable=True),
        sa.Column("mimetype", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_files_run_id")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_run_files")),
    )
    op.create_table(
        "streams",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("history_lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("events_lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("console_lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("history_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("console_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("console_in_log", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("summary", sa.Text(), server_default="{}", nullable=False),
        sa.Column("system", sa.Text(), server_default="{}", nullable=False),
        sa.Column("keys", sa.Text(), server_default="{}", nullable=False),
        sa.Column("live", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("preempting", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_streams_run_id")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_streams")),
    )
    op.create_index(
        "ix_streams_live",
        "streams",
        ["heartbeat_at"],
        unique=False,
        sqlite_where=sa.text("live"),
        postgresql_where=sa.text("live"),
    )
    op.create_table(
        "sweep_agents",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("sweep_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("offered_run_id", sa.String(length=64), nullable=True),
        sa.Column("offers", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_sweep_agents_sweep_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep_agents")),
    )
    op.create_index("ix_sweep_agents_sweep", "sweep_agents", ["sweep_id", "id"], unique=False)
    op.create_table(
        "sweep_rungs",
        sa.Column("sweep_id", sa.String(length=64), nullable=False),
        sa.Column("rung", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("best", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_sweep_rungs_run_id")),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_sweep_rungs_sweep_id")),
        sa.PrimaryKeyConstraint("sweep_id", "rung", "run_id", name=op.f("pk_sweep_rungs")),
    )
    op.create_table(
        "artifacts",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("sequence_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("tags", sa.Text(), server_default="[]", nullable=False),
        sa.Column("pending_aliases", sa.Text(), server_default="[]", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("file_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("history_step", sa.BigInteger(), nullable=True),
        sa.Column("ttl_s", sa.BigInteger(), nullable=True),
        sa.Column("distributed_id", sa.String(length=256), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state <> 'COMMITTED' OR version IS NOT NULL",
            name=op.f("ck_artifacts_committed_has_number"),
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'COMMITTED', 'DELETED')", name=op.f("ck_artifacts_state")
        ),
        sa.ForeignKeyConstraint(
            ["sequence_id"], ["collections.id"], name=op.f("fk_artifacts_sequence_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifacts")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_artifacts_digest", "artifacts", ["sequence_id", "digest", "version"], unique=False
    )
    op.create_index(
        "ix_artifacts_expiry",
        "artifacts",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        "ix_artifacts_pending",
        "artifacts",
        ["created_at"],
        unique=False,
        sqlite_where=sa.text("state = 'PENDING'"),
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index(
        "ix_artifacts_run",
        "artifacts",
        ["run_id"],
        unique=False,
        sqlite_where=sa.text("run_id IS NOT NULL"),
        postgresql_where=sa.text("run_id IS NOT NULL"),
    )
    op.create_index("ix_artifacts_sequence", "artifacts", ["sequence_id", "version"], unique=False)
    op.create_table(
        "artifact_clients",
        sa.Column("client_id", sa.String(length=256), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_artifact_clients_artifact_id")
        ),
        sa.PrimaryKeyConstraint("client_id", "artifact_id", name=op.f("pk_artifact_clients")),
    )
    op.create_index(
        "ix_artifact_clients_artifact", "artifact_clients", ["artifact_id"], unique=False
    )
    op.create_table(
        "aliases",
        sa.Column("collection_id", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_aliases_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name=op.f("fk_aliases_collection_id")
        ),
        sa.PrimaryKeyConstraint("collection_id", "alias", name=op.f("pk_aliases")),
    )
    op.create_index("ix_aliases_artifact", "aliases", ["artifact_id"], unique=False)
    op.create_table(
        "entries",
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.Column("birth_artifact_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_entries_artifact_id")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "path", name=op.f("pk_entries")),
    )
    op.create_index("ix_entries_md5", "entries", ["md5"], unique=False)
    op.create_table(
        "manifests",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("md5", sa.Text(), server_default="", nullable=False),
        sa.Column("base_artifact_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('FULL', 'INCREMENTAL', 'PATCH')", name=op.f("ck_manifests_kind")
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_manifests_artifact_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
    )
    op.create_index("ix_manifests_artifact", "manifests", ["artifact_id", "id"], unique=False)
    op.create_table(
        "members",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("collection_id", sa.String(length=64), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_members_artifact_id")
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name=op.f("fk_members_collection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
        sa.UniqueConstraint(
            "collection_id", "artifact_id", name=op.f("uq_members_collection_id_artifact_id")
        ),
        sa.UniqueConstraint(
            "collection_id", "version", name=op.f("uq_members_collection_id_version")
        ),
    )
    op.create_index("ix_members_artifact", "members", ["artifact_id"], unique=False)
    op.create_table(
        "uses",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("artifact_id", sa.BigInteger(), nullable=False),
        sa.Column("used_as", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"], ["artifacts.id"], name=op.f("fk_uses_artifact_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_uses_run_id")),
        sa.PrimaryKeyConstraint("run_id", "artifact_id", name=op.f("pk_uses")),
    )
    op.create_index("ix_uses_artifact", "uses", ["artifact_id", "run_id"], unique=False)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index("ix_job_versions_plain", "job_versions")
    op.drop_index("ix_runs_deleted", "runs")
    op.drop_index("ix_runs_sweep", "runs")
    for table, column, _ in reversed(COLUMNS):
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
