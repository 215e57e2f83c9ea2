"""Rows and SQL: the only code that talks to a database."""
