"""
`${name}` in the string values of a resource's configuration, filled by the agent.

Built-in names come first and cannot be shadowed. Any other name may read a variable of the
agent's environment, but only one that the agent's own config allows: whoever may submit to
a queue would otherwise read its secrets. What nobody knows stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from runyard.domain.errors import Rejected

BUILT_IN: Final = (
    "project_name", "entity_name", "run_id", "run_name", "image_uri", "author",
)  # fmt: skip
_MACRO = re.compile(r"\$\{(\w+)\}")


def fill(
    value: Any,
    macros: Mapping[str, str],
    environment: Mapping[str, str],
    allowed: Collection[str],
) -> Any:
    """Return `value` with every macro in its strings filled; keys are left alone.

    Raises:
        Rejected: a macro names a variable of the agent's environment that is not `allowed`.
    """

    def one(found: re.Match[str]) -> str:
        name = found[1]
        if name in macros:
            return macros[name]
        if name in environment:
            if name in allowed:
                return environment[name]
            raise Rejected(
                f"${{{name}}} would read the agent's environment, which its config does not allow",
                hint=f"add {name} to `macros` in the agent's config, or take the macro out",
            )
        return found[0]

    match value:
        case str():
            return _MACRO.sub(one, value)
        case Mapping():
            return {k: fill(v, macros, environment, allowed) for k, v in value.items()}
        case list() | tuple():
            return [fill(v, macros, environment, allowed) for v in value]
        case _:
            return value
