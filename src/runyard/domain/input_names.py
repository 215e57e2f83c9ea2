"""What inputs are called. Apart, since the command line needs it and no library of schemas."""

from __future__ import annotations

from typing import Final

CONFIG: Final = "@wandb.config"  # the run's config
SUFFIXES: Final = (".json", ".yaml", ".yml")  # of files


def is_input_name(name: str) -> bool:
    """Tell whether it is the config, or a file of the job relative to its directory."""
    is_file = name.endswith(SUFFIXES) and len(name) <= 256 and "\\" not in name
    return name == CONFIG or (is_file and not {"", ".", ".."} & set(name.split("/")))
