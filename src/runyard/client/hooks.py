"""Hooks: the routes of notifications as methods."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.client.parts import Calls, path
from runyard.wire.rest_hooks import HookDetail, HookIn, HookOut, HookPatch, NewHookOut, TestOut


class HooksApi(Calls):
    """What a client can do with the hooks of a user or team."""

    def hooks(self, entity: str) -> Iterator[HookOut]:
        return self._pages(path("hooks", entity), HookOut)

    def hook(self, entity: str, name: str) -> HookDetail:
        return self._get(path("hooks", entity, name), HookDetail)

    def create_hook(self, entity: str, hook: HookIn) -> NewHookOut:
        return self._post(path("hooks", entity), NewHookOut, hook.model_dump())

    def edit_hook(self, entity: str, name: str, change: HookPatch) -> HookOut:
        """Only the fields that were set in `change` are changed."""
        answer = self.transport.call(
            "PATCH", path("hooks", entity, name), body=change.model_dump(exclude_unset=True)
        )
        return self._read(HookOut, answer)

    def delete_hook(self, entity: str, name: str) -> None:
        self.transport.call("DELETE", path("hooks", entity, name))

    def test_hook(self, entity: str, name: str) -> TestOut:
        """Send a test now, and return what came back."""
        return self._post(path("hooks", entity, name, "test"), TestOut, None)
