"""
The pages that the code knows best are written from it whenever the site is built.

A hook of MkDocs. What a page lists (commands, routes, settings, errors) is read from the
program itself, so that it cannot be out of date; the prose around it is in `docs/`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from render import cli, decisions, errors, rest, schema

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
    trunk = _from("runyard.cli.tree", "trunk")
    try:
        return cli.page(trunk()) if trunk else _not_yet("Command line")
    except ModuleNotFoundError:
        return _not_yet("Command line")


def rest_api() -> str:
    document = _from("runyard.server.app", "create_openapi")
    return rest.page(document()) if document else _not_yet("REST API")


def agent_config() -> str:
    model = _from("runyard.agent.config", "AgentConfig")
    return schema.page("Agent configuration", model) if model else _not_yet("Agent configuration")


def server_settings() -> str:
    model = _from("runyard.server.settings", "ServerSettings")
    return schema.page("Server settings", model) if model else _not_yet("Server settings")


def error_codes() -> str:
    return errors.page(importlib.import_module("runyard.domain.errors"))


def design_decisions() -> str:
    return decisions.page(ROOT)


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": command_line,
    "reference/rest.md": rest_api,
    "reference/agent-config.md": agent_config,
    "reference/server-settings.md": server_settings,
    "reference/errors.md": error_codes,
    "design/index.md": design_decisions,
}

COPIES = {"security.md": "SECURITY.md", "changes.md": "CHANGELOG.md"}


def _from(module: str, name: str) -> Any:
    """Return what the module calls `name`, or None as long as there is no such module."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if not module.startswith(error.name or " "):
            raise
        return None


def _not_yet(title: str) -> str:
    return f"# {title}\n\nThis page is written from the program. That part is not there yet.\n"
