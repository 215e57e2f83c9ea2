"""
What a build prints, for whoever stays with a run: on stderr, each line marked as the build's.

stdout is the program's own, so that it can be piped while an image is built for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from runyard.client import follow as source
from runyard.client.printable import Printable

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.wire.rest import RunOut, RunRef

MARK: Final = "build | "


def show(api: Api, run: RunRef) -> None:
    """Print what is built for a run until its program runs; nothing if that is so already."""
    if not source.is_past(api.run(run), source.BUILD):
        write(source.log(api, run, follow=True, stage=source.BUILD))


def write(chunks: Iterable[bytes]) -> None:
    """Print output as it comes, line by line, without what would steer a terminal."""
    plain, line = Printable(), ""
    for chunk in chunks:
        *whole, line = (line + plain.feed(chunk)).split("\n")
        _print(whole)
    _print([rest] if (rest := line + plain.rest()) else [])


def where(run: RunOut) -> str:
    """Say where the build's output is, "" if there is none."""
    if not source.size(run, source.BUILD):
        return ""
    return f"runyard logs {run.entity}/{run.project}/{run.run_id} --stage build"


def _print(lines: Iterable[str]) -> None:
    # At once: states are told from another thread, and are not to stand within a line.
    sys.stderr.write("".join(f"{MARK}{line}".rstrip() + "\n" for line in lines))
    sys.stderr.flush()
