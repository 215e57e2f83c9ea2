"""
How git is called when what it is given is not trusted.

git runs programs that configuration, repositories and addresses name: hooks, transport
helpers, file-system monitors, ssh with options. Every call therefore carries these options
and this environment and nothing of the caller's own, so that what is not named here is off.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Final

# What git, curl and ssh need of the host to find programs, certificates and proxies.
_PLAIN: Final = (
    "PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
)  # fmt: skip
_CREDENTIALS: Final = ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "GIT_ASKPASS")


def options(protocols: Collection[str]) -> tuple[str, ...]:
    """Return git's options for every call; they beat all configuration files."""
    settings = (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.protectHFS=true",
        "core.protectNTFS=true",
        "core.pager=cat",
        "credential.interactive=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "submodule.recurse=false",
        "fetch.recurseSubmodules=false",
        "advice.detachedHead=false",
        "protocol.allow=never",
        "protocol.ext.allow=never",
        "protocol.file.allow=never",
        *(f"protocol.{name}.allow=always" for name in sorted(protocols)),
    )
    return tuple(word for setting in settings for word in ("-c", setting))


def environment(
    host: Mapping[str, str],
    protocols: Collection[str],
    *,
    credentials: bool,
    known_hosts: str | None = None,
) -> dict[str, str]:
    """Return the whole environment of a git call; `host` is the caller's own.

    With `credentials`, the host's git configuration, credential helper, SSH configuration and
    agent are used; without, none of them can be reached. Nobody is ever asked anything.
    """
    env = {name: host[name] for name in _PLAIN if name in host}
    env |= {
        "LC_ALL": "C.UTF-8",  # messages are matched
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_ALLOW_PROTOCOL": ":".join(sorted(protocols)),
        "GIT_SSH_COMMAND": _ssh(credentials=credentials, known_hosts=known_hosts),
        "GIT_SSH_VARIANT": "ssh",
        "GIT_LFS_SKIP_SMUDGE": "0",
    }
    if credentials:
        return env | {name: host[name] for name in _CREDENTIALS if name in host}
    return env | {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
    }


def _ssh(*, credentials: bool, known_hosts: str | None) -> str:
    # git takes this one as a shell's command line: all words are ours, and quoted.
    words = ["ssh", "-oBatchMode=yes", "-oClearAllForwardings=yes", "-oPermitLocalCommand=no"]
    if not credentials:
        words += ["-F", "none", "-oIdentityAgent=none", "-oPasswordAuthentication=no"]
    if known_hosts is not None:
        words += [f"-oUserKnownHostsFile={known_hosts}", "-oStrictHostKeyChecking=yes"]
    return shlex.join(words)
