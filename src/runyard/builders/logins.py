"""
Registry logins as the file that docker, buildah and podman read them from.

The file is made for one build, from the logins of its order. The agent user's own logins, and the
programs that keep them, are not in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runyard.domain.images import HUB, Login

_HUB: Final = "https://index.docker.io/v1/"  # the name of Docker Hub in such files


def config_file(logins: Sequence[Login], *, plugins: Sequence[Path] = ()) -> str:
    """Return the text of a `config.json`; `plugins` are directories of the client's plug-ins."""
    auths = {
        _HUB if login.registry == HUB else login.registry: {"auth": _auth(login)}
        for login in logins
    }
    extra = {"cliPluginsExtraDirs": [str(path) for path in plugins]} if plugins else {}
    return json.dumps({"auths": auths, **extra})


def _auth(login: Login) -> str:
    return base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
