"""Operating queues and their items, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.client.parts import Calls, path
from runyard.wire import rest
from runyard.wire import rest_operating as wire


class OperatingApi(Calls):
    """What operators, and authors of their own items, do to what waits."""

    def pause_queue(self, entity: str, name: str, reason: str = "") -> rest.QueueOut:
        return self._mode(entity, name, "pause", reason)

    def drain_queue(self, entity: str, name: str, reason: str = "") -> rest.QueueOut:
        return self._mode(entity, name, "drain", reason)

    def resume_queue(self, entity: str, name: str) -> rest.QueueOut:
        return self._mode(entity, name, "resume", "")

    def _mode(self, entity: str, name: str, verb: str, reason: str) -> rest.QueueOut:
        return self._post(path("queues", entity, name, verb), rest.QueueOut, {"reason": reason})

    def explain_queue(self, entity: str, name: str) -> wire.ExplainedOut:
        return self._get(path("queues", entity, name, "explain"), wire.ExplainedOut)

    def hold_item(self, item_id: str, reason: str = "") -> rest.ItemOut:
        return self._post(path("items", item_id, "hold"), rest.ItemOut, {"reason": reason})

    def release_item(self, item_id: str) -> rest.ItemOut:
        return self._post(path("items", item_id, "release"), rest.ItemOut, None)

    def reprioritise_item(self, item_id: str, priority: str | int) -> rest.ItemOut:
        body = {"priority": priority}
        return self._post(path("items", item_id, "priority"), rest.ItemOut, body)

    def move_item(self, item_id: str, queue: str) -> rest.ItemOut:
        return self._post(path("items", item_id, "move"), rest.ItemOut, {"queue": queue})

    def retry_item(
        self, item_id: str, changes: Mapping[str, Any] | None = None
    ) -> rest.SubmittedItem:
        """Submit an item that has ended once more; `changes` is laid over its launch spec."""
        body = {"changes": dict(changes or {})}
        return self._post(path("items", item_id, "retry"), rest.SubmittedItem, body)

    def select_items(self, entity: str, queue: str, select: wire.SelectIn) -> wire.SelectedOut:
        """Do something to items of a queue, some hundred at a time; go on after `next`."""
        return self._post(
            path("queues", entity, queue, "select"), wire.SelectedOut, select.model_dump()
        )
