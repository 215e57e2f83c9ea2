"""What a command costs before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"httpx2", "pydantic", "sqlalchemy", "fastapi", "starlette", "rich", "yaml", "msgspec"}


def imported_by(*words: str) -> set[str]:
    code = (
        "import sys\n"
        "from runyard.cli.main import run\n"
        f"assert run({list(words)!r}) == 0\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["--help"], [], ["--version"]])
def test_the_overview_and_the_version_import_not_even_typer(words: list[str]) -> None:
    assert not imported_by(*words) & {*HEAVY, "typer"}


@pytest.mark.parametrize("words", [["launch", "--help"], ["queue"], ["agent", "-h"], ["up", "-h"]])
def test_help_of_a_command_imports_nothing_that_the_command_needs_to_run(words: list[str]) -> None:
    # typer checks values with pydantic, be it only the value of --help.
    assert not imported_by(*words) & (HEAVY - {"pydantic"})


def test_importing_the_package_is_light() -> None:
    code = "import runyard, sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {*HEAVY, "typer", "runyard.sdk"}


def test_the_public_names_are_the_sdks() -> None:
    import runyard
    from runyard import sdk

    assert runyard.Client is sdk.Client
    assert runyard.launch is sdk.launch
    with pytest.raises(AttributeError):
        runyard.nothing  # noqa: B018
