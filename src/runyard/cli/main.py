"""
The command `runyard`: which commands there are, and where each of them lives.

Nothing is imported before it is needed. The overview below is printed from this table alone;
a command's module is imported when it is called, and what talks to the server when it talks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple


class Place(NamedTuple):
    """Where a command is implemented, and what it is for in a few words."""

    module: str
    help: str


GROUPS: Final[dict[str, dict[str, Place]]] = {
    "Run things": {
        "launch": Place("launch", "Submit a job to a queue, or run it here and now."),
        "run": Place("runs", "List, show and stop runs; read their logs."),
        "sweep": Place("sweeps", "List, show, pause, resume and end sweeps."),
        "logs": Place("logs", "Print or follow the log of a run or item."),
        "item": Place("items", "List, show, hold, move, retry, cancel what was submitted."),
        "artifact": Place("artifacts", "List and show what runs have logged; download it."),
        "job": Place("jobs", "Save jobs from an image, a git commit or a directory."),
    },
    "Queues and agents": {
        "queue": Place("queues", "Create, edit, pause, drain and explain queues."),
        "agent": Place("agent", "Serve queues on this machine; list and stop agents."),
        "images": Place("images", "List images that agents have built; delete unused ones."),
        "secret": Place("secrets", "Write, list and delete secrets that jobs use by name."),
        "hook": Place("hooks", "Be told of failures and long waits, by webhook or e-mail."),
    },
    "Servers": {
        "up": Place("up", "Start a server and an agent on this machine."),
        "server": Place("server", "Run the server."),
        "db": Place("database", "Upgrade, back up and restore the database."),
    },
    "People": {
        "login": Place("login", "Remember a server and your key for it."),
        "logout": Place("logout", "Forget the key of a server."),
        "whoami": Place("whoami", "Show who you are, and where."),
        "team": Place("teams", "Create teams and choose their members."),
        "role": Place("roles", "Make roles of a team from permissions."),
        "service-account": Place("service_accounts", "Names and keys for programs: agents, …"),
        "invite": Place("invitations", "Invite people to a team; accept an invitation."),
        "user": Place("users", "Create, list, edit and disable users."),
        "key": Place("keys", "Create, list and revoke API keys."),
        "audit": Place("audit", "Read the audit log: who changed what."),
        "usage": Place("usage", "Report what was used: runs, hours and GPU hours."),
    },
    "As code": {
        "apply": Place("apply", "Make the server have what YAML files say."),
        "export": Place("export", "Print what the server has as such a file."),
    },
    "Other": {"version": Place("version", "Print the version.")},
}
COMMANDS: Final = {name: place for group in GROUPS.values() for name, place in group.items()}


def overview() -> str:
    """Return what `runyard --help` prints."""
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "Usage: runyard COMMAND [ARGS]...",
        "",
        "  Queues, agents and runs for machine-learning jobs, on your own machines.",
        "",
        "  Begin with:  runyard up",
        '  Then:        runyard launch -u . -E "python train.py" -q default --follow',
    ]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{place.help}" for name, place in commands.items()]
    lines += [
        "",
        "Options:",
        "  --install-completion  Complete commands and flags in the current shell.",
        "  --show-completion     Print the completion script instead of installing it.",
        "  --version             Print the version.",
        "  --help                Print this, or a command's own help.",
        "",
        "RUNYARD_BASE_URL and RUNYARD_API_KEY choose the server, before what `runyard login`",
        "saved. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; with --follow, the",
        "job's own. NO_COLOR is honoured; data goes to stdout, everything else to stderr.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    if "_RUNYARD_COMPLETE" not in os.environ:
        if not argv or argv[0] in ("--help", "-h", "help"):
            print(overview())
            return 0
        if argv[0] in ("--version", "version") and len(argv) == 1:
            from runyard import __version__

            print(__version__)
            return 0
    from runyard.cli.edge import invoke

    return invoke(list(argv))


if __name__ == "__main__":
    main()
