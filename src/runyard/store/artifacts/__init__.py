"""Statements about artifacts: collections, versions, manifests and their content."""
