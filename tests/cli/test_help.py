"""Every command explains itself, and mistakes name the next thing to type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runyard.cli.main import COMMANDS, overview
from runyard.cli.tree import trunk
from tests.cli.conftest import Cli


def commands() -> Iterator[tuple[list[str], Any]]:
    root = trunk()
    context = root.context_class(root, info_name="runyard")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if hasattr(command, "list_commands"):
            for below in command.list_commands(context):
                yield [name, below], command.get_command(context, below)
        else:
            yield [name], command


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_every_command_shows_examples_of_itself(words: list[str], cli: Cli) -> None:
    done = cli(*words, "--help")
    assert done.code == 0
    assert "Examples:" in done.out
    assert f"runyard {' '.join(words)}" in done.out.partition("Examples:")[2]


def test_the_overview_names_every_command(cli: Cli) -> None:
    assert all(f"  {name} " in overview() for name in COMMANDS)
    assert cli("--help").out.strip() == overview()


def test_a_group_alone_shows_what_it_has(cli: Cli) -> None:
    done = cli("queue")
    assert done.code == 0
    assert "create" in done.out


def test_a_misspelt_command_is_answered_with_the_nearest(cli: Cli) -> None:
    done = cli("lunch")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: no command 'lunch'; did you mean 'launch'?\nhint: runyard --help\n"
    assert "did you mean 'create'?" in cli("queue", "crate").err


def test_wrong_usage_is_two_lines_and_exit_code_2(cli: Cli) -> None:
    done = cli("queue", "create", "gpu")
    assert done.code == 2
    assert "--resource" in done.err
    assert done.err.splitlines()[1] == "hint: runyard queue create --help"


def test_completion_knows_commands_and_flags(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import subprocess
    import sys

    env = {
        **os.environ,
        "_RUNYARD_COMPLETE": "complete_bash",
        "COMP_WORDS": "runyard queue cr",
        "COMP_CWORD": "2",
    }
    argv = [sys.executable, "-m", "runyard.cli.main"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert "create" in done.stdout
