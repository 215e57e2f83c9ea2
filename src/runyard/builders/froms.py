"""
Which images a Dockerfile builds upon, and the same text with those images by their digest.

Only what names an image is read: FROM lines, with the ARG defaults before the first of them, and
`COPY --from`. A name that depends on more than that is left as it is, for the builder to refuse or
to know. In the other text nothing is changed but the names themselves, so that its lines keep
their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from runyard.domain.errors import Invalid
from runyard.domain.images import ImageRef

_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(\S+)\s*")
_WORD: Final = re.compile(r"\S+")
_ARG: Final = re.compile(r"([A-Za-z_]\w*)(?:=(.*))?")
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([-+])([^{}$]*))?\})")
_HEREDOC: Final = re.compile(r"<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
_FROM: Final = re.compile(r"--from=(\S+)")


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


def after_each_from(text: str, line: str) -> str:
    """Return the Dockerfile with an instruction more at the beginning of each stage."""
    ends = [words[-1][2] for words in _instructions(text) if words[0][0].upper() == "FROM"]
    for end in reversed(ends):
        at = text.find("\n", end)
        head, tail = (text, "") if at < 0 else (text[:at], text[at + 1 :])
        text = f"{head}\n{line}\n{tail}"
    return text


def _named(text: str) -> Iterator[_Named]:
    known: dict[str, str] = {}
    stages: set[str] = set()
    count = 0
    for words in _instructions(text):
        (keyword, *_), rest = words[0], words[1:]
        plain = [word for word in rest if not word[0].startswith("--")]
        match keyword.upper():
            case "ARG" if not count:
                known |= _defaults([word for word, _, _ in rest], known)
            case "FROM" if plain:
                word, start, end = plain[0]
                image = _filled(word, known)
                if image.lower() not in stages and _is_image(image):
                    yield _Named(image, start, end)
                if len(plain) > 2 and plain[1][0].upper() == "AS":
                    stages.add(plain[2][0].lower())
                stages.add(str(count))
                count += 1
            case "COPY":
                for word, start, end in rest:
                    source = _FROM.fullmatch(word)
                    if source and source[1].lower() not in stages and _is_image(source[1]):
                        yield _Named(source[1], start + len("--from="), end)
            case _:
                pass


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
        if arg and arg[2] is not None:
            found[arg[1]] = _filled(arg[2], {**known, **found})
    return found


def _filled(word: str, known: Mapping[str, str]) -> str:
    """Put the arguments' defaults in; what is not known stays, and is no image's name then."""

    def value(variable: re.Match[str]) -> str:
        name, sign, other = variable[1] or variable[2], variable[3], variable[4]
        if sign == "+":
            return str(other) if known.get(name) else ""
        return known.get(name) or (other if sign == "-" else variable[0])

    return _VARIABLE.sub(value, word.strip("\"'"))


def _instructions(text: str) -> Iterator[list[tuple[str, int, int]]]:
    """Yield the words of each instruction with where they stand; here-documents are passed over."""
    escape, at_top = "\\", True
    waiting: list[tuple[str, bool]] = []  # ends of here-documents, and whether tabs precede them
    words: list[tuple[str, int, int]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
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
        words += [
            (word[0].lstrip("\ufeff"), start + word.end() - len(word[0].lstrip("\ufeff")),
             start + word.end())
            for word in _WORD.finditer(line, 0, length)
        ]  # fmt: skip
        if goes_on or not words:
            continue
        if words[0][0].upper() in ("RUN", "COPY", "ADD"):
            joined = " ".join(word for word, _, _ in words)
            waiting = [(doc[3], doc[1] == "-") for doc in _HEREDOC.finditer(joined)]
        yield words
        words = []
    if words:
        yield words
