"""
Artifacts: versions of named collections, the files they are made of, and who used them.

A version is born in a sequence and may be linked into portfolios. In each collection it has a
number and aliases of its own; `members` says which.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from runyard.store.tables.columns import SERIAL, at, ident, metadata, ref, words

# Bytes under the MD5 of their content, known to an entity; the store has them under that name.
# `size` is NULL until they are known to be there, and to be what their name says.
objects = Table(
    "objects",
    metadata,
    Column("entity_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("md5", String(32), primary_key=True),
    Column("size", BigInteger),
    Column("birth_artifact_id", BigInteger),  # the version that first brought them
    at("created_at"),
    at("used_at"),  # when last an upload was offered or a version took them: no garbage then
    Index("ix_objects_age", "used_at"),
)

# Large objects on their way in, part by part. `upload` is the store's own name for it.
multipart_uploads = Table(
    "multipart_uploads",
    metadata,
    ident(),
    Column("entity_id", String(64), ForeignKey("entities.id"), nullable=False),
    Column("md5", String(32), nullable=False),
    Column("parts", Integer, nullable=False),
    words("upload"),
    at("created_at"),
    Index("ix_multipart_uploads_age", "created_at"),
)

artifact_types = Table(
    "artifact_types",
    metadata,
    ident(),
    ref("project_id", "projects"),
    Column("name", String(128), nullable=False),
    words("description"),
    at("created_at"),
    UniqueConstraint("project_id", "name"),
)

collections = Table(
    "collections",
    metadata,
    ident(),
    ref("project_id", "projects"),
    ref("type_id", "artifact_types"),
    Column("kind", String(9), nullable=False),
    Column("name", String(128), nullable=False),
    words("description"),
    words("tags", "[]"),
    Column("next_version", Integer, nullable=False, server_default="0"),
    words("created_by"),
    at("created_at"),
    at("updated_at"),
    CheckConstraint("kind IN ('sequence', 'portfolio')", name="kind"),
    UniqueConstraint("project_id", "name"),
    Index("ix_collections_type", "type_id", "id"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    ref("sequence_id", "collections"),
    Column("state", String(16), nullable=False),
    Column("digest", String(128), nullable=False),
    Column("version", Integer),  # its number in its sequence, once it is committed
    words("description"),
    words("metadata", "{}"),  # JSON with NaN and Infinity, as it came
    words("tags", "[]"),
    words("pending_aliases", "[]"),  # to be set when it is committed
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("file_count", BigInteger, nullable=False, server_default="0"),
    Column("history_step", BigInteger),
    Column("ttl_s", BigInteger),
    Column("distributed_id", String(256)),
    Column("run_id", String(64)),  # that logged it
    Column("created_by", String(64), nullable=False),  # id of the user
    at("created_at"),
    at("updated_at"),
    at("committed_at", null=True),
    at("expires_at", null=True),  # of a committed one with a time to live
    CheckConstraint(
        "state IN ('PENDING', 'COMMITTED', 'DELETED')",
        name="state",
    ),
    CheckConstraint("state <> 'COMMITTED' OR version IS NOT NULL", name="committed_has_number"),
    Index("ix_artifacts_sequence", "sequence_id", "version"),
    Index("ix_artifacts_digest", "sequence_id", "digest", "version"),
    Index("ix_artifacts_run", "run_id", sqlite_where=text("run_id IS NOT NULL"),
          postgresql_where=text("run_id IS NOT NULL")),
    Index("ix_artifacts_pending", "created_at", sqlite_where=text("state = 'PENDING'"),
          postgresql_where=text("state = 'PENDING'")),
    Index("ix_artifacts_expiry", "expires_at", sqlite_where=text("expires_at IS NOT NULL"),
          postgresql_where=text("expires_at IS NOT NULL")),
    sqlite_autoincrement=True,
)  # fmt: skip

# What programs call a version before they know its id. Several can mean one: who logs the same
# content again gets the version that is there.
artifact_clients = Table(
    "artifact_clients",
    metadata,
    Column("client_id", String(256), primary_key=True),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), primary_key=True),
    at("created_at"),
    Index("ix_artifact_clients_artifact", "artifact_id"),
)

manifests = Table(
    "manifests",
    metadata,
    ident(),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(256), nullable=False),
    words("md5"),  # hex; empty until it is known
    Column("base_artifact_id", BigInteger),
    at("created_at"),
    CheckConstraint("kind IN ('FULL', 'INCREMENTAL', 'PATCH')", name="kind"),
    Index("ix_manifests_artifact", "artifact_id", "id"),
)

# What a committed version holds. An entry has its bytes in `objects` (md5) or elsewhere (ref).
entries = Table(
    "entries",
    metadata,
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), primary_key=True),
    Column("path", String(1024), primary_key=True),
    words("digest", None),  # as the manifest writes it; of a reference it may be an address
    Column("md5", String(32)),  # hex, of what lies in our store
    Column("size", BigInteger),
    Column("ref", Text),
    Column("extra", Text),
    Column("birth_artifact_id", BigInteger),
    Index("ix_entries_md5", "md5"),
)

members = Table(
    "members",
    metadata,
    ident(),
    ref("collection_id", "collections"),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), nullable=False),
    Column("version", Integer, nullable=False),
    at("created_at"),
    UniqueConstraint("collection_id", "artifact_id"),
    UniqueConstraint("collection_id", "version"),
    Index("ix_members_artifact", "artifact_id"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("collection_id", String(64), ForeignKey("collections.id"), primary_key=True),
    Column("alias", String(128), primary_key=True),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), nullable=False),
    at("created_at"),
    Index("ix_aliases_artifact", "artifact_id"),
)

# What runs took as their input.
uses = Table(
    "uses",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("artifact_id", BigInteger, ForeignKey("artifacts.id"), primary_key=True),
    Column("used_as", Text),
    at("at"),
    Index("ix_uses_artifact", "artifact_id", "run_id"),
)
