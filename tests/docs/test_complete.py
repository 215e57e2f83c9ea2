"""Every command, route, setting, error and variable of the program is found in the built site."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel

from runyard.agent.config import AgentConfig
from runyard.cli.tree import trunk
from runyard.domain import errors
from runyard.domain.docker_options import ALLOWED, GRANTABLE
from runyard.domain.environment import program_environment
from runyard.domain.policy import json_schema
from runyard.domain.rules import RULES
from runyard.domain.specs import KEYS, OVERRIDES
from runyard.drivers.docker_settings import DockerSettings
from runyard.drivers.process_request import HOST_VARIABLES
from runyard.server.app import create_openapi
from runyard.server.graphql.areas import AREAS
from runyard.server.graphql.features import FEATURES
from runyard.server.settings import ServerSettings


def test_every_command_and_each_of_its_options_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/cli/index.html"]
    missing = [words for words in _typed(trunk()) if words not in page]
    assert not missing


def test_every_route_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/rest/index.html"]
    routes = [
        f"{method.upper()} {path}"
        for path, operations in create_openapi()["paths"].items()
        for method in operations
    ]
    assert routes
    assert not [route for route in routes if route not in page]


def test_every_operation_of_the_tracking_protocol_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/protocol/index.html"]
    answered = [
        name
        for area in AREAS
        for kind in ("Query", "Mutation")
        for name in area.resolvers.get(kind, {})
    ]
    assert len(answered) > 60
    assert not [name for name in (*answered, *FEATURES) if name not in page]


@pytest.mark.parametrize(
    ("model", "page"), [(AgentConfig, "agent-config"), (ServerSettings, "server-settings")]
)
def test_every_setting_is_documented_with_its_meaning(
    model: type[BaseModel], page: str, texts: Mapping[str, str]
) -> None:
    text = texts[f"reference/{page}/index.html"]
    assert not [name for name in model.model_fields if name not in text]
    assert not [name for name, field in model.model_fields.items() if not field.description]


def test_every_error_is_documented_with_what_to_do(site: Mapping[str, str]) -> None:
    page = site["reference/errors/index.html"]
    for kind in _below(errors.RunyardError):
        row = re.search(rf"<tr>\s*<td><code>{kind.code}</code>.*?</tr>", page, re.DOTALL)
        assert row, f"{kind.code} is not listed"
        assert re.search(r"<td>(→ )*\w+[^<]*</td>\s*</tr>", row[0]), f"{kind.code}: no advice"


def test_every_variable_of_a_job_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/environment/index.html"]
    assert not [name for name in (*_variables(), *HOST_VARIABLES) if name not in page]


def test_every_key_of_a_launch_spec_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/launch-spec/index.html"]
    assert not [key for key in (*KEYS, *OVERRIDES) if key not in page]


def test_every_rule_of_a_policy_is_documented_with_its_meaning(site: Mapping[str, str]) -> None:
    page = site["reference/queue-policy/index.html"]
    retry = json_schema()["properties"]["retry"]["items"]["properties"]
    for name in (*RULES, *retry):
        assert re.search(
            rf"<tr>\s*<td><code>{name}</code>.*?<td>\w[^\n]+</td>\s*</tr>", page, re.DOTALL
        ), name


def test_every_docker_option_of_a_queue_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["reference/queue-config/index.html"]
    assert not [option for option in ALLOWED | GRANTABLE if option not in page]


def test_every_setting_of_a_container_engine_is_documented(texts: Mapping[str, str]) -> None:
    page = texts["resources/local-container/index.html"]
    assert not [field.name for field in fields(DockerSettings) if field.name not in page]


def test_no_page_sends_its_readers_to_another_host(site: Mapping[str, str]) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:"
    )
    assert not [path for path, page in site.items() if loads.search(page)]


def _typed(command: Any, path: str = "runyard") -> Iterator[str]:
    """Yield what can be typed: the path of each command and the long name of each option."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from _typed(command.get_command(None, name), f"{path} {name}")
        return
    yield path
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            yield from (word for word in parameter.opts if word.startswith("--"))


def _below(kind: type[errors.RunyardError]) -> Iterator[type[errors.RunyardError]]:
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from _below(below)


def _variables() -> list[str]:
    spec = {
        "project": "p", "entity": "e", "run_id": "r", "author": "a", "queue": "q",
        "queue_entity": "e", "name": "n", "sweep_id": "s", "job": "e/p/j:v0",
        "overrides": {"run_config": {}, "files": {"f": {}}, "artifacts": {}},
    }  # fmt: skip
    return list(
        program_environment(
            spec, base_url="http://x", item_id="i", requeues=1, image="x", longest=10_000
        )
    )
