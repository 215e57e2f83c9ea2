"""Executing a document: prepare what its fields need, one transaction, then what is left to do."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
import structlog
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    execute_sync,
)
from graphql.execution import VariableValues, get_argument_values, get_variable_values

from runyard.domain.access import Actor
from runyard.domain.errors import RunyardError, TooMuch
from runyard.server.graphql.context import (
    Area,
    Before,
    Context,
    Info,
    Parts,
    Prepare,
    Resolver,
    context_of,
)
from runyard.server.graphql.documents import Document, Documents, Refused, Root
from runyard.services.call import Call

log = structlog.get_logger("runyard.graphql")

_INTERNAL: Final = 422  # the client asks again for days after a 500
_LONGEST_S: Final = 20.0  # of one try of a transaction: lists within lists can ask for a lot
_MOST_ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: the document, and the HTTP status, by which clients decide to try again."""

    status: int
    body: Mapping[str, Any]


class Executor:
    """The schema with the resolvers of all areas."""

    def __init__(self, schema: GraphQLSchema, areas: Sequence[Area], parts: Parts) -> None:
        self._schema, self._parts = schema, parts
        self._documents = Documents(schema)
        self._prepares: dict[str, Prepare] = {}
        for area in areas:
            _bind(schema, area)
            self._prepares |= area.prepares
        for kind in schema.type_map.values():
            if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
                kind.resolve_type = _type_of

    async def execute(
        self,
        actor: Actor,
        text: str,
        variables: Mapping[str, Any],
        operation: str | None,
        *,
        base_url: str,
        headers: Mapping[str, str],
    ) -> Answer:
        """Answer one request. Nothing is raised: a 500 would be asked again for days."""
        try:
            document = self._documents.get(text, operation)
            prepared = await self._prepare(document, actor, variables, base_url)
            result = await self._transact(document, actor, variables, base_url, headers, prepared)
        except Refused as refused:
            return _answer(400, None, refused.errors)
        except _Undone as undone:
            return _answer(200, None, undone.errors)
        except Exception as error:  # of users, or of ours: `_answer` tells them apart
            return _answer(200, None, [GraphQLError(str(error), original_error=error)])
        return _answer(200, result.data, result.errors or [])

    async def _transact(
        self,
        document: Document,
        actor: Actor,
        variables: Mapping[str, Any],
        base_url: str,
        headers: Mapping[str, str],
        prepared: Mapping[str, Any],
    ) -> ExecutionResult:
        contexts: list[Context] = []  # of each try

        def service(call: Call) -> ExecutionResult:
            until = time.monotonic() + _LONGEST_S
            context = Context(call, self._parts, base_url, headers, prepared, until)
            contexts.append(context)
            return self._run(document, context, variables)

        run = self._parts.edge.write if document.writes else self._parts.edge.read
        result = await run(actor, service)
        for todo in contexts[-1].later:
            await anyio.to_thread.run_sync(todo)
        return result

    def _run(
        self, document: Document, context: Context, variables: Mapping[str, Any]
    ) -> ExecutionResult:
        name = document.operation.name
        result = execute_sync(
            self._schema,
            document.ast,
            context_value=context,
            variable_values=dict(variables),
            operation_name=name.value if name else None,
            field_resolver=_plain,
            hide_suggestions=True,
        )
        if unexpected := _unexpected(result.errors or []):
            # For the database to look at: it tries again after a race, and knows what is only
            # a value that it cannot hold.
            raise unexpected
        if result.errors and document.writes:
            raise _Undone(result.errors)
        return result

    async def _prepare(
        self, document: Document, actor: Actor, variables: Mapping[str, Any], base_url: str
    ) -> dict[str, Any]:
        wanted = [root for root in document.roots if root.name in self._prepares]
        if not wanted:
            return {}
        definitions = document.operation.variable_definitions or ()
        values = get_variable_values(
            self._schema, definitions, dict(variables), hide_suggestions=True
        )
        if isinstance(values, list):
            raise Refused(values)
        prepared = {}
        for root in wanted:
            if root.is_asked(values):
                args = self._arguments(document, root, values)
                before = Before(self._parts, actor, base_url, args)
                prepared[root.key] = await self._prepares[root.name](before)
        return prepared

    def _arguments(
        self, document: Document, root: Root, values: VariableValues
    ) -> Mapping[str, Any]:
        top = self._schema.get_root_type(document.operation.operation)
        assert top is not None
        try:
            return get_argument_values(top.fields[root.name], root.field, values)
        except GraphQLError as error:
            raise Refused([error]) from None


class _Undone(Exception):
    """A mutation had an error: its transaction is rolled back, and nothing of it is told."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("undone")
        self.errors = errors


def _bind(schema: GraphQLSchema, area: Area) -> None:
    for type_name, fields in area.resolvers.items():
        kind = schema.type_map[type_name]
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType), type_name
        for name, resolver in fields.items():
            resolve = kind.fields[name].resolve = _in_time(resolver)
            if isinstance(kind, GraphQLInterfaceType):  # for all that implement it
                for each in schema.get_possible_types(kind):
                    each.fields[name].resolve = each.fields[name].resolve or resolve


def _in_time(resolver: Resolver) -> Resolver:
    @functools.wraps(resolver)
    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        if time.monotonic() > context_of(info).until:
            raise TooMuch(
                f"this asks for more than can be answered in {_LONGEST_S:.0f} seconds",
                hint="ask for less at once: smaller pages, fewer fields",
            )
        return resolver(source, info, **arguments)

    return resolve


def _plain(source: Any, info: Info, **_: Any) -> Any:
    """Resolve a field that has no resolver: a key of a mapping; one that is missing is null."""
    value = source.get(info.field_name) if isinstance(source, Mapping) else None
    return value() if callable(value) else value


def _type_of(source: Any, *_: Any) -> str:
    """Return which type of an interface or union it is: sources say so themselves."""
    return str(source["__typename"])


def _unexpected(errors: Sequence[GraphQLError]) -> Exception | None:
    """Return what a resolver raised by mistake, unless a refusal came first, whose consequence it
    may be: a database takes no more statements after one."""
    for error in errors:
        cause = error.original_error
        if isinstance(cause, RunyardError):
            return None
        if cause is not None and not isinstance(cause, GraphQLError):
            return cause
    return None


def _answer(status: int, data: Any, errors: Sequence[GraphQLError]) -> Answer:
    if not errors:
        return Answer(status, {"data": data})
    told = []
    for error in errors[:_MOST_ERRORS]:
        cause = error.original_error
        shown: dict[str, Any] = {"message": error.message}
        if error.path:
            shown["path"] = error.path
        if isinstance(cause, RunyardError):
            status = cause.status if status == 200 else status
            shown["message"] = _sentence(cause)
            shown["extensions"] = {"code": cause.code, "hint": cause.hint}
        elif cause is not None and not isinstance(cause, GraphQLError):
            log.error("a resolver failed unexpectedly", path=error.path, exc_info=cause)
            status = _INTERNAL if status == 200 else status
            shown["message"] = "the server made a mistake; it is in its log"
            shown["extensions"] = {"code": "internal"}
        elif status == 200 and data is None:
            status = 400  # a variable of a wrong type, say
        told.append(shown)
    return Answer(status, {"data": data, "errors": told})


def _sentence(error: RunyardError) -> str:
    """Return all that the user has to know: the client prints the message and nothing else."""
    parts = [error.message]
    if len(error.violations) > 1:
        parts += map(str, error.violations)
    elif error.violations and str(error.violations[0]) not in error.message:
        parts.append(str(error.violations[0]))
    told = "; ".join(parts)
    return f"{told} ({error.hint})" if error.hint else told
