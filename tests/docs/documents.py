"""Read the documentation as its users do: the pages, and the blocks that they are told to type."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RUN = re.compile(r"^``` \{\.bash \.run\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages_with_examples() -> list[Path]:
    return [page for page in sorted(ROOT.joinpath("docs").rglob("*.md")) if examples(page)]


def examples(page: Path) -> list[str]:
    """Return the blocks marked `{.bash .run}`, in order."""
    return _RUN.findall(page.read_text(encoding="utf-8"))
