"""Who there is, what they may open, and what they did."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
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

entities = Table(
    "entities",
    metadata,
    ident(),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    at("created_at"),
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
    at("disabled_at", null=True),
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
    ref("user_id", "users"),
    at("created_at"),
    at("last_login_at", null=True),
    # A group of the provider's has made the person admin of the server, and can undo it.
    Column("made_admin", Boolean, nullable=False, server_default=text("false")),
    Index("ix_identities_user", "user_id"),
)

# What a login ended with, until the program that began it fetches the key: once, within minutes.
login_codes = Table(
    "login_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    ref("user_id", "users"),
    Column("challenge", String(64), nullable=False),  # PKCE, S256: of the program's verifier
    at("expires_at"),
    Index("ix_login_codes_expires", "expires_at"),
)

# Random keys that all servers of the database share, for what is good for minutes only.
server_keys = Table(
    "server_keys",
    metadata,
    Column("name", String(64), primary_key=True),
    words("value", None),
    at("created_at"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("team_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id"), primary_key=True),
    Column("role", String(64), nullable=False),  # built in, or of `roles`
    words("granted_by"),  # "oidc" where a group of the provider's decides
    Index("ix_memberships_user", "user_id"),
)

roles = Table(
    "roles",
    metadata,
    Column("team_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    words("permissions", "[]"),
    words("description"),
    at("created_at"),
)

invitations = Table(
    "invitations",
    metadata,
    ident(),
    Column("hash", String(64), nullable=False, unique=True),
    Column("team_id", String(64), ForeignKey("entities.id"), nullable=True),
    Column("role", String(64)),
    words("email"),
    words("created_by"),
    at("created_at"),
    at("expires_at"),
    at("used_at", null=True),
    Column("used_by", String(64)),
    Index("ix_invitations_team", "team_id", "id"),
)

credentials = Table(
    "credentials",
    metadata,
    ident(),
    Column("hash", String(64), nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    ref("user_id", "users"),
    Column("agent_id", String(64)),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("run_id", String(64)),
    words("name"),
    words("prefix"),
    at("created_at"),
    at("expires_at", null=True),
    at("last_used_at", null=True),
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

secrets = Table(
    "secrets",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("key_id", String(64), nullable=False),  # which of the server's keys sealed it
    Column("sealed", LargeBinary, nullable=False),
    Column("for_jobs", Boolean, nullable=False, server_default=text("false")),
    words("description"),
    words("created_by"),
    at("created_at"),
    at("updated_at"),
    UniqueConstraint("entity_id", "name"),
    Index("ix_secrets_key", "key_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    at("at"),
    words("actor"),
    Column("actor_kind", String(8), nullable=False),
    Column("entity_id", String(64)),  # NULL: of the server as a whole
    Column("action", String(64), nullable=False),
    words("thing"),
    Column("before", Text),
    Column("after", Text),
    Index("ix_audit_entity", "entity_id", "seq"),
    sqlite_autoincrement=True,
)
