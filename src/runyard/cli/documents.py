"""
Values that people give as documents: a YAML or JSON file, JSON on the command line, `-` for
standard input, an editor, or `path.to.key=value`.

A value is a file only if it is one by its form; `@file` and the like are never expanded.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from runyard.cli.edge import WrongUsage


def mapping(given: str | None, flag: str) -> dict[str, Any]:
    """Read the value of a flag; {} if it was not given.

    Raises:
        WrongUsage: no such file, neither YAML nor JSON, or not a mapping.
    """
    if given is None:
        return {}
    if given.lstrip().startswith("{"):
        return _parsed(given, f"{flag} {given!r}")
    if given == "-":
        return _parsed(sys.stdin.read(), f"{flag} (standard input)")
    try:
        text = Path(given).read_text(encoding="utf-8")
    except OSError as error:
        raise WrongUsage(
            f"{flag}: cannot read {given!r}: {error.strerror}",
            hint=f"""give a YAML or JSON file, or inline JSON: {flag} '{{"key": "value"}}'""",
        ) from error
    except UnicodeDecodeError as error:
        raise WrongUsage(f"{flag}: {given!r} is not a text file") from error
    return _parsed(text, f"{flag} {given}")


def assign(
    document: Mapping[str, Any], word: str, *, allowed: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the document with `path.to.key=value` set; the value is read as YAML.

    Raises:
        WrongUsage: no `=`, a path through something that is no mapping, or a first key
            that is not `allowed`.
    """
    path, equals, text = word.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise WrongUsage(f"--set {word!r} is not KEY=VALUE")
    if allowed and (keys[0] not in allowed or len(keys) < 2):
        named = " or ".join(f"{name}.KEY" for name in allowed)
        raise WrongUsage(f"--set {word!r}: the key begins with {named}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WrongUsage(f"--set {word!r}: the value is not YAML: {_where(error)}") from error
    return _with(document, keys, value, word)


def edited(document: Mapping[str, Any], *, title: str) -> dict[str, Any]:
    """Let the user change a document in $VISUAL or $EDITOR, and return the result.

    Raises:
        WrongUsage: there is no editor or nobody to use it, or the result is not a mapping;
            the text that was written is kept in a file that the hint names.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    if not sys.stdin.isatty() and not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
        raise WrongUsage("nothing to change was given", hint="use --config, --policy or --set")
    text = f"# {title}. Save and leave to apply.\n" + yaml.safe_dump(
        dict(document), sort_keys=False, allow_unicode=True
    )
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False, encoding="utf-8") as file:
        file.write(text)
    try:
        done = subprocess.run([*shlex.split(editor), file.name], check=False)
    except OSError as error:
        raise WrongUsage(
            f"cannot start the editor {editor!r}: {error.strerror}", hint="set EDITOR"
        ) from error
    if done.returncode:
        raise WrongUsage(f"the editor {editor!r} left with {done.returncode}; nothing is changed")
    try:
        result = _parsed(Path(file.name).read_text(encoding="utf-8"), "the edited text")
    except WrongUsage as error:
        raise WrongUsage(error.message, hint=f"your text is in {file.name}") from error
    Path(file.name).unlink()
    return result


def _parsed(text: str, what: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise WrongUsage(
            f"{what} is neither YAML nor JSON: {_where(error)}",
            hint="""quote inline JSON for the shell: '{"key": "value"}'""",
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise WrongUsage(f"{what} is not a mapping of names to values")
    return data


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else problem


def _with(
    document: Mapping[str, Any], keys: Sequence[str], value: Any, word: str
) -> dict[str, Any]:
    first, *rest = keys
    if not rest:
        return {**document, first: value}
    below = document.get(first, {})
    if not isinstance(below, Mapping):
        raise WrongUsage(f"--set {word!r}: {first} is {below!r}, which has no keys")
    return {**document, first: _with(below, rest, value, word)}
