"""The areas of the protocol, each a module with its resolvers."""

from __future__ import annotations

from typing import Final

from runyard.server.graphql.areas import (
    alerts,
    artifact_writing,
    artifacts,
    files,
    history,
    launch,
    people,
    projects,
    runs,
    sweeps,
)
from runyard.server.graphql.context import Area

AREAS: Final[tuple[Area, ...]] = (
    people.AREA,
    projects.AREA,
    alerts.AREA,
    runs.AREA,
    history.AREA,
    files.AREA,
    artifacts.AREA,
    artifact_writing.AREA,
    launch.AREA,
    sweeps.AREA,
)
