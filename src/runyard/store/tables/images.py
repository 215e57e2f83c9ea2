"""Images that agents have built, who needs them, and what their builds printed."""

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
)

from runyard.store.tables.columns import at, ident, metadata, ref, words

# `place` is empty for an image in a registry; else it names the engine that keeps it. While it is
# BUILDING, the attempt that builds it is named, and counts as long as it holds its item.
images = Table(
    "images",
    metadata,
    ident(),
    ref("entity_id", "entities"),  # whose agent built it, so whose it is to prune
    words("place"),
    Column("repository", String(255), nullable=False),
    Column("tag", String(128), nullable=False),
    words("digest"),
    Column("state", String(16), nullable=False),
    words("source"),  # key of the job's source, by which what waits for the image is known
    words("job"),
    words("about", "{}"),  # JSON: base image and digest, builder, platform
    Column("size", BigInteger, nullable=False, server_default="0"),
    Column("item_id", String(64), nullable=False),  # that built it last, or does
    Column("attempt", Integer, nullable=False),
    words("error"),
    at("created_at"),
    at("began_at"),
    at("ready_at", null=True),
    at("used_at"),
    UniqueConstraint("entity_id", "place", "repository", "tag"),
    CheckConstraint("state IN ('BUILDING', 'READY', 'FAILED', 'DOOMED')", name="state"),
    CheckConstraint("state NOT IN ('READY', 'DOOMED') OR ready_at IS NOT NULL", name="ready"),
    Index("ix_images_entity", "entity_id", "id"),
    Index("ix_images_state", "state", "entity_id", "id"),
)

# Which image an item's last attempt runs, or was told to.
image_uses = Table(
    "image_uses",
    metadata,
    Column("item_id", String(64), ForeignKey("items.id"), primary_key=True),
    ref("image_id", "images"),
    Index("ix_image_uses_image", "image_id"),
)

# What happened before a run had output of its own, as far as it is kept apart: builds.
stage_chunks = Table(
    "stage_chunks",
    metadata,
    Column("item_id", String(64), ForeignKey("items.id"), primary_key=True),
    Column("stage", String(16), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
