"""
Whose fault it is that an engine refuses, read off its words: pure.

Engines have no codes for this, only sentences of three projects (the engine, its runtime, the
registry). What is known to be the host's own is named here; everything else is the job's, or its
queue's.
"""

from __future__ import annotations

import re
from typing import Final

# Whatever was asked: the disk, the kernel, the engine's own storage and helpers.
_HOST: Final = (
    "no space left on device", "disk quota exceeded", "input/output error", "too many open files",
    "cannot allocate memory", "structure needs cleaning", "stale file handle",
    "driver/library version mismatch", "nvidia-container-cli", "nvidia-container-runtime",
    "nvidia-ctk", "libnvidia-ml", "could not select device driver", "failed to discover gpu",
    "unresolvable cdi devices", "failed to initialize nvml", "failed to mount overlay",
    "error creating overlay mount", "failed to create rwlayer", "devicemapper", "devmapper",
    "error initializing graphdriver", "failed to register layer", "error committing the finished",
    "failed to prepare extraction snapshot", "failed to start shim", "start shim:",
    "containerd-shim", "runc did not terminate", "unknown or invalid runtime",
    "crun: not found", "containerd.sock", "containerd is not running", "cgroups: cgroup mountpoint",
    "failed to set up container networking", "no available ipv4 addresses",
    "could not find an available", "iptables failed", "iptables: no chain",
)  # fmt: skip
_ASKED: Final = re.compile(r'exec: "[^"]*"')  # the program's name is the job's own choice
_READ_ONLY: Final = re.compile(r"/(?:docker|containerd|containers)/\S*: read-only file system")
# Between this host and the registry.
_WAY: Final = (
    "dial tcp", "connection refused", "connection reset", "broken pipe", "i/o timeout",
    "timeout exceeded", "deadline exceeded", "timed out", "tls handshake", "x509:", "tls:",
    "certificate", "temporary failure in name resolution", "server misbehaving",
    "network is unreachable", "no route to host", "unexpected eof", ": eof", "proxyconnect",
    "toomanyrequests", "too many requests", "server gave http response to https client",
    "internal server error", "bad gateway", "service unavailable", "gateway timeout",
)  # fmt: skip
_STATUS: Final = re.compile(r"\b(?:status(?: code)?:? |http )5\d\d\b")
_NAME: Final = (
    "manifest unknown", "not found", "access denied", "is denied",
    "does not exist", "unauthorized", "authentication required", "denied:", "forbidden",
    "invalid reference", "no matching manifest", "name unknown", "name invalid",
)  # fmt: skip


def is_of_host(message: str) -> bool:
    """Whether the engine refuses for a reason of its own host."""
    said = _ASKED.sub("", message.lower())
    if any(sign in said for sign in _HOST):
        return True
    return bool(_READ_ONLY.search(said))


def is_of_way(message: str) -> bool:
    """Whether an image cannot be pulled for a reason of the host or of its way to the registry.

    A registry that does not exist looks the same from here; the caller has to know it.
    """
    said = message.lower()
    if is_of_host(said):
        return True
    if any(sign in said for sign in _NAME):
        return False
    return any(sign in said for sign in _WAY) or bool(_STATUS.search(said))
