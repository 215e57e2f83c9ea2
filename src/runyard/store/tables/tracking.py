"""What programs tell of their runs through the tracking protocol, and the files they leave."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from runyard.store.tables.columns import SERIAL, at, ident, metadata, ref, words

# One row for each run whose program has spoken; apart from `runs`, since it is written with each
# chunk. `live`: its program is expected to be heard of. Lines are counted from 0. `console_in_log`
# is how many bytes of the run's log come from the program's own word on its console.
streams = Table(
    "streams",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("history_lines", Integer, nullable=False, server_default="0"),
    Column("events_lines", Integer, nullable=False, server_default="0"),
    Column("console_lines", Integer, nullable=False, server_default="0"),
    Column("history_bytes", BigInteger, nullable=False, server_default="0"),  # events, too
    Column("console_bytes", BigInteger, nullable=False, server_default="0"),
    Column("console_in_log", BigInteger, nullable=False, server_default="0"),
    Column("last_step", BigInteger),
    words("summary", "{}"),  # JSON with NaN and Infinity, as it came
    words("system", "{}"),  # the newest system metrics
    words("keys", "{}"),  # what is known of each key of the history
    Column("live", Boolean, nullable=False, server_default=text("false")),
    Column("preempting", Boolean, nullable=False, server_default=text("false")),
    at("heartbeat_at", null=True),
    Index("ix_streams_live", "heartbeat_at", sqlite_where=text("live"),
          postgresql_where=text("live")),
)  # fmt: skip

# Rows of the history and of system metrics as they came: lines of JSON, append-only.
line_chunks = Table(
    "line_chunks",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("kind", String(8), primary_key=True),  # history, events
    Column("start", Integer, primary_key=True, autoincrement=False),  # number of the first line
    Column("n", Integer, nullable=False),
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("data", LargeBinary, nullable=False),
    Index("ix_line_chunks_steps", "run_id", "kind", "max_step"),
)

# Lines of the console by number. A program may write a line anew: of two, the later chunk counts.
console_chunks = Table(
    "console_chunks",
    metadata,
    Column("seq", SERIAL, primary_key=True, autoincrement=True),
    ref("run_id", "runs"),
    Column("start", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("ix_console_chunks_run", "run_id", "start"),
    sqlite_autoincrement=True,
)

# `size` is NULL until the file's bytes are known to be there.
run_files = Table(
    "run_files",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id"), primary_key=True),
    Column("name", String(1024), primary_key=True),
    Column("size", BigInteger),
    Column("md5", String(32)),
    words("mimetype"),
    at("updated_at"),
)

run_alerts = Table(
    "run_alerts",
    metadata,
    ident(),
    ref("run_id", "runs"),
    words("title"),
    words("body"),
    Column("level", String(8), nullable=False),
    at("at"),
    Index("ix_run_alerts_run", "run_id", "id"),
)

custom_charts = Table(
    "custom_charts",
    metadata,
    Column("entity_id", String(64), ForeignKey("entities.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    words("display_name"),
    words("kind"),
    words("access"),
    words("spec", "{}"),
    words("created_by"),
    at("created_at"),
)

# A queue's configuration on its way: the tracking protocol makes it first, then its queue.
resource_drafts = Table(
    "resource_drafts",
    metadata,
    ident(),
    ref("entity_id", "entities"),
    Column("resource", String(32), nullable=False),
    words("config", "{}"),
    words("variables", "{}"),
    Column("created_by", Text, nullable=False),
    at("created_at"),
    Index("ix_resource_drafts_age", "created_at"),
)
