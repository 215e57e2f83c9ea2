"""
Regular expressions of strangers, matched in time that grows with pattern times text.

The standard library's matcher tries one way after another, and a short pattern can have more ways
than the universe has seconds. This one follows all ways at once: a set of places in a small
program, one step for each character (Thompson, 1968). It knows what filters need: characters,
classes, `.`, groups, `|`, `* + ? {m,n}`, `^ $ \\b`, and `(?i)` in front. No captures, no
references back, no looking around.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeAlias

from runyard.domain.errors import Invalid

LONGEST: Final = 500  # characters of a pattern
_MOST_STEPS: Final = 2000
_MOST_REPEATS: Final = 200
_DEEPEST: Final = 20

Test = Callable[[str], bool]
_CLASSES: Final[dict[str, Test]] = {
    "d": str.isdigit,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


@dataclass(slots=True)
class _Step:
    """`test` eats a character; `at` holds at a place and eats none; else both ways are taken."""

    test: Test | None = None
    at: str = ""
    ways: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SafeRegex:
    """A pattern that was understood; the last step is the end."""

    steps: tuple[_Step, ...]
    ignore_case: bool

    @classmethod
    def parse(cls, pattern: str, *, ignore_case: bool = False) -> SafeRegex:
        """Raises: Invalid: what is wrong with it, or that it is too long."""
        if len(pattern) > LONGEST:
            raise Invalid(f"a regular expression has {LONGEST} characters at most")
        if pattern.startswith("(?i)"):
            pattern, ignore_case = pattern[4:], True
        tree = _Parser(pattern, ignore_case=ignore_case).whole()
        steps: list[_Step] = []
        _emit(tree, steps)
        steps.append(_Step())
        return cls(tuple(steps), ignore_case)

    def finds(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text."""
        if self.ignore_case:
            text = text.lower()
        end = len(self.steps) - 1
        places: set[int] = set()
        for at in range(len(text) + 1):
            places = self._spread(places | {0}, text, at)
            if end in places:
                return True
            if at < len(text):
                places = {
                    n + 1
                    for n in places
                    if (test := self.steps[n].test) is not None and test(text[at])
                }
        return False

    def _spread(self, places: set[int], text: str, at: int) -> set[int]:
        reached: set[int] = set()
        todo = list(places)
        while todo:
            n = todo.pop()
            if n in reached:
                continue
            reached.add(n)
            step = self.steps[n]
            if step.at:
                if _holds(step.at, text, at):
                    todo.append(n + 1)
            elif step.test is None:
                todo += step.ways
        return reached


def _holds(what: str, text: str, at: int) -> bool:
    if what == "^":
        return at == 0
    if what == "$":
        return at == len(text)
    word = _CLASSES["w"]
    edge = (at > 0 and word(text[at - 1])) != (at < len(text) and word(text[at]))
    return edge == (what == "b")


# A tree: (kind, …). "one" test, "at" what, "all" parts, "any" parts, "repeat" part least most.
_Tree: TypeAlias = tuple[Any, ...]


def _emit(tree: _Tree, steps: list[_Step]) -> None:
    if len(steps) > _MOST_STEPS:
        raise Invalid("the regular expression is too large with its repetitions written out")
    match tree:
        case ("one", test):
            steps.append(_Step(test=test))
        case ("at", what):
            steps.append(_Step(at=what))
        case ("all", parts):
            for part in parts:
                _emit(part, steps)
        case ("any", parts):
            _emit_any(parts, steps)
        case ("repeat", part, least, most):
            _emit_repeat(part, least, most, steps)


def _emit_any(parts: list[_Tree], steps: list[_Step]) -> None:
    fork = _Step()
    steps.append(fork)
    ends = []
    for part in parts:
        fork.ways.append(len(steps))
        _emit(part, steps)
        ends.append(_Step())
        steps.append(ends[-1])
    for end in ends:
        end.ways.append(len(steps))


def _emit_repeat(part: _Tree, least: int, most: int | None, steps: list[_Step]) -> None:
    for _ in range(least):
        steps.append(_Step(ways=[len(steps) + 1]))  # so that repeating nothing is counted, too
        _emit(part, steps)
    if most is None:
        fork, at = _Step(), len(steps)
        steps.append(fork)
        _emit(part, steps)
        steps.append(_Step(ways=[at]))
        fork.ways += [at + 1, len(steps)]
        return
    forks = []
    for _ in range(most - least):
        forks.append(_Step(ways=[len(steps) + 1]))
        steps.append(forks[-1])
        _emit(part, steps)
    for fork in forks:
        fork.ways.append(len(steps))


class _Parser:
    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        self._left, self._at, self._depth = pattern, 0, 0
        self._ignore_case = ignore_case

    def whole(self) -> _Tree:
        tree = self._choice()
        if self._at < len(self._left):
            self._wrong("an unmatched )")
        return tree

    def _peek(self) -> str:
        return self._left[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _wrong(self, what: str) -> NoReturn:
        raise Invalid(f"the regular expression {self._left!r} has {what} at {self._at}")

    def _choice(self) -> _Tree:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._wrong(f"groups more than {_DEEPEST} deep")
        parts = [self._sequence()]
        while self._peek() == "|":
            self._take()
            parts.append(self._sequence())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else ("any", parts)

    def _sequence(self) -> _Tree:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return ("all", parts)

    def _repeated(self, part: _Tree) -> _Tree:
        char = self._peek()
        least, most = 0, None
        if char == "{" and (bounds := self._bounds()) is not None:
            least, most = bounds
        elif char and char in "*+?":
            self._take()
            least, most = int(char == "+"), (1 if char == "?" else None)
        else:
            return part
        if self._peek() == "?":  # lazy: the same, where nobody asks what was matched
            self._take()
        if self._peek() and self._peek() in "*+":
            self._wrong("a repetition of a repetition")
        return ("repeat", part, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        """Read `{m}`, `{m,}` or `{m,n}`; anything else is the character itself."""
        end = self._left.find("}", self._at)
        low, comma, high = self._left[self._at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdecimal() or (high and not high.isdecimal()):
            return None
        least = int(low)
        most = least if not comma else int(high) if high else None
        if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
            self._wrong(f"bounds of a repetition that are not in order, or over {_MOST_REPEATS}")
        self._at = end + 1
        return least, most

    def _atom(self) -> _Tree:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return ("one", self._class())
        if char == ".":
            return ("one", lambda c: c != "\n")
        if char in "^$":
            return ("at", char)
        if char in "*+?":
            self._wrong("nothing to repeat")
        if char == "\\":
            return self._escaped()
        return ("one", self._is(char))

    def _group(self) -> _Tree:
        if self._peek() == "?":
            self._take()
            if self._take() != ":":
                self._wrong("a kind of group that is not known here; ( ) and (?: ) are")
        tree = self._choice()
        if self._take() != ")":
            self._wrong("an unmatched (")
        return tree

    def _escaped(self) -> _Tree:
        char = self._take()
        if char in ("b", "B"):
            return ("at", char)
        if char in ("A", "Z", "z"):
            return ("at", "^" if char == "A" else "$")
        return ("one", self._escape(char))

    def _escape(self, char: str) -> Test:
        if char.lower() in _CLASSES:
            test = _CLASSES[char.lower()]
            return test if char.islower() else lambda c: not test(c)
        if not char or (char.isalnum() and char not in _ESCAPES):
            self._wrong(f"an escape that is not known here: \\{char}")
        return self._is(_ESCAPES.get(char, char))

    def _is(self, char: str) -> Test:
        wanted = char.lower() if self._ignore_case else char
        return lambda c: c == wanted

    def _class(self) -> Test:
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        first = True
        while (char := self._take()) != "]" or first:
            first = False
            if not char:
                self._wrong("an unmatched [")
            if char == "\\":
                tests.append(self._escape(self._take()))
            elif self._peek() == "-" and self._left[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                tests.append(self._between(char, self._take()))
            else:
                tests.append(self._is(char))
        return lambda c: any(test(c) for test in tests) != negated

    def _between(self, low: str, high: str) -> Test:
        if high == "\\" or high < low:
            self._wrong("a range whose ends are not in order")
        if self._ignore_case:
            return lambda c: low <= c <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high
