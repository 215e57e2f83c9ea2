"""Images that agents build, who needs them, and what their builds printed"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=64), nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.Column("repository", sa.String(length=255), nullable=False),
        sa.Column("tag", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("job", sa.Text(), server_default="", nullable=False),
        sa.Column("about", sa.Text(), server_default="{}", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('BUILDING', 'READY', 'FAILED', 'DOOMED')", name=op.f("ck_images_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('READY', 'DOOMED') OR ready_at IS NOT NULL", name=op.f("ck_images_ready")
        ),
        sa.ForeignKeyConstraint(["entity_id"], ["entities.id"], name=op.f("fk_images_entity_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint(
            "entity_id",
            "place",
            "repository",
            "tag",
            name=op.f("uq_images_entity_id_place_repository_tag"),
        ),
    )
    op.create_index("ix_images_entity", "images", ["entity_id", "id"])
    op.create_index("ix_images_state", "images", ["state", "entity_id", "id"])
    op.create_table(
        "image_uses",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_image_uses_item_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_image_uses_image_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_image_uses")),
    )
    op.create_index("ix_image_uses_image", "image_uses", ["image_id"])
    op.create_table(
        "stage_chunks",
        sa.Column("item_id", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["items.id"], name=op.f("fk_stage_chunks_item_id")),
        sa.PrimaryKeyConstraint("item_id", "stage", "start", name=op.f("pk_stage_chunks")),
    )


def downgrade() -> None:
    op.drop_table("stage_chunks")
    op.drop_table("image_uses")
    op.drop_table("images")
