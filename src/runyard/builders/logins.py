"""
Registry logins as the file that docker, buildah and podman read them from.

The file is made for one build, from the logins of its order. The agent user's own logins, and the
programs that keep them, are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from runyard.clouds.docker_config import auths_of
from runyard.domain.images import Login


def config_file(logins: Sequence[Login], *, plugins: Sequence[Path] = ()) -> str:
    """Return the text of a `config.json`; `plugins` are directories of the client's plug-ins."""
    extra = {"cliPluginsExtraDirs": [str(path) for path in plugins]} if plugins else {}
    return json.dumps({"auths": auths_of(logins), **extra})
