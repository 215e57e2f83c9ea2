"""
The pages that the code knows best are written from it whenever the site is built.

A hook of MkDocs. What a page lists (commands, routes, settings, errors) is read from the
program itself, so that it cannot be out of date; the prose around it is in `docs/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from render import cli, decisions, errors, policy, protocol, rest, schema

import runyard.domain.errors
from runyard.agent.config import AgentConfig
from runyard.cli.tree import trunk
from runyard.server.app import create_openapi
from runyard.server.graphql.documents import load_schema
from runyard.server.graphql.features import FEATURES
from runyard.server.settings import ServerSettings

ROOT = Path(__file__).parent.parent


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for path, source in COPIES.items():
        files.append(File.generated(config, path, content=(ROOT / source).read_text("utf-8")))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the design decisions in the navigation: each is a file, and files are added often."""
    for entry in config.nav or []:
        if "Design decisions" in entry:
            pages = [path.relative_to(ROOT / "docs").as_posix() for path in decisions.files(ROOT)]
            entry["Design decisions"] = ["design/index.md", *pages]
    return config


def command_line() -> str:
    return cli.page(trunk())


def rest_api() -> str:
    return rest.page(create_openapi())


def tracking_protocol() -> str:
    return protocol.page(load_schema(), FEATURES)


def agent_config() -> str:
    return schema.page("Agent configuration", AgentConfig)


def server_settings() -> str:
    return schema.page("Server settings", ServerSettings)


def queue_policy() -> str:
    return policy.page()


def error_codes() -> str:
    return errors.page(runyard.domain.errors)


def design_decisions() -> str:
    return decisions.page(ROOT)


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": command_line,
    "reference/rest.md": rest_api,
    "reference/protocol.md": tracking_protocol,
    "reference/agent-config.md": agent_config,
    "reference/server-settings.md": server_settings,
    "reference/queue-policy.md": queue_policy,
    "reference/errors.md": error_codes,
    "design/index.md": design_decisions,
}

COPIES = {"security.md": "SECURITY.md", "changes.md": "CHANGELOG.md"}
