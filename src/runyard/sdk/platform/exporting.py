"""What a server has, as a document that `apply` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import yaml

from runyard.client.api import Api
from runyard.domain.errors import NotFound
from runyard.sdk.platform.applying import owners, read_section
from runyard.sdk.platform.kinds import KINDS, below
from runyard.sdk.platform.things import Found, Key

HEAD = "# What can be applied again, here or on another server: runyard apply -f FILE\n"


def _not_told(words: str) -> None: ...


def export(
    api: Api,
    entities: Sequence[str] = (),
    *,
    jobs: bool = False,
    told: Callable[[str], object] = _not_told,
) -> dict[str, Any]:
    """Return the document of these teams and users; without names, of all that the caller sees.

    The users that are members are named as well where the caller may list users, so that the
    document can be applied to an empty server. Jobs are many and come of launching, mostly: they
    are named with `jobs`. `told` hears what was left out and why.

    Raises:
        NotFound: no such team or user that the caller may see.
    """
    me = api.me()
    known = owners(api, me)
    chosen = _chosen(known, entities)
    parts: dict[str, dict[str, Any]] = {"user": {}, "team": {}}
    for owner in chosen:
        parts[owner.kind][owner.name] = _owner(api, owner, known[owner], jobs, told)
    members = {name for team in parts["team"].values() for name in team.get("members", {})}
    for name in sorted(members - set(parts["user"])):
        if me.is_admin and (user := known.get(Key("user", "", name))):
            parts["user"][name] = KINDS["user"].written(user.fields)
    if not me.is_admin and members:
        told("the members' own users left out: only an admin of the server may list them")
    document: dict[str, Any] = {"apiVersion": "runyard/v1"}
    for kind, section in (("user", "users"), ("team", "teams")):
        if parts[kind]:
            document[section] = dict(sorted(parts[kind].items()))
    return document


def to_yaml(document: dict[str, Any]) -> str:
    """Return the text of a document."""
    return HEAD + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def _chosen(known: Iterable[Key], entities: Sequence[str]) -> list[Key]:
    if not entities:
        return list(known)
    found = []
    for name in entities:
        keys = [key for key in known if key.name == name]
        if not keys:
            raise NotFound(f"no team or user {name!r} that you may see", hint="runyard team list")
        found += keys
    return found


def _owner(
    api: Api, owner: Key, found: Found, jobs: bool, told: Callable[[str], object]
) -> dict[str, Any]:
    """Return one team or user. What a team has none of is said; of a user, it is left out."""
    part = dict(KINDS[owner.kind].written(found.fields))
    for kind in below(owner.kind):
        if kind.name == "job" and not jobs:
            continue
        things, why = read_section(api, (kind.name, owner.name))
        if why:
            told(f"{owner.name}: {kind.section} left out: {why}")
            continue
        for why, n in Counter(one.kept for one in things.values() if one.kept).items():
            told(f"{owner.name}: {n} of {kind.section} left out: {why}")
        ours = {key.name: kind.written(one.fields) for key, one in things.items() if not one.kept}
        if ours or owner.kind == "team":
            part[kind.section] = dict(sorted(ours.items()))
    return part


_BREAKS: Final = frozenset("\r\x85\u2028\u2029")


class _Dumper(yaml.SafeDumper):
    """Writes lists below their names indented, and the same value twice rather than an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Unquoted, these would be read as other breaks of lines than they are.
        style = '"' if set(text) & _BREAKS else "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


_Dumper.add_representer(str, _Dumper.represent_text)
