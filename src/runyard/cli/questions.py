"""Asking before something is lost."""

from __future__ import annotations

import sys

import typer

from runyard.cli.edge import WrongUsage


def confirm(question: str, *, yes: bool) -> None:
    """Return if the user wants it.

    Raises:
        WrongUsage: nobody is there to be asked, and `--yes` was not given.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUsage(f"not done without being asked: {question}", hint="add --yes")
    typer.confirm(question, abort=True, err=True)
