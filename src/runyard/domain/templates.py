"""
Queue config templates: `{{name}}` in an admin's configuration, filled with a member's values.

A template is data, never a program: a placeholder is replaced once, by a value that has the
variable's type and lies within its bounds, and what was put in is not looked at again. A
placeholder that is a whole value takes the variable's type; one inside of a text is written into
it. Both the server, at submission, and the agent, before it runs anything, fill the template and
check the result, by this module.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.domain.errors import Invalid, Violation

TYPES: Final = ("string", "integer", "number", "boolean")
MAX_TEXT: Final = 4096  # characters of a string's value
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_KEYS: Final = ("type", "default", "minimum", "maximum", "enum", "description")
# A value with one of these would be looked at again: by us, or as a macro by the agent.
_NOT_IN_VALUES: Final = ("{{", "}}", "${")
_WORDS: Final = {"true": True, "false": False}

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Variable:
    """What a member may choose: a value of `type` within the bounds. `default` None: must be given.

    `minimum` and `maximum` are for integers and numbers, both included. `said` is the order in
    which its author wrote it.
    """

    type: str
    default: Value | None = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    enum: tuple[Value, ...] | None = None
    description: str = ""
    said: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON Schema, in its author's order: what was not said is left out."""
        found: dict[str, Any] = {"type": self.type}
        for key in ("default", "minimum", "maximum"):
            if (value := getattr(self, key)) is not None:
                found[key] = value
        if self.enum is not None:
            found["enum"] = list(self.enum)
        if self.description:
            found["description"] = self.description
        return {key: found[key] for key in (*self.said, *found) if key in found}

    def check(self, given: Any) -> Value:
        """Return the value, of the variable's own type.

        Raises:
            ValueError: it is not what may be given; the text says what may.
        """
        value = self._typed(given)
        if isinstance(value, str):
            _check_text(value)
        if self.enum is not None and not any(_same(value, one) for one in self.enum):
            raise ValueError(f"{_show(given)} is none of {', '.join(map(_show, self.enum))}")
        if self.minimum is not None and value < self.minimum:  # type: ignore[operator]
            raise ValueError(f"{_show(value)} is below the minimum of {self.minimum}")
        if self.maximum is not None and value > self.maximum:  # type: ignore[operator]
            raise ValueError(f"{_show(value)} is above the maximum of {self.maximum}")
        return value

    def _typed(self, given: Any) -> Value:
        # bool is a kind of int to Python, and to nobody else: ask for it first.
        match self.type, given:
            case "boolean", bool():
                return given
            case (("integer" | "number"), bool()):
                pass
            case "integer", int():
                return given
            case "integer", float() if given.is_integer():  # JSON knows one kind of number
                return int(given)
            case "number", int() | float() if math.isfinite(given):
                return given
            case "string", str():
                return given
        raise ValueError(f"{_show(given)} is not {_A[self.type]}")

    def read(self, text: str) -> Any:
        """Return a value typed as text (on a command line) in the variable's type, if it can be."""
        if self.type == "boolean":
            return _WORDS.get(text.lower(), text)
        try:
            if self.type == "integer":
                return int(text)
            if self.type == "number":
                return float(text)
        except ValueError:
            pass
        return text


_A: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
Variables = Mapping[str, Variable]


def _check_text(value: str) -> None:
    if len(value) > MAX_TEXT:
        raise ValueError(f"a text of {len(value)} characters; {MAX_TEXT} at most")
    if found := next((bad for bad in _NOT_IN_VALUES if bad in value), None):
        raise ValueError(f"a text may not contain {found!r}")
    if "\0" in value:
        raise ValueError("a text may not contain NUL")


def _same(a: Value, b: Value) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _show(value: Any) -> str:
    text = "true" if value is True else "false" if value is False else repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


# -- declaring -----------------------------------------------------------------------------


def parse_variables(data: Mapping[str, Any]) -> dict[str, Variable]:
    """Read the variables of a queue, all mistakes at once.

    Raises:
        Invalid: with a violation per mistake.
    """
    wrong: list[Violation] = []
    read: dict[str, Variable] = {}
    for name, schema in data.items():
        path = f"variables.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wrong.append(Violation(path, "a name is letters, digits and '_', 64 at most"))
        elif not isinstance(schema, Mapping):
            wrong.append(Violation(path, "is a mapping, such as {type: integer, maximum: 8}"))
        else:
            found = _declared(path, schema, wrong)
            if found is not None:
                read[name] = found
    if wrong:
        raise Invalid("the queue's variables are not valid", violations=wrong)
    return read


def _declared(path: str, schema: Mapping[str, Any], wrong: list[Violation]) -> Variable | None:
    before = len(wrong)
    for key in schema:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            told = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_KEYS)}"
            wrong.append(Violation(f"{path}.{key}", "unknown" + told))
    kind = schema.get("type")
    if kind == "float":  # as the peer's page calls it
        kind = "number"
    if kind not in TYPES:
        wrong.append(Violation(f"{path}.type", f"is one of {', '.join(TYPES)}"))
        return None
    plain = Variable(kind)
    for key in ("minimum", "maximum"):
        bound = schema.get(key)
        if bound is not None and kind not in ("integer", "number"):
            wrong.append(Violation(f"{path}.{key}", f"does not apply to a {kind}"))
        elif bound is not None:
            _try(plain, bound, f"{path}.{key}", wrong)
    enum = schema.get("enum")
    if enum is not None and (not isinstance(enum, Sequence) or isinstance(enum, str) or not enum):
        wrong.append(Violation(f"{path}.enum", "is a list of the values that may be chosen"))
        enum = None
    for n, one in enumerate(enum or ()):
        _try(plain, one, f"{path}.enum.{n}", wrong)
    description = schema.get("description", "")
    if not isinstance(description, str) or len(description) > 1000:
        wrong.append(Violation(f"{path}.description", "is a text of 1000 characters at most"))
    if len(wrong) > before:
        return None
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and low > high:
        wrong.append(Violation(f"{path}.minimum", f"{low} is above the maximum of {high}"))
        return None
    made = Variable(
        type=kind,
        default=schema.get("default"),
        minimum=low,
        maximum=high,
        enum=None if enum is None else tuple(enum),
        description=description,
        said=tuple(key for key in schema if key in _KEYS),
    )
    if made.default is not None:
        _try(made, made.default, f"{path}.default", wrong)
    return made


def _try(variable: Variable, value: Any, path: str, wrong: list[Violation]) -> None:
    try:
        variable.check(value)
    except ValueError as error:
        wrong.append(Violation(path, str(error)))


def check_template(config: Mapping[str, Any], variables: Variables) -> tuple[Violation, ...]:
    """Return what is wrong with the placeholders of a configuration: none but what is declared."""
    wrong = []
    used = set()
    for path, text in _texts(config, ""):
        for name in _PLACEHOLDER.findall(text):
            used.add(name)
            if name not in variables:
                near = difflib.get_close_matches(name, variables, n=1)
                told = f"; did you mean {near[0]}?" if near else ""
                wrong.append(
                    Violation(f"config{path}", f"{{{{{name}}}}} is not among the variables{told}")
                )
        if "{{" in _PLACEHOLDER.sub("", text) or "}}" in _PLACEHOLDER.sub("", text):
            wrong.append(Violation(f"config{path}", "has a '{{' or '}}' without its other half"))
    for path, key in _keys(config, ""):
        if "{{" in key or "}}" in key:
            wrong.append(
                Violation(f"config{path}", "a placeholder stands in a value, not in a key")
            )
    wrong += [
        Violation(f"variables.{name}", f"the config has no {{{{{name}}}}}")
        for name in variables
        if name not in used
    ]
    return tuple(wrong)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _texts(below, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for n, below in enumerate(value):
            yield from _texts(below, f"{path}.{n}")


def _keys(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield f"{path}.{key}", str(key)
            yield from _keys(below, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for n, below in enumerate(value):
            yield from _keys(below, f"{path}.{n}")


# -- filling -------------------------------------------------------------------------------


def chosen(variables: Variables, given: Mapping[str, Any]) -> dict[str, Value]:
    """Return the value of each variable: what was given, else the default.

    Raises:
        Invalid: with a violation for each unknown name, missing value and value out of bounds.
    """
    wrong = []
    for name in given:
        if name not in variables:
            near = difflib.get_close_matches(str(name), variables, n=1)
            told = (
                f"did you mean {near[0]}?" if near else f"it has {', '.join(variables) or 'none'}"
            )
            wrong.append(Violation(f"template_variables.{name}", f"not of this queue; {told}"))
    values: dict[str, Value] = {}
    for name, variable in variables.items():
        value = given.get(name)
        if value is None:
            value = variable.default
        if value is None:
            wrong.append(
                Violation(f"template_variables.{name}", "must be given: it has no default")
            )
            continue
        try:
            values[name] = variable.check(value)
        except ValueError as error:
            wrong.append(Violation(f"template_variables.{name}", str(error)))
    if wrong:
        raise Invalid("the template's values are not valid", violations=wrong)
    return values


def fill(config: Any, values: Mapping[str, Value]) -> Any:
    """Return the configuration with each placeholder replaced, once."""
    if isinstance(config, str):
        whole = _PLACEHOLDER.fullmatch(config)
        if whole and whole[1] in values:
            return values[whole[1]]
        return _PLACEHOLDER.sub(lambda m: _text(values[m[1]]) if m[1] in values else m[0], config)
    if isinstance(config, Mapping):
        return {key: fill(below, values) for key, below in config.items()}
    if isinstance(config, list | tuple):
        return [fill(below, values) for below in config]
    return config


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
