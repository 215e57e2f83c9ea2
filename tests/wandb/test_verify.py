"""`wandb verify`: the client's own check of a server."""

from __future__ import annotations

import re

from .conftest import Client, on_sqlite

CHECK = re.compile(r"^(Check[^.\n]+)\.{2,}(\S)", re.MULTILINE)
# Warnings that a server without TLS in front of it gets.
OF_HTTPS = {"Checking requests to base url", "Checking requests made over signed URLs"}


@on_sqlite
def test_every_check_passes(client: Client) -> None:
    told = client.wandb("verify", "--host", client.url, timeout=300)
    checks = dict(CHECK.findall(told))
    assert len(checks) == 10, told
    failed = {name for name, mark in checks.items() if mark != "✅"}
    assert failed == OF_HTTPS, told
