"""
What an agent in secure mode refuses: whatever a submission changed of its job and its queue.

Jobs are made by whoever may save them, and queues by their admins. A submission chooses among
both and gives values; here it gives no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runyard.domain.errors import Violation

_WHERE: Final = {
    "dockerfile": "would build another image",
    "working_dir": "would start the command in another directory",
}


def changes_of(spec: Mapping[str, Any]) -> list[Violation]:
    """Return what an item's resolved spec says beyond its job and its queue."""
    over, source = spec["overrides"], spec["source"]
    own = list(source.get("entry_point") or ())
    found = []
    if over.get("entry_point") and list(over["entry_point"]) != own:
        found.append(Violation("overrides.entry_point", "replaces the job's own command"))
    elif over.get("args") and not own:
        # The engine lets arguments take the place of a command that the image only suggests.
        told = "would take the place of the image's own command, since the job names no entry point"
        found.append(Violation("overrides.args", told))
    found += [Violation(f"overrides.{key}", told) for key, told in _WHERE.items() if over.get(key)]
    found += [
        Violation(f"builder.{key}", "would build another image")
        for key in spec.get("builder") or ()
    ]
    resource = spec["resource"]
    found += [
        Violation(f"resource_args.{resource}.{key}", "is not as the queue has it")
        for key in spec.get("changed") or ()
    ]
    return found
