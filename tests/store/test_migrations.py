from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, select

from runyard.services import sweeping
from runyard.store import migrate
from runyard.store.tables import attempts, metadata
from runyard.wire import agent as wire
from tests.services.conftest import Yard

_ATTEMPTS = select(attempts.c.claimed_at, attempts.c.started_at, attempts.c.ended_at).order_by(
    attempts.c.item_id
)


def test_the_migrations_build_what_the_tables_say(database):
    with database.raw_engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_checks_and_partial_indexes_are_there_too(database):
    """Alembic's comparison is blind to them."""
    from sqlalchemy import inspect

    found = inspect(database.raw_engine())
    for table in metadata.sorted_tables:
        wanted = {
            f"ck_{table.name}_{c.name}".replace(f"ck_{table.name}_ck_", "ck_")
            for c in table.constraints
            if isinstance(c, CheckConstraint)
        }
        assert {c["name"] for c in found.get_check_constraints(table.name)} == wanted
        partial = {
            i.name for i in table.indexes if i.dialect_options["sqlite"].get("where") is not None
        }
        dialect = database.raw_engine().dialect.name
        assert {
            i["name"]
            for i in found.get_indexes(table.name)
            if i.get("dialect_options", {}).get(f"{dialect}_where") is not None
        } == partial


def test_down_and_up_again_leaves_the_same_schema(database):
    migrate.downgrade(database, "base")
    assert migrate.revision(database) is None
    migrate.upgrade(database)
    migrate.check(database)


def test_upgrading_twice_changes_nothing(database):
    migrate.upgrade(database)
    migrate.check(database)


def test_attempts_of_an_older_version_get_their_start_and_end(database):
    with database.begin() as tx:
        yard = Yard(tx)
        who = yard.register()
        yard.submit("ran", "lost")
        held = yard.claimed(who)
        yard.later(seconds=5)
        running = wire.Observe(item_id=held.item_id, token=held.token, phase="running")
        yard.move(who, running)
        yard.later(seconds=60)
        final = wire.Observe(item_id=held.item_id, token=held.token, phase="exited", exit_code=0)
        yard.move(who, final)
        yard.claimed(who)
        yard.later(hours=1)
        assert sweeping.expire(yard.call()) == 1
        written = tx.all(_ATTEMPTS)
        assert None not in [row["ended_at"] for row in written]
        tx.connection.exec_driver_sql(
            "UPDATE attempts SET ended_at = NULL WHERE started_at IS NULL"  # as it was
        )
    migrate.downgrade(database, "0001")
    migrate.upgrade(database)
    with database.begin() as tx:
        assert tx.all(_ATTEMPTS) == written
