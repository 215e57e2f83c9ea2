"""Rows of what programs tell of their runs."""
