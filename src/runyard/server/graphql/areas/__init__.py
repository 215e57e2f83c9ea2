"""The areas of the protocol, each a module with its resolvers."""

from __future__ import annotations

from typing import Final

from runyard.server.graphql.areas import (
    alerts,
    artifact_collections,
    artifact_writing,
    artifacts,
    collection_writing,
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
    artifact_collections.AREA,
    artifact_writing.AREA,
    collection_writing.AREA,
    launch.AREA,
    sweeps.AREA,
)
