"""What has to be done to get from what a server has to what a document asks for. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runyard.domain.access import ADMIN, BUILT_IN
from runyard.domain.errors import Conflict, Violation
from runyard.sdk.platform.kinds import KINDS
from runyard.sdk.platform.kinds.base import Kind
from runyard.sdk.platform.things import (
    Change,
    Found,
    Key,
    Plan,
    Platform,
    State,
    Step,
    Thing,
    Verb,
)

_LAST: Final = 1000  # after which nothing may be possible any more


def plan(
    wanted: Platform, has: State, *, prune: bool = False, rewrite_secrets: bool = False
) -> Plan:
    """Return the steps from `has` to `wanted`, none if they agree.

    With `prune`, what a section of the document does not name is deleted. A secret's value
    cannot be compared: `rewrite_secrets` writes those anew that the document has a source for.

    Raises:
        Conflict: what cannot be done, all of it at once.
    """
    wrong = list(_impossible(wanted, has))
    if wrong:
        raise Conflict(
            "the document does not fit what the server has; nothing was changed", violations=wrong
        )
    steps, unchanged, missing = [], [], []
    for key, thing in wanted.things.items():
        found = has.things.get(key)
        if _must_be_written(thing, found):
            missing.append(key)
            continue
        changes = _changes(thing, found, rewrite_secrets)
        if found is None:
            steps.append(Step(Verb.CREATE, key, changes, thing))
        elif changes:
            steps.append(Step(Verb.UPDATE, key, changes, thing))
        else:
            unchanged.append(key)
    steps += _leaving(wanted, has)
    if prune:
        steps += _pruned(wanted, has)
    steps.sort(key=lambda step: _order(step, has.me))  # stable: else as in the document
    return Plan(tuple(steps), tuple(unchanged), tuple(missing))


def difference(was: Any, becomes: Any, path: str = "") -> Iterator[Change]:
    """Yield what differs between two values, as deep inside mappings and lists as it does."""
    if isinstance(was, Mapping) and isinstance(becomes, Mapping):
        for name in [*was, *(n for n in becomes if n not in was)]:
            below = f"{path}.{name}" if path else str(name)
            if name not in becomes:
                yield Change("-", below, was=was[name])
            elif name not in was:
                yield Change("+", below, becomes=becomes[name])
            else:
                yield from difference(was[name], becomes[name], below)
    elif _is_list(was) and _is_list(becomes) and len(was) == len(becomes):
        for n, (one, other) in enumerate(zip(was, becomes, strict=True)):
            yield from difference(one, other, f"{path}.{n}")
    elif not same(was, becomes):
        yield Change("~", path, was=was, becomes=becomes)


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, and neither is true."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _changes(thing: Thing, found: Found | None, rewrite: bool) -> tuple[Change, ...]:
    kind = KINDS[thing.key.kind]
    plain = {n: v for n, v in thing.fields.items() if n not in kind.sealed}
    if found is None:
        shortest = kind.written(thing.fields)
        changes = (
            [Change("+", n, becomes=shortest[n]) for n in plain if n in shortest]
            if isinstance(shortest, Mapping)
            else [Change("+", n, becomes=v) for n, v in plain.items()]
        )
    else:
        changes = list(difference(kind.compared(found.fields, thing.fields), plain))
    anew = rewrite or (kind.whole and bool(changes))
    for name in sorted(kind.sealed):
        changes += _sealed(kind, name, thing, found, anew)
    return tuple(changes)


def _sealed(kind: Kind, name: str, thing: Thing, found: Found | None, anew: bool) -> list[Change]:
    """Return the change of a field that can be written and never read."""
    source, there = thing.fields.get(name), found and found.fields.get(name)
    if source is None:
        return [Change("-", name, was="(not shown)")] if there else []
    if "exists" in source:
        return []
    if not there:
        return [Change("+", name, becomes=source_words(source))]
    if anew or kind.moved(name, source, there):
        return [Change("~", name, becomes=source_words(source))]
    return []


def source_words(source: Mapping[str, Any]) -> str:
    """Say where the value of a secret comes from, never what it is."""
    if "from_env" in source:
        return f"(from the environment variable {source['from_env']})"
    if "from_file" in source:
        return f"(from the file {source['from_file']})"
    return "(as written in the document)"


def _must_be_written(thing: Thing, found: Found | None) -> bool:
    """Whether a secret that the document takes as given is not there."""
    return any(
        "exists" in (thing.fields.get(name) or {})
        and not (found is not None and found.fields.get(name))
        for name in KINDS[thing.key.kind].sealed
    )


def _leaving(wanted: Platform, has: State) -> Iterator[Step]:
    """Yield the caller's way out of teams that they make for others, once these have an admin.

    Who makes a team becomes its admin, whether the document names them or not. Only for an
    admin of the server, who can still come back, is that put right at once.
    """
    for key in wanted.things:
        if key.kind != "team" or key in has.things or not has.is_admin:
            continue
        members = {k.name: t for k, t in wanted.things.items() if k[:2] == ("member", key.name)}
        if has.me not in members and any(t.fields["role"] == ADMIN for t in members.values()):
            yield Step(
                Verb.DELETE, Key("member", key.name, has.me), leaves=True,
                why="made the team, and is not among its members",
            )  # fmt: skip


def _pruned(wanted: Platform, has: State) -> Iterator[Step]:
    for key, found in has.things.items():
        named = key in wanted.things or (key.kind, key.owner) not in wanted.managed
        if not named and not found.kept and KINDS[key.kind].pruned:
            yield Step(
                Verb.DELETE, key, why="not in the document", waiting=found.waiting, prunes=True
            )


def _order(step: Step, me: str) -> tuple[int, ...]:
    kind = KINDS[step.key.kind]
    if step.leaves:
        return (kind.rank, _LAST)
    own = step.key.kind in ("member", "user") and step.key.name == me
    if own and (step.key.kind == "user" or kind.order(step.thing)):
        return (_LAST,)  # whoever gives up being admin can do nothing more with it
    if step.verb is Verb.DELETE:
        return (_LAST - 1, -kind.rank)
    return (kind.rank, kind.order(step.thing))


def _impossible(wanted: Platform, has: State) -> Iterator[Violation]:
    for section, why in has.hidden.items():
        if section in wanted.managed:
            yield Violation(f"{section[1]}: {KINDS[section[0]].section}", f"cannot be read: {why}")
    for key, thing in wanted.things.items():
        found = has.things.get(key)
        for name in sorted(KINDS[key.kind].fixed & set(thing.fields)) if found else ():
            assert found is not None
            if thing.fields[name] != found.fields[name]:
                yield Violation(
                    f"{thing.where}: {key}",
                    f"{name} is {_word(found.fields[name])} and cannot be changed to "
                    f"{_word(thing.fields[name])}",
                )
        yield from _roles(key, thing, wanted, has)


def _roles(key: Key, thing: Thing, wanted: Platform, has: State) -> Iterator[Violation]:
    """Yield a role that is neither built in nor the team's own."""
    role = thing.fields.get("role")
    if role is None or role in BUILT_IN:
        return
    known = [k.name for k in (*wanted.things, *has.things) if k[:2] == ("role", key.owner)]
    if role in known or ("role", key.owner) in has.hidden:
        return
    near = difflib.get_close_matches(role, [*BUILT_IN, *known], n=1)
    told = f"; did you mean {near[0]}?" if near else f"; built in: {', '.join(BUILT_IN)}"
    yield Violation(f"{thing.where}: {key}", f"there is no role {role!r}{told}")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
