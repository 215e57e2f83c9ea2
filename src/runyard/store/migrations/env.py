"""Alembic's entry point: the connection comes from `runyard.store.migrate`."""

from alembic import context

from runyard.store.tables import metadata

connection = context.config.attributes["connection"]
# SQLite cannot alter a table in place; batch mode copies it.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
