"""
Workloads of this agent's that belong to no item of its own: their claims ran out while no
process of this agent was there, so nobody waits for them and somebody may have started them anew.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import structlog

from runyard.domain.errors import RunyardError
from runyard.drivers.base import Driver

logger = structlog.get_logger(__name__)

GRACE: Final = timedelta(seconds=30)


async def clear_leftovers(driver: Driver, keep: Collection[str]) -> bool:
    """End and remove what `driver` runs under keys not in `keep`; return whether none is left.

    What cannot be asked now is left for the agent's next start.
    """
    try:
        for handle in await driver.leftovers(keep):
            key = handle.data.get("key", "")
            logger.warning("ending a workload whose item is lost", resource=driver.name, key=key)
            await driver.stop(handle, grace=GRACE)
            await driver.discard(handle)
    except RunyardError as error:
        logger.warning("could not look for leftovers", resource=driver.name, why=error.message)
        return False
    return True
