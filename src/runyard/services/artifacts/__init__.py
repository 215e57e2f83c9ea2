"""Artifacts: versions of collections, made by runs and people, and used by runs."""
