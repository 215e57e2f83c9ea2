"""
Where errors end: one line each, what is wrong in detail, what to type next, an exit code.

An error that we know is never shown as a traceback; one that we do not know is a bug, and is.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from typer.exceptions import Abort, TyperException

from runyard.cli.tree import trunk
from runyard.domain.errors import RunyardError

FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class WrongUsage(RunyardError):
    """The flags do not fit together. Nothing was sent anywhere."""

    code = "usage"


def invoke(argv: list[str]) -> int:
    """Run one command and return its exit code; whatever went wrong is on stderr."""
    try:
        result = trunk().main(args=argv, prog_name="runyard", standalone_mode=False)
        sys.stdout.flush()
    except WrongUsage as error:
        return report(error, USAGE)
    except RunyardError as error:
        return report(error, FAILURE)
    except TyperException as error:
        return _misuse(error)
    except (Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads us (head, less) has seen enough. Python would complain at exit again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    return result if isinstance(result, int) else 0


def report(error: RunyardError, code: int) -> int:
    """Print an error for people, and return the exit code it was given."""
    from runyard.client.printable import clean

    lines = [f"error: {error.message}"]
    lines += [f"  {one}" for one in error.violations if str(one) != error.message]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    print(clean("\n".join(lines)), file=sys.stderr)
    return code


def _misuse(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "runyard"
    message = error.format_message().rstrip(".")
    print(f"error: {message}\nhint: {path} --help", file=sys.stderr)
    return error.exit_code
