"""Every document that the client holds is one that our schema answers, or known to be off."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from graphql import FragmentDefinitionNode, GraphQLSyntaxError, OperationDefinitionNode, parse
from graphql import validate as validate_document

from runyard.server.graphql.documents import load_schema

HOME = Path(wandb.__file__).parent
BEGINS = re.compile(r"\s*(#[^\n]*\n\s*)*(query|mutation)\b")
IN_CORE = re.compile(rb"(?:query|mutation) [A-Z][A-Za-z]+ ?[({]")
# Registries, organizations and automations: `serverInfo.features` says that they are off.
OFF = {
    "CreateAutomation", "CreateGenericWebhookIntegration", "CreateRegistryMembers",
    "DeleteAutomation", "DeleteRegistryMembers", "FetchAdvancedRegistryFeatures",
    "FetchRegistries", "FetchRegistry", "GetAutomationsLegacy", "GetEntityAutomations",
    "GetEntityAutomationsLegacy", "GetOrgAutomations", "IntegrationsByEntity",
    "RegistryCollections", "RegistryTeamMembers", "RegistryUserMembers", "RegistryVersions",
    "RenameRegistry", "UpdateAutomation", "UpdateTeamRegistryRole", "UpdateUserRegistryRole",
    "UpsertRegistry",
}  # fmt: skip


def in_python() -> Iterator[str]:
    """Yield strings of the client's modules that are whole documents."""
    for path in HOME.rglob("*.py"):
        if "vendor" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if "query " not in text and "mutation " not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and BEGINS.match(node.value)
            ):
                yield node.value


def in_core() -> Iterator[str]:
    """Yield documents of the compiled part: texts stand in it one after the other."""
    data = (HOME / "bin" / "wandb-core").read_bytes()
    for match in IN_CORE.finditer(data):
        text = data[match.start() : match.start() + 20_000].decode("latin-1")
        if document := _balanced(text):
            yield document


def _balanced(text: str) -> str | None:
    """Return an operation with the fragments that follow it."""
    braces = parentheses = 0
    for at, letter in enumerate(text):
        if letter not in string.printable:
            return None
        braces += (letter == "{") - (letter == "}")
        parentheses += (letter == "(") - (letter == ")")
        ended = letter == "}" and not braces and not parentheses
        if ended and not re.match(r"\s*fragment ", text[at + 1 :]):
            return text[: at + 1]
    return None


def documents() -> dict[str, str]:
    """Return documents by the name of their operation; templates are not parsed."""
    found = {}
    for text in (*in_python(), *in_core()):
        try:
            parsed = parse(text)
        except GraphQLSyntaxError:
            continue
        kinds = [type(each) for each in parsed.definitions]
        if set(kinds) <= {OperationDefinitionNode, FragmentDefinitionNode}:
            (name,) = [
                each.name.value
                for each in parsed.definitions
                if isinstance(each, OperationDefinitionNode) and each.name is not None
            ]
            found[f"{name} {hash(text)}"] = text
    return found


def test_every_document_is_valid_or_known_to_be_off() -> None:
    if wandb.__version__ != "0.31.0":
        pytest.skip("the list is of 0.31.0")
    schema, wrong, seen = load_schema(), {}, set()
    for key, text in documents().items():
        name = key.split()[0]
        seen.add(name)
        # A placeholder that the client replaces before it sends.
        if "_PROJECT_QUERY_" in text or ("RunFilesFragment" in text and "$fileCursor" in text):
            continue
        errors = validate_document(schema, parse(text), hide_suggestions=True)
        if errors and name not in OFF:
            wrong[name] = errors[0].message
        assert errors or name not in OFF, f"{name} is valid now"
    assert not wrong
    assert len(seen) > 130
    assert seen >= OFF
