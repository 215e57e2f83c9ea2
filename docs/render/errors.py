"""The tree of errors: code, HTTP status, and what the caller should do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from . import table

# Lines like "- Invalid    mend the request    HTTP 422" in the module's own overview.
_ADVICE = re.compile(r"^\s+[-+] (\w+)\s{2,}(\S.*?)(?:\s{2,}HTTP.*)?$", re.MULTILINE)


def page(module: ModuleType) -> str:
    advice = dict(_ADVICE.findall(module.__doc__ or ""))
    rows = [
        (f"`{error.code}`", str(error.status), f"{'→ ' * depth}{advice.get(error.__name__, '')}")
        for depth, error in kinds(module.RunyardError)
    ]
    return PROSE + table(("code", "HTTP status", "what to do"), rows) + "\n"


def kinds(root: type[Any], depth: int = 0) -> Iterator[tuple[int, type[Any]]]:
    """Yield every error with its depth in the tree, the root itself left out."""
    for below in root.__subclasses__():
        if below.__module__ != root.__module__:
            continue  # somebody's own, which never leaves their process
        yield depth, below
        yield from kinds(below, depth + 1)


PROSE = """\
# Errors

Errors are named for what to do next. The server sends them as `application/problem+json`
(RFC 9457): `detail` says what is wrong, `hint` what to do or type, `violations` lists every
field that is wrong, and `code` never changes, so scripts can match it. The command line prints
the same and leaves with exit code 1 (2 if the command itself was mistyped).

```json
{
  "title": "Not found",
  "status": 404,
  "code": "not_found",
  "detail": "no queue gpus in team vision; there are: gpu, cpu",
  "hint": "runyard queue list",
  "violations": [],
  "request_id": "01JD…"
}
```

An arrow marks a kind of the one above: whoever handles that handles this.

"""
