"""
Why a build failed, in one line, with what to do about it: pure, read off what was printed.

pip, uv, apt and the three builders have no codes for this, only sentences. The usual ones are known
here, the surest first; of any other failure the step and its last words are told. An address in the
output may hold a password, so that no more of it than its host is ever quoted in a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from runyard.builders.base import BuildFailed
from runyard.builders.transcript import Failure, Transcript
from runyard.domain.errors import HostFault, RunyardError, Unavailable

_SHOWN_LINES: Final = 30
_LONGEST_STEP: Final = 300
_LONGEST_WORDS: Final = 300

_Cause = tuple[str, str]
_Teller = Callable[[re.Match[str]], _Cause]


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
_IGNORED: Final = re.compile(r"require a different python version: (.+)")
_NO_MATCH: Final = re.compile(r"No matching distribution found for ([^\s(]+)")
_HOST: Final = re.compile(r"host='([^']+)'|https?://(?:[^/@\s`]*@)?+([^/@\s`'\":]+)(?=[/\s`'\":])")

_ONE_INDEX: Final = re.compile(
    r"Looking in indexes: https?://(?:[^/@\s]*@)?([^/\s:,]+)[^\s,]*$", re.M
)

_WHEEL: Final = (
    "choose a version that has a wheel for this Python, or build upon an image that has a compiler "
    "(`builder.base_image`, or a Dockerfile of the job's own)"
)
_INDEX: Final = (
    "see that the builder's host can reach it and trusts its certificate; another index is named "
    "by an --index-url line in requirements.txt"
)
_VERSIONS: Final = "look at its name and version in the job's requirements"
_PYTHON: Final = "choose another version of it, or run the job with another Python (its runtime)"


def _python(match: re.Match[str]) -> _Cause:
    return f"{match[1]} does not run on this Python: it wants {match[2]}", _PYTHON


# What a step of the job's own said, the surest first. Of several matches the last one counts.
_OF_STEPS: Final[tuple[tuple[re.Pattern[str], _Teller], ...]] = (
    (
        re.compile(r"No space left on device|\bENOSPC\b|os error 28|Disk quota exceeded", re.I),
        lambda _: (
            "the disk is full",
            "free some space on the builder's host, or let the image install less",
        ),
    ),
    (
        re.compile(r"Package '([^']+)' requires a different Python: \S+ not in '([^']+)'"),
        _python,
    ),
    (
        re.compile(r"Because the current Python version \([^)]*\) does not satisfy "
                   r"Python(\S+) and ((?:(?! depends).)+?) depends"),
        lambda m: (f"{m[2]} does not run on this Python: it wants {m[1]}", _PYTHON),
    ),
    (
        re.compile(r"Because the requested Python version \([^)]*\) does not satisfy "
                   r"Python(\S+) and ((?:(?! depends).)+?) depends"),
        lambda m: (f"{m[2]} does not run on this Python: it wants {m[1]}", _PYTHON),
    ),
    (
        re.compile(r"(?:connection broken by '(?:NewConnectionError|ConnectTimeoutError"
                   r"|NameResolutionError|ProxyError|ReadTimeoutError|ProtocolError|SSLError)"
                   r"|Could not fetch URL \S+: There was a problem confirming the ssl certificate"
                   r"|Failed to (?:fetch|download):? `|error sending request for url"
                   r"|Request failed after \d+ retries).*"),
        lambda m: _no_index(m),
    ),
    (
        re.compile(r"(?:Temporary failure resolving|Could not resolve) '([^']+)'"),
        lambda m: (f"the package index at {m[1]} cannot be reached: its name is not known", _INDEX),
    ),
    (
        re.compile(r"Could not connect to (\S+?):\d+ "),
        lambda m: (f"the package index at {m[1]} cannot be reached", _INDEX),
    ),
    (
        re.compile(r"No matching distribution found for ([^\s(]+)"),
        lambda m: (f"no such package, or no such version of it: {m[1]}", _VERSIONS),
    ),
    (
        re.compile(r"Because (\S+) was not found in the (?:package registry|provided package "
                   r"locations)"),
        lambda m: (f"no such package: {m[1]}", _VERSIONS),
    ),
    (
        re.compile(r"(?:[Bb]ecause |and )(?:there (?:is|are) no versions? of|only .{1,200}? of) "
                   r"(\S+)"),
        lambda m: (f"no such version of a package: {m[1].rstrip(',')}", _VERSIONS),
    ),
    (
        re.compile(r"ResolutionImpossible|conflicting dependencies|requirements are unsatisfiable"),
        lambda _: (
            "the required packages contradict each other",
            "loosen one of the versions that the last lines name",
        ),
    ),
    (
        re.compile(r"command '(?:\S*/)?((?:\w+-)*(?:gcc|g\+\+|cc|c\+\+|clang))' failed"
                   r"|(?:No such file or directory: |unable to execute )"
                   r"'((?:\S+-)?(?:gcc|g\+\+|cc))'"
                   r"|\b(gcc|g\+\+|cc|make|cmake|cargo|rustc): (?:command )?not found"
                   r"|(Rust)(?: compiler|, the)|Unknown compiler|compiler cannot create executables"
                   r"|No CMAKE_C(?:XX)?_COMPILER could be found"),
        lambda m: (
            f"a package has to be compiled, and {next(filter(None, m.groups()), 'a compiler')} "
            "is missing or fails",
            _WHEEL,
        ),
    ),
    (
        re.compile(r"E: (?:Unable to locate package |Couldn't find any package by \w+ '"
                   r"|Package '|Version '[^']*' for ')([^\s']+)"),
        lambda m: (
            f"apt has no package {m[1]}",
            "run apt-get update in the same RUN, before the install, and look at the name",
        ),
    ),
    (
        re.compile(r"/run/secrets/([\w.-]+)'?: No such file"),
        lambda m: _no_secret(m[1]),
    ),
)  # fmt: skip

# What the builders themselves say.
_OF_BUILDERS: Final[tuple[tuple[re.Pattern[str], _Teller], ...]] = (
    (
        re.compile(r"--mount option requires BuildKit"),
        lambda _: (
            "RUN --mount needs BuildKit, and this agent's docker has only the legacy builder",
            "install docker buildx on the agent's host, or leave the mounts out",
        ),
    ),
    (
        re.compile(r"secret(?: id)? \"?([\w.-]+)\"?(?:: not found| required|.{0,40}not found)"
                   r"|no secrets? (?:with id )?\"?([\w.-]+)\"? found"),
        lambda m: _no_secret(m[1] or m[2]),
    ),
    (
        re.compile(r"(?:COPY|ADD) failed: [^\n]*stat ([^\s:]+)"
                   r"|(?:failed to (?:compute cache key|calculate checksum)[^\n]*?): "
                   r"\"/?([^\"]+)\":? not found"
                   r"|copier: stat: \"/?([^\"]+)\": no such file"
                   r"|no items matching glob \"(?:[^\"]*/)?([^\"/]+)\""),
        lambda m: (
            f"COPY of {next(filter(None, m.groups()))}, which is not in the build's context",
            "paths are those below the context; see that the file is in the job's source, and that "
            "no .dockerignore leaves it out",
        ),
    ),
    (
        re.compile(r"(?:dockerfile|Dockerfile) parse error[^:]*: ([^\n]+)"
                   r"|Error response from daemon: (?:unknown instruction: .+)"
                   r"|([Uu]nknown (?:instruction|flag): \"?[\w-]+\"?)"),
        lambda m: (
            f"the Dockerfile cannot be read: {(m[1] or m[2] or m[0])[:200]}",
            "mend the line; this builder may be too old for what it uses",
        ),
    ),
    (
        re.compile(r"pull access denied for ([^\s,]+)"
                   r"|manifest for (\S+) not found"
                   r"|reading manifest \S+ in ([^\s:]+(?::\d+)?/?[^\s:]*): (?:manifest unknown"
                   r"|unauthorized|denied|name unknown)"
                   r"|(?:^|\s)([\w./-]+(?::\d+/[\w./-]+)?(?::[\w.-]+)?): not found"
                   r"|([\w./-]+(?::\d+/[\w./-]+)?(?::[\w.-]+)?): failed to resolve source metadata"
                   r"|([\w./:-]+): image not known"
                   r"|short-name \"([^\"]+)\" did not resolve"
                   r"|docker://([^\s:]+(?::\d+/\S+?)?(?::[\w.-]+)?): "),
        lambda m: (
            f"the base image {next(filter(None, m.groups()))} is not there, or may not be pulled",
            "look at its name; if it is private, the agent needs a login for its registry",
        ),
    ),
)  # fmt: skip


def _cause(failure: Failure, code: int) -> _Cause:
    said, builder = _joined(failure.said), _joined((*failure.said[-3:], *failure.last[-12:]))
    runs = failure.step.upper().startswith("RUN")
    ended = _last(_EXIT, builder)
    status = int(ended[1]) if ended else code
    if runs and ended:
        if (match := _last(_NO_MATCH, said)) and (wants := _other_python(match[1], said)):
            return f"{match[1]} does not run on this Python: it wants {wants}", _PYTHON
        for sign, tell in _OF_STEPS:
            if match := _last(sign, said):
                return tell(match)
        if status == 137 or _KILLED.search("\n".join(failure.said)):
            return (
                "the step was killed: most likely the builder's host is out of memory",
                "let it need less memory, or build on a larger host",
            )
        return f"{_short(failure.step)} ended with exit code {status}", "see the lines before it"
    for sign, tell in _OF_BUILDERS:
        if match := _last(sign, builder):
            return tell(match)
    return f"the build failed: {_end(failure) or f'exit code {code}'}", ""


def _no_index(match: re.Match[str]) -> _Cause:
    words = match[0] + match.string[match.end() : match.end() + _LONGEST_WORDS]  # its causes
    hosts = [first or second for first, second in _HOST.findall(words)]
    if not hosts and (told := _ONE_INDEX.search(match.string)):
        hosts = [told[1]]
    where = f"the package index at {hosts[0]}" if hosts else "the package index"
    low = words.lower()
    if "certificate" in low or "ssl" in low or "tls" in low:
        return f"{where} cannot be trusted: its certificate is not accepted", _INDEX
    if "name or service" in low or "resolution" in low or "dns error" in low or "resolve" in low:
        return f"{where} cannot be reached: its name is not known", _INDEX
    if "refused" in low:
        return f"{where} cannot be reached: it refuses connections", _INDEX
    return f"{where} cannot be reached", _INDEX


def _no_secret(name: str) -> _Cause:
    return (
        f"the build's secret {name!r} was not given",
        "name it under `builder.secrets` in the agent's file or in the queue's configuration",
    )


def _other_python(requirement: str, said: str) -> str:
    """Return what Python a version wants that pip left out for it; "" if that is not why."""
    _, _, version = requirement.partition("==")
    ignored = _last(_IGNORED, said)
    if not version or not ignored:
        return ""
    for entry in ignored[1].split(";"):
        named, _, wants = entry.strip().partition(" Requires-Python ")
        if named == version:
            return wants.split(" ERROR:")[0].strip()
    return ""


def _last(sign: re.Pattern[str], text: str) -> re.Match[str] | None:
    found: Iterator[re.Match[str]] = sign.finditer(text)
    match = None
    for match in found:  # noqa: B007
        pass
    return match


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
