"""Taking a waiting item to another queue, or to other settings, keeping its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runyard.domain.errors import Invalid
from runyard.domain.items import Item
from runyard.domain.queues import Queue
from runyard.domain.retries import RetryRule
from runyard.domain.specs import merge
from runyard.services import turns
from runyard.services.call import Call
from runyard.store import items, queues
from runyard.store.items import Pair
from runyard.store.values import to_text


def after_retry(call: Call, pair: Pair, item: Item, rule: RetryRule) -> None:
    """Give an item that was put back for a retry what its rule says: settings, another queue."""
    queue = None
    if rule.queue is not None:
        entity = pair.queue.partition("/")[0]
        queue = queues.get(call.tx, entity, rule.queue)
        if queue is None or queue.resource.value != pair.spec["resource"]:
            told = f"the retry rule names queue {rule.queue!r}, which is not there or does not fit"
            items.warn(call.tx, item.id, "agent", told, call.now)
            queue = None
    transfer(call, pair, item, queue, rule.config or {})


def transfer(
    call: Call, pair: Pair, item: Item, queue: Queue | None, config: Mapping[str, Any]
) -> None:
    """Write an item's new queue, if any, and lay `config` over its settings.

    Raises:
        Invalid: the queue runs another resource.
    """
    spec = pair.spec
    resource = spec["resource"]
    if queue is not None and queue.resource.value != resource:
        raise Invalid(f"the item is for {resource}; queue {queue.name} runs {queue.resource}")
    if config:
        spec["resource_args"][resource] = merge(spec["resource_args"][resource], config)
        # What an agent holds against the template it is told apart: an admin's rule said so.
        spec["laid_over"] = merge(spec.get("laid_over") or {}, config)
    if queue is not None:
        spec["queue"], spec["queue_entity"] = queue.name, queue.entity
    queue_id = item.queue_id if queue is None else queue.id
    items.relocate(call.tx, item, queue_id, to_text(spec))
    if queue is not None:
        turns.move(call, replace(pair, item=item), queue)
    call.tx.announce(f"queue:{spec['queue_entity']}/{spec['queue']}")
