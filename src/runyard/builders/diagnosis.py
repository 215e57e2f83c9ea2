"""
Why a build failed, in one line, with what to do about it: pure, read off what was printed.

The usual causes are known (`causes`); of any other failure the step and its last words are told. An
address in the output may hold a password, which is never quoted in a message.
"""

from __future__ import annotations

import re
from typing import Final

from runyard.builders import causes
from runyard.builders.base import BuildFailed
from runyard.builders.causes import Cause
from runyard.builders.transcript import Failure, Transcript
from runyard.domain.errors import HostFault, RunyardError, Unavailable

_SHOWN_LINES: Final = 30
_LONGEST_STEP: Final = 300
_LONGEST_WORDS: Final = 300


class StorageChanged(Unavailable):
    """Somebody removed an image at the wrong moment; the same again may well succeed."""


def explain(transcript: Transcript, code: int) -> RunyardError:
    """Return what is to be raised for a build that ended with `code`: whose fault, and why.

    It is a `BuildFailed`, unless the engine or a registry could not be asked (`Unavailable`), or
    the engine's own disk is full (`HostFault`).
    """
    failure = transcript.failure()
    builder = _joined((*failure.said[-3:], *failure.last[-12:]))
    if _NO_ENGINE.search(builder):
        return Unavailable("the engine that builds images cannot be reached")
    if _ENGINES_DISK.search(builder):
        return HostFault(f"the disk of the engine that builds images is full: {_end(failure)}")
    if _RACE.search(builder):
        return StorageChanged(
            "an image was removed from the builder's storage while it looked at it"
        )
    if not failure.step.upper().startswith("RUN") and _NO_WAY.search(builder):
        return Unavailable(f"a registry cannot be reached: {_end(failure)}")
    message, hint = _cause(failure, code)
    lines = [line[:_LONGEST_WORDS] for line in failure.said or failure.last]
    return BuildFailed(
        message,
        hint=hint,
        step=_short(failure.step, _LONGEST_STEP),
        lines="\n".join(lines[-_SHOWN_LINES:]),
    )


def explain_push(image: str, words: str) -> RunyardError:
    """Return what is to be raised for an image that could not be pushed, from the last words."""
    told = _short(words)
    if _NO_ENGINE.search(words):
        return Unavailable("the engine that builds images cannot be reached")
    if _PLAIN_HTTP.search(words):
        return BuildFailed(
            f"the registry of {image} speaks plain http, and is not trusted to: {told}",
            hint="name it in `builder.insecure_registries`, and for docker in "
            "`insecure-registries` of the engine's daemon.json",
        )
    if _NO_WAY.search(words):
        return Unavailable(f"the registry cannot be reached to push {image}: {told}")
    if _ENGINES_DISK.search(words):
        return HostFault(f"there is no room to push {image}: {told}")
    return BuildFailed(
        f"the registry refused {image}: {told}",
        hint="see that the repository exists and that the agent's login may push to it",
    )


_NO_ENGINE: Final = re.compile(
    r"Cannot connect to the Docker daemon|error during connect: "
    r"|failed to connect to the docker API"
)
_ENGINES_DISK: Final = re.compile(
    r"(?:/var/lib/|failed to register layer|ApplyLayer|[Ee]rror committing|failed to copy files"
    r"|storing layer|writing blob|failed to commit|error processing tar file|committing container)"
    r".{0,400}no space left on device",
    re.DOTALL,
)
_NO_WAY: Final = re.compile(
    r"dial tcp|i/o timeout|TLS handshake timeout|connection re(?:set|fused)|no such host"
    r"|Temporary failure in name resolution|server misbehaving|network is unreachable"
    r"|no route to host|unexpected EOF|: EOF\b|toomanyrequests|Too Many Requests"
    r"|(?:status(?: code)?:? |HTTP )5\d\d\b|Bad Gateway|Service Unavailable|Gateway Time-?out"
)
_PLAIN_HTTP: Final = re.compile(r"server gave HTTP response to HTTPS client")
_RACE: Final = re.compile(r"checking if cached image exists.*(?:layer|image) not known")
_EXIT: Final = re.compile(
    r"(?:returned a non-zero code: |exit code: |exit status |exited with status )(\d+)"
)
_KILLED: Final = re.compile(r"^Killed$|signal: killed|\bOOMKilled\b|out of memory", re.I | re.M)


def _cause(failure: Failure, code: int) -> Cause:
    said, builder = _joined(failure.said), _joined((*failure.said[-3:], *failure.last[-12:]))
    runs = failure.step.upper().startswith("RUN")
    ended = causes.last(_EXIT, builder)
    status = int(ended[1]) if ended else code
    if runs and ended:
        if cause := causes.of_step(said):
            return cause
        if status == 137 or _KILLED.search("\n".join(failure.said)):
            return (
                "the step was killed: most likely the builder's host is out of memory",
                "let it need less memory, or build on a larger host",
            )
        return f"{_short(failure.step)} ended with exit code {status}", "see the lines before it"
    if cause := causes.of_builder(builder):
        return cause
    return f"the build failed: {_end(failure) or f'exit code {code}'}", ""


def _joined(lines: tuple[str, ...]) -> str:
    """Put wrapped sentences together: uv breaks them, and draws trees before them."""
    return (
        "\n".join(lines)
        if not any("─▶" in line for line in lines)
        else " ".join(line.strip(" │├╰─▶×") for line in lines)
    )


def _end(failure: Failure) -> str:
    words = failure.last or failure.said
    return _short(words[-1]) if words else ""


def _short(text: str, longest: int = _LONGEST_WORDS) -> str:
    """Return one line, without what an address may hold of a password."""
    line = re.sub(r"(https?://)[^/@\s]*@", r"\1", " ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest]}…"
