"""launch of the tracking client's protocol."""

from __future__ import annotations

from runyard.server.graphql.context import Area

AREA = Area({})
