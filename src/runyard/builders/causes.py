"""
What pip, uv, apt and the builders say when a build fails, and what it means: pure.

They have no codes for this, only sentences. Those that are known stand here, the surest first. An
address in them may hold a password, so that no more of it than its host is ever quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

Cause = tuple[str, str]  # what went wrong, and what to do about it
_Sign = tuple[re.Pattern[str], Callable[[re.Match[str]], Cause]]

_LONGEST_WORDS: Final = 300
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


def of_step(said: str) -> Cause | None:
    """Return why a step of the job's own failed, as far as its output tells that."""
    if (match := last(_NO_MATCH, said)) and (wants := _wanted_python(match[1], said)):
        return _other_python(match[1], wants)
    return _first(_OF_STEPS, said)


def of_builder(said: str) -> Cause | None:
    """Return why a build failed, as far as the builder's own words tell that."""
    return _first(_OF_BUILDERS, said)


def last(sign: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last match in a text."""
    match = None
    for match in sign.finditer(text):  # noqa: B007
        pass
    return match


def _first(signs: Sequence[_Sign], said: str) -> Cause | None:
    for sign, tell in signs:
        if match := last(sign, said):
            return tell(match)
    return None


def _other_python(package: str, wants: str) -> Cause:
    return f"{package} does not run on this Python: it wants {wants}", _PYTHON


def _wanted_python(requirement: str, said: str) -> str:
    """Return what Python a version wants that pip left out for it; "" if that is not why."""
    _, _, version = requirement.partition("==")
    ignored = last(_IGNORED, said)
    if not version or not ignored:
        return ""
    for entry in ignored[1].split(";"):
        named, _, wants = entry.strip().partition(" Requires-Python ")
        if named == version:
            return wants.split(" ERROR:")[0].strip()
    return ""


def _no_index(match: re.Match[str]) -> Cause:
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


def _no_secret(name: str) -> Cause:
    return (
        f"the build's secret {name!r} was not given",
        "name it under `builder.secrets` in the agent's file or in the queue's configuration",
    )


# What a step of the job's own said, the surest first. Of several matches the last one counts.
_OF_STEPS: Final[tuple[_Sign, ...]] = (
    (
        re.compile(r"No space left on device|\bENOSPC\b|os error 28|Disk quota exceeded", re.I),
        lambda _: (
            "the disk is full",
            "free some space on the builder's host, or let the image install less",
        ),
    ),
    (
        re.compile(r"Package '([^']+)' requires a different Python: \S+ not in '([^']+)'"),
        lambda m: _other_python(m[1], m[2]),
    ),
    (
        re.compile(r"Because the (?:current|requested) Python version \([^)]*\) does not satisfy "
                   r"Python(\S+) and ((?:(?! depends).)+?) depends"),
        lambda m: _other_python(m[2], m[1]),
    ),
    (
        re.compile(r"(?:connection broken by '(?:NewConnectionError|ConnectTimeoutError"
                   r"|NameResolutionError|ProxyError|ReadTimeoutError|ProtocolError|SSLError)"
                   r"|Could not fetch URL \S+: There was a problem confirming the ssl certificate"
                   r"|Failed to (?:fetch|download):? `|error sending request for url"
                   r"|Request failed after \d+ retries).*"),
        _no_index,
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
        _NO_MATCH,
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
_OF_BUILDERS: Final[tuple[_Sign, ...]] = (
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
