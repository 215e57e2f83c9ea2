"""Alembic's revisions. Each comes with a test of its way up, its way down, and real rows."""
