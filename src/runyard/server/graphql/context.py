"""What resolvers are given, and what an area of the protocol hands to the route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from graphql import GraphQLResolveInfo

from runyard.domain.access import Actor
from runyard.domain.errors import NotFound
from runyard.server.edge import Edge
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage
from runyard.services.call import Call

T = TypeVar("T")
Info: TypeAlias = GraphQLResolveInfo[Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """The server's parts that the protocol needs beside the database."""

    edge: Edge
    storage: Storage
    settings: ServerSettings


@dataclass(slots=True)
class Context:
    """
    One request, inside its transaction. `base_url` is this server as the client reaches it.

    `prepared` holds what a field's `Prepare` returned, by the field's alias or name. What is
    added to `later` runs after the commit, in a thread, without a transaction; the answer waits.
    No resolver begins after `until`, a time of the monotonic clock.
    """

    call: Call
    parts: Parts
    base_url: str
    headers: Mapping[str, str]
    prepared: Mapping[str, Any] = field(default_factory=dict)
    until: float = float("inf")
    later: list[Callable[[], None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Before:
    """What a field can do before its transaction: ask the stores, hash a file."""

    parts: Parts
    actor: Actor
    base_url: str
    args: Mapping[str, Any]


# In the style of graphql-core: (source, info, **arguments) -> what the field is.
Resolver: TypeAlias = Callable[..., Any]
Prepare: TypeAlias = Callable[[Before], Awaitable[Any]]


@dataclass(frozen=True)
class Area:
    """Resolvers by type and field, and what fields of Query and Mutation do beforehand."""

    resolvers: Mapping[str, Mapping[str, Resolver]]
    prepares: Mapping[str, Prepare] = field(default_factory=dict)


def context_of(info: Info) -> Context:
    context: object = info.context
    assert isinstance(context, Context)
    return context


def prepared_for(info: Info) -> Any:
    """Return what this field's `Prepare` returned."""
    return context_of(info).prepared[str(info.path.key)]


def or_none(look: Callable[[], T]) -> T | None:
    """Return what `look` finds. What is not there, or not to be seen, is null in this protocol."""
    try:
        return look()
    except NotFound:
        return None
