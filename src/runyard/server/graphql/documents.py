"""Documents: parsed, checked against the schema and bounded, each once while it is in use."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    build_schema,
    parse,
    validate,
)
from graphql.execution import VariableValues, get_directive_values

LONGEST: Final = 256 << 10  # characters; the client's own are under 10,000
_TOKENS: Final = 5_000  # the client's longest has 250
_DEEPEST: Final = 24  # the client's deepest has 15
_MOST_FIELDS: Final = 1_000  # with fragments spread out; the client's largest has 84
_MOST_ROOTS: Final = 16
_KEPT: Final = 512
_KEPT_LONGEST: Final = 32 << 10
_QUOTED: Final = re.compile(r"'([^']*)'")
# Queries that write, as the protocol has them: asking for one's agent is its heartbeat.
WRITING: Final = frozenset({"launchAgent"})


class Refused(Exception):
    """
    A document that cannot be executed. `errors` have the words of the GraphQL reference, to the
    quotes around names: the client looks for them to learn what this server lacks.
    """

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        for error in errors:
            error.message = _QUOTED.sub(r'"\1"', error.message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Root:
    """A field at the top. `@skip` and `@include` at any of `nodes` decide whether it is asked."""

    field: FieldNode
    nodes: tuple[SelectionNode, ...]

    @property
    def name(self) -> str:
        return self.field.name.value

    @property
    def key(self) -> str:
        return self.field.alias.value if self.field.alias else self.name

    def is_asked(self, variables: VariableValues) -> bool:
        for node in self.nodes:
            skip = get_directive_values(GraphQLSkipDirective, node, variables)
            include = get_directive_values(GraphQLIncludeDirective, node, variables)
            if (skip and skip["if"]) or (include and not include["if"]):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Document:
    """One operation that may be executed. `roots` are its fields at the top."""

    ast: DocumentNode
    operation: OperationDefinitionNode
    roots: tuple[Root, ...]

    @property
    def writes(self) -> bool:
        return self.operation.operation is OperationType.MUTATION or any(
            root.name in WRITING for root in self.roots
        )


@cache
def load_schema() -> GraphQLSchema:
    """Return the schema: all files of the package together."""
    folder = resources.files("runyard.server.graphql") / "schema"
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".graphql"))
    return build_schema("\n".join((folder / name).read_text() for name in files))


class Documents:
    """Those that were asked for lately."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._known: OrderedDict[tuple[str, str | None], Document] = OrderedDict()

    def get(self, text: str, operation: str | None) -> Document:
        """Return a document that is valid and bounded.

        Raises:
            Refused: it is not.
        """
        key = (text, operation)
        known = self._known.get(key)
        if known is None:
            known = self._read(text, operation)
            if len(text) <= _KEPT_LONGEST:
                self._known[key] = known
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return known

    def _read(self, text: str, name: str | None) -> Document:
        if len(text) > LONGEST:
            raise Refused([GraphQLError(f"The document is longer than {LONGEST} characters.")])
        try:
            ast = parse(text, max_tokens=_TOKENS, allow_empty_selection_sets=False)
        except GraphQLError as error:
            raise Refused([error]) from None
        except RecursionError:
            raise Refused([GraphQLError("The document is nested too deeply.")]) from None
        # Before it is validated: that takes time that grows with what fragments spread out to.
        fragments = {
            d.name.value: d for d in ast.definitions if isinstance(d, FragmentDefinitionNode)
        }
        for definition in ast.definitions:
            if isinstance(definition, OperationDefinitionNode):
                _bounded(definition.selection_set, fragments)
        if errors := validate(self._schema, ast, max_errors=20, hide_suggestions=True):
            raise Refused(errors)
        operation = _chosen(ast, name)
        roots = tuple(_roots(operation.selection_set, fragments))
        if len(roots) > _MOST_ROOTS:
            raise Refused([GraphQLError(f"More than {_MOST_ROOTS} fields at the top.")])
        return Document(ast, operation, roots)


def _chosen(ast: DocumentNode, name: str | None) -> OperationDefinitionNode:
    found = [
        d
        for d in ast.definitions
        if isinstance(d, OperationDefinitionNode)
        and (name is None or (d.name is not None and d.name.value == name))
    ]
    if len(found) == 1 and found[0].operation is not OperationType.SUBSCRIPTION:
        return found[0]
    if name is None:
        needed = "operation name if the document contains several" if found else "an operation"
        raise Refused([GraphQLError(f"Must provide {needed}.")])
    raise Refused([GraphQLError(f'Unknown operation named "{name}".')])


def _bounded(top: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> None:
    """Raises: Refused: deeper, or with more fields, than any client needs."""
    fields = 0
    level: list[tuple[SelectionSetNode, frozenset[str]]] = [(top, frozenset())]
    for _ in range(_DEEPEST + 1):
        below: list[tuple[SelectionSetNode, frozenset[str]]] = []
        while level:
            selection_set, within = level.pop()
            for node in selection_set.selections:
                fields += 1
                if fields > _MOST_FIELDS:
                    raise Refused([GraphQLError(f"More than {_MOST_FIELDS} fields are selected.")])
                if isinstance(node, FragmentSpreadNode):
                    name = node.name.value
                    if name in fragments and name not in within:  # else validation says so
                        level.append((fragments[name].selection_set, within | {name}))
                elif isinstance(node, FieldNode):
                    if node.selection_set is not None:
                        below.append((node.selection_set, within))
                elif isinstance(node, InlineFragmentNode):
                    level.append((node.selection_set, within))
        if not below:
            return
        level = below
    raise Refused([GraphQLError(f"The selection is deeper than {_DEEPEST} levels.")])


def _roots(
    selection_set: SelectionSetNode,
    fragments: dict[str, FragmentDefinitionNode],
    above: tuple[SelectionNode, ...] = (),
) -> Iterator[Root]:
    for node in selection_set.selections:
        nodes = (*above, node)
        if isinstance(node, FieldNode):
            yield Root(node, nodes)
        elif isinstance(node, FragmentSpreadNode):
            yield from _roots(fragments[node.name.value].selection_set, fragments, nodes)
        elif isinstance(node, InlineFragmentNode):
            yield from _roots(node.selection_set, fragments, nodes)
