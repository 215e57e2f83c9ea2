"""
Which images a Dockerfile builds upon, and the same text with those images by their digest.

Only what names an image is read: FROM lines, with the ARG defaults before the first of them, and
`from` of COPY and of a mount. A name that depends on more than that is left as it is, for the
builder to refuse or to know; `unclear` says that there is one, for whoever must know them all. In
the other text nothing is changed but the names themselves, so that its lines keep their numbers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from runyard.domain.errors import Invalid
from runyard.domain.images import ImageRef

_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(\S+)\s*")
_WORD: Final = re.compile(r"\S+")
_ARG: Final = re.compile(r"([A-Za-z_]\w*)(?:=(.*))?")
# Where a name is set to nothing, `:-` and `-` are not the same; the latter is nobody's habit.
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^{}$]*))?\})")
_BUILDERS: Final = (
    re.compile(  # arguments that a builder sets, whatever the Dockerfile says of them
        r"(?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE|RUNYARD_.*|BUILDKIT_.*"
        r"|.*_PROXY|SOURCE_DATE_EPOCH",
        re.IGNORECASE,
    )
)
_PLAIN_ARG: Final = re.compile(r"[A-Za-z_]\w*(?:=(?:[^\"'\\]*|\"[^\"'\\]*\"|'[^\"'\\]*'))?")
_HEREDOC: Final = re.compile(r"(?<!\S)\d*<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
_FROM: Final = re.compile(r"--from=(\S+)")
_MOUNT_FROM: Final = re.compile(r"(?:=|,)from=([^,]+)", re.IGNORECASE)
_ODD: Final = re.compile(r"[\"'\\`$]")  # a builder takes them out of a flag, or fills them in
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")  # other ends of lines are none in a Dockerfile
_Words = list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class _Named:
    """An image's name as it stands in the text, from `start` to `end`, and what it stands for."""

    image: str
    start: int
    end: int


def read(text: str) -> tuple[str, ...]:
    """Return the images that a Dockerfile names, each once, in their order; no stage of its own."""
    return tuple(dict.fromkeys(named.image for named in _named(text)))


def pin(text: str, digests: Mapping[str, str]) -> str:
    """Return the Dockerfile with each image of `digests` named by its digest."""
    for named in reversed(tuple(_named(text))):
        ref = ImageRef.parse(named.image)
        if (digest := digests.get(named.image)) and not ref.digest:
            text = text[: named.start] + str(ref.pinned(digest)) + text[named.end :]
    return text


def unclear(text: str) -> str:
    """Return the first instruction that may name an image which `read` does not tell, if any does.

    Builders do not agree what a here-document is, so its lines are looked at as well.
    """
    for heredocs in (True, False):
        arguments = 0
        for words in _instructions(text, heredocs=heredocs):
            shown = " ".join(word for word, _, _ in words)[:200]
            keyword, rest = _command(words)
            flags = _flags(rest)
            match keyword:
                case "ARG" if not arguments and not all(map(_PLAIN_ARG.fullmatch, _texts(rest))):
                    return shown
                case "FROM":
                    arguments += 1
                case "COPY" | "ADD" | "RUN" if any(map(_ODD.search, flags)):
                    return shown
                case _:
                    pass
        told = [named for named in _all_named(text, heredocs=heredocs) if named.image != "scratch"]
        missed = [named.image for named in told if not _is_image(named.image)]
        if missed:
            return missed[0][:200] or "FROM"
        if not heredocs and {named.image for named in told} - set(read(text)):
            return "a here-document that has lines like FROM or COPY --from"
    return ""


def flags_of_run(text: str) -> tuple[str, ...]:
    """Return the flags of all RUN instructions as they are written."""
    commands = map(_command, _instructions(text, heredocs=False))
    return tuple(flag for keyword, rest in commands if keyword == "RUN" for flag in _flags(rest))


def after_each_from(text: str, line: str) -> str:
    """Return the Dockerfile with an instruction more at the beginning of each stage."""
    ends = [words[-1][2] for words in _instructions(text) if words[0][0].upper() == "FROM"]
    for end in reversed(ends):
        at = text.find("\n", end)
        head, tail = (text, "") if at < 0 else (text[:at], text[at + 1 :])
        text = f"{head}\n{line}\n{tail}"
    return text


def _named(text: str) -> Iterator[_Named]:
    return (named for named in _all_named(text) if _is_image(named.image))


def _all_named(text: str, *, heredocs: bool = True) -> Iterator[_Named]:
    """Yield what stands where an image may be named, unless it is a stage."""
    known: dict[str, str] = {}
    stages: set[str] = set()
    count = 0
    for words in _instructions(text, heredocs=heredocs):
        keyword, rest = _command(words)
        plain = [word for word in rest if not word[0].startswith("--")]
        match keyword:
            case "ARG" if not count:
                known |= _defaults(_texts(rest), known)
            case "FROM" if plain:
                word, start, end = plain[0]
                image = _filled(word, known)
                if image.lower() not in stages:
                    yield _Named(image, start, end)
                if len(plain) > 2 and plain[1][0].upper() == "AS":
                    stages.add(plain[2][0].lower())
                stages.add(str(count))
                count += 1
            case "COPY" | "RUN":
                for word, start, _ in itertools.takewhile(lambda w: w[0].startswith("--"), rest):
                    pattern = _FROM if keyword == "COPY" else _MOUNT_FROM
                    source = pattern.search(word)
                    if source and source[1].lower() not in stages:
                        yield _Named(source[1], start + source.start(1), start + source.end(1))
            case _:
                pass


def _command(words: _Words) -> tuple[str, _Words]:
    """Return an instruction's keyword, also of one that is left for later, and what follows."""
    while len(words) > 1 and words[0][0].upper() == "ONBUILD":
        words = words[1:]
    return words[0][0].upper(), words[1:]


def _flags(words: _Words) -> list[str]:
    return list(itertools.takewhile(lambda word: word.startswith("--"), _texts(words)))


def _texts(words: _Words) -> list[str]:
    return [word for word, _, _ in words]


def _is_image(name: str) -> bool:
    try:
        ImageRef.parse(name)
    except Invalid:
        return False
    return name != "scratch"


def _defaults(words: list[str], known: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        arg = _ARG.fullmatch(word)
        if arg:
            found[arg[1]] = _filled(arg[2] or "", {**known, **found})
    return found


def _filled(word: str, known: Mapping[str, str]) -> str:
    """Put the arguments' defaults in; what is not known stays, and is no image's name then."""

    def value(variable: re.Match[str]) -> str:
        name, sign, other = variable[1] or variable[2], variable[3], variable[4]
        if _BUILDERS.fullmatch(name):
            return variable[0]
        if sign == "+":
            return str(other) if known.get(name) else ""
        return known.get(name) or (other if sign == "-" else variable[0])

    return _VARIABLE.sub(value, word.strip("\"'"))


def _instructions(text: str, *, heredocs: bool = True) -> Iterator[_Words]:
    """Yield the words of each instruction with where they stand; here-documents are passed over."""
    escape, at_top = "\\", True
    waiting: list[tuple[str, bool]] = []  # ends of here-documents, and whether tabs precede them
    words: _Words = []
    is_open = False  # the last word goes on in the next line
    for found in _LINE.finditer(text):
        line, start = found[0], found.start()
        bare = line.strip().lstrip("\ufeff")
        if waiting:
            end, tabs = waiting[0]
            if (line.lstrip("\t") if tabs else line).rstrip("\r\n") == end:
                waiting.pop(0)
            continue
        directive = _DIRECTIVE.fullmatch(bare) if at_top else None
        at_top = directive is not None
        if directive and directive[1].lower() == "escape" and directive[2] in ("\\", "`"):
            escape = directive[2]
        if not bare or bare.startswith("#"):
            continue  # also amid an instruction
        goes_on = bare.endswith(escape)
        length = len(line.rstrip()) - (1 if goes_on else 0)
        more = [
            (word[0].lstrip("\ufeff"), start + word.end() - len(word[0].lstrip("\ufeff")),
             start + word.end())
            for word in _WORD.finditer(line, 0, length)
        ]  # fmt: skip
        if is_open and words and more and more[0][1] == start:
            (first, begin, _), (second, _, end_of) = words.pop(), more.pop(0)
            words.append((first + second, begin, end_of))
        words += more
        is_open = goes_on and length > 0 and not line[length - 1].isspace()
        if goes_on or not words:
            continue
        if heredocs and _command(words)[0] in ("RUN", "COPY", "ADD"):
            joined = " ".join(_texts(words))
            waiting = [(doc[3], doc[1] == "-") for doc in _HEREDOC.finditer(joined)]
        yield words
        words = []
    if words:
        yield words
