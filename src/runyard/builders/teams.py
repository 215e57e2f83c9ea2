"""
A Dockerfile whose steps are cached for one team only.

Engines keep what a step made, and give it to whoever asks for the same step upon the same image.
What a secret or a cache mount brought into it is not compared: another team would get what the
first one's index or cache had. A variable of each stage that says the team keeps them apart, in
all builders, for it is part of every step's environment.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from runyard.builders.froms import after_each_from
from runyard.builders.programs import Desk
from runyard.domain.errors import Rejected

_IGNORE: Final = ".dockerignore"
_LARGEST: Final = 1 << 20


def apart(dockerfile: Path, desk: Desk) -> Path:
    """Write a Dockerfile for a team's build, with the ignore file beside it; return its path.

    The build is to set the argument RUNYARD_TEAM.

    Raises:
        Rejected: it is no text of a sensible size.
    """
    try:
        if dockerfile.stat().st_size > _LARGEST:
            raise Rejected(f"{dockerfile.name} is larger than {_LARGEST:,} bytes")
        text = dockerfile.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"{dockerfile.name} is no text in UTF-8") from error
    own = desk.write("Dockerfile", after_each_from(text, "ARG RUNYARD_TEAM"))
    ignored = dockerfile.with_name(dockerfile.name + _IGNORE)
    if ignored.is_file() and not ignored.is_symlink():
        shutil.copyfile(ignored, desk.path / f"Dockerfile{_IGNORE}")
    return own
