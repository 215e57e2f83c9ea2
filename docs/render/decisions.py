"""The list of design decisions: every file in docs/design, by its own title."""

from __future__ import annotations

from pathlib import Path


def page(root: Path) -> str:
    links = "\n".join(f"- [{title(path)}]({path.name})" for path in files(root))
    return f"# Design decisions\n\nWhat was decided, instead of what, at which cost.\n\n{links}\n"


def files(root: Path) -> list[Path]:
    return sorted((root / "docs" / "design").glob("[0-9]*.md"))


def title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").lstrip().splitlines()[0]
    return first.removeprefix("#").strip()
