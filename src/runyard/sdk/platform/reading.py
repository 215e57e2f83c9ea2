"""
YAML, read strictly: values that know their lines, and every mistake at once.

A name that is given twice is a mistake, and so is a word that YAML's versions read differently
(`no`, `1:30`, `0777`): who means the text writes quotes. Nothing is ever made but plain data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_BYTES: Final = 4 << 20
MAX_VALUES: Final = 100_000  # of one document, aliases counted as often as they are used
MAX_DEPTH: Final = 100
Path = tuple[str | int, ...]

_PREFIX = "tag:yaml.org,2002:"
# What YAML 1.1 makes something of, and YAML 1.2 does not.
_OLD_BOOL = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
_OLD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|.*[:_].*|0b.*)")


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and where: a file, a line (from 1; 0 if there is none), a path of names."""

    file: str
    line: int
    path: str
    message: str

    @property
    def where(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}" if self.path else place


@dataclass
class Read:
    """One document: its value, and the line of everything in it."""

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Return the line of what is at `path`, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 0

    def mistake(self, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(self.file, self.line(path), dotted(path), message))


def dotted(path: Path) -> str:
    return ".".join(map(str, path))


def documents(text: str, file: str) -> list[Read]:
    """Return the documents of a file, each with its own mistakes; empty ones are left out."""
    if len(text) > MAX_BYTES:
        return [_broken(file, 0, f"is larger than {MAX_BYTES >> 20} MiB")]
    found: list[Read] = []
    try:
        for node in yaml.compose_all(text, yaml.SafeLoader):
            read = Read(file)
            read.value = _Builder(read).value(node, (), ())
            if read.value is not None or read.mistakes:
                found.append(read)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be read"
        found.append(_broken(file, mark.line + 1 if mark else 0, f"is not YAML: {problem}"))
    except RecursionError:
        found.append(_broken(file, 0, "is nested too deeply"))
    except _TooMuch as error:
        found.append(_broken(file, error.line, str(error)))
    return found


def _broken(file: str, line: int, message: str) -> Read:
    return Read(file, mistakes=[Mistake(file, line, "", message)])


class _TooMuch(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    """Makes plain data of YAML's nodes."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._scalars = yaml.constructor.SafeConstructor()
        self._values = 0

    def value(self, node: yaml.Node, path: Path, around: tuple[yaml.Node, ...]) -> Any:
        line = node.start_mark.line + 1
        self._read.lines.setdefault(path, line)
        self._values += 1
        if self._values > MAX_VALUES:
            raise _TooMuch(line, f"has more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise _TooMuch(line, "is nested too deeply")
        if any(node is outer for outer in around):
            raise _TooMuch(line, "an alias contains itself")
        inner = (*around, node)
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self._mapping(node, path, inner)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return [self.value(one, (*path, n), inner) for n, one in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._wrong(node, path, f"the tag {node.tag} is not allowed")
        return None

    def _mapping(
        self, node: yaml.MappingNode, path: Path, around: tuple[yaml.Node, ...]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, below in node.value:
            line = key.start_mark.line + 1
            if key.tag == _PREFIX + "merge":
                for mapping in self._merged(below, path):
                    # What is nearer wins: its own names, then the mappings in their order.
                    merged = {**self._mapping(mapping, path, (*around, mapping)), **merged}
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, path, "a name is a text")
                continue
            name = key.value
            if name in first:
                self._read.mistakes.append(
                    Mistake(
                        self._read.file, line, dotted((*path, name)),
                        f"is given twice; first on line {first[name]}",
                    )
                )  # fmt: skip
                continue
            first[name] = line
            self._read.lines[(*path, name)] = line
            found[name] = self.value(below, (*path, name), around)
        return {**merged, **found}

    def _merged(self, node: yaml.Node, path: Path) -> Iterator[yaml.MappingNode]:
        for one in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(one, yaml.MappingNode):
                yield one
            else:
                self._wrong(one, path, "'<<' takes a mapping, or a list of them")

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind, text = node.tag.removeprefix(_PREFIX), node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and not _OLD_BOOL.fullmatch(text):
            return text.lower() == "true"
        if kind in ("int", "float") and not _OLD_NUMBER.fullmatch(text):
            return self._number(node, kind, path)
        if kind in ("bool", "int", "float", "timestamp"):
            self._wrong(
                node, path, f"{text} is read differently by different versions of YAML; "
                "put quotes around a text, and write numbers, true and false plainly",
            )  # fmt: skip
        else:
            self._wrong(node, path, f"the tag {node.tag} is not allowed")
        return None

    def _number(self, node: yaml.ScalarNode, kind: str, path: Path) -> Any:
        construct = getattr(self._scalars, f"construct_yaml_{kind}")
        try:
            number = construct(node)
        except ValueError:
            self._wrong(node, path, f"{node.value!r} is no number")
            return None
        if isinstance(number, float) and not math.isfinite(number):
            self._wrong(node, path, f"{node.value} is no number that JSON knows")
            return None
        return number

    def _wrong(self, node: yaml.Node, path: Path, message: str) -> None:
        line = node.start_mark.line + 1
        self._read.mistakes.append(Mistake(self._read.file, line, dotted(path), message))
