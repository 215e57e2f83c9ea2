"""
Make the notebooks that an entry point names runnable: `python train.ipynb` runs a script.

The script takes the notebook's place in the attempt's own copy, so the entry point stays what
was submitted, on every resource.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runyard.domain.errors import Rejected
from runyard.domain.notebooks import notebook_to_script

_LARGEST = 256 << 20


def make_runnable(files: Path, working_dir: str, entry_point: Sequence[str]) -> None:
    """Replace each notebook in the entry point by its code; blocking.

    Raises:
        Invalid: it is not a notebook in Python.
        Rejected: it is larger than 256 MiB.
    """
    root = os.path.realpath(files)
    for word in entry_point:
        path = Path(os.path.realpath(files / working_dir / word))
        if not word.endswith(".ipynb") or not path.is_relative_to(root) or not path.is_file():
            continue  # the program says best what it misses
        if path.stat().st_size > _LARGEST:
            raise Rejected(f"notebook {word} is larger than {_LARGEST >> 20} MiB")
        script = notebook_to_script(path.read_text(encoding="utf-8", errors="replace"))
        path.write_text(script, encoding="utf-8")
