"""Hooks: who is told of what. A webhook's address is a secret: to know it is to write there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from runyard.client.api import Api
from runyard.domain.access import Action
from runyard.domain.errors import Forbidden, Invalid, Violation
from runyard.domain.hooks import WAIT, check_addresses, check_events
from runyard.domain.targets import parse
from runyard.sdk.platform.kinds.base import Kind, Wish, without
from runyard.sdk.platform.things import Fields, Found, Key
from runyard.wire.rest_hooks import HookIn, HookOut, HookPatch

ANY_PORT: Final = range(1, 65_536)  # which are open is for the server to say
_DEFAULTS: Final[Mapping[str, Any]] = {
    "url": None, "emails": [], "queue": None, "wait_s": int(WAIT.total_seconds()), "enabled": True,
}  # fmt: skip


class Hook(Kind):
    """A hook of a team or user. People's own hooks are no part of a platform."""

    name, section, rank = "hook", "hooks", 7
    sealed = frozenset({"url"})
    missing = "say in the document where its url comes from: from_env or from_file"

    def check(self, fields: Fields) -> Iterable[Violation]:
        try:
            check_events(fields["events"])
        except Invalid as error:
            yield from error.violations or [Violation("events", error.message)]
        url, emails = fields["url"], fields["emails"]
        if (url is None) == (not emails):
            yield Violation("", "a hook has either a url or emails")
        try:
            if emails:
                check_addresses(emails)
        except Invalid as error:
            yield from error.violations or [Violation("emails", error.message)]
        try:
            if url and "value" in url:
                parse(url["value"], ANY_PORT)
        except Invalid as error:
            yield Violation("url", error.message)

    def wanted(self, part: Any) -> dict[str, Any]:
        return {
            "url": part.url and part.url.source(),
            "emails": list(part.emails),
            "events": sorted(set(part.events)),
            "queue": part.queue,
            "wait_s": part.wait_s,
            "enabled": part.enabled,
        }

    def written(self, fields: Fields) -> Any:
        url = fields["url"]
        said = {**fields, "url": url and {n: v for n, v in url.items() if n != "shown"}}
        return without(said, _DEFAULTS)

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        me = api.me()
        roles = {one.team: one.permissions for one in me.teams}
        may = me.is_admin or owner == me.name
        if not may and Action.MANAGE_HOOKS.permission not in roles.get(owner, ()):
            # The server lists people their own hooks; that is not all there is.
            raise Forbidden(f"it takes the permission {Action.MANAGE_HOOKS.permission}")
        for hook in api.hooks(owner):
            yield hook.name, Found(_fields(hook), kept="they are people's own" if hook.mine else "")

    def moved(self, name: str, source: Mapping[str, Any], there: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Whether an address that is written out leads to another host."""
        return "value" in source and parse(source["value"], ANY_PORT).shown != there.get("shown")

    def create(self, api: Api, key: Key, wish: Wish) -> str | None:
        fields = dict(wish.fields)
        enabled = fields.pop("enabled")
        said = {**fields, "url": wish.values.get("url"), "emails": fields["emails"] or None}
        made = api.create_hook(key.owner, HookIn(name=key.name, **said))
        if not enabled:
            api.edit_hook(key.owner, key.name, HookPatch(enabled=False))
        return made.secret

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        said = {**wish.fields, "url": wish.values.get("url")}
        change = HookPatch(**{name: said[name] for name in wish.changed})
        api.edit_hook(key.owner, key.name, change)

    def delete(self, api: Api, key: Key) -> None:
        api.delete_hook(key.owner, key.name)


def _fields(hook: HookOut) -> dict[str, Any]:
    return {
        "url": {"exists": True, "shown": hook.url} if hook.url else None,
        "emails": list(hook.emails),
        "events": sorted(hook.events),
        "queue": hook.queue,
        "wait_s": hook.wait_s,
        "enabled": hook.enabled,
    }
