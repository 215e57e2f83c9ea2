"""The server of the HTTP tests."""

from tests.http.conftest import clock, live, settings, world

__all__ = ["clock", "live", "settings", "world"]
