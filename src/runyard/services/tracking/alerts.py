"""
Alerts: what a program wants its people to know at once.

They are kept with the run, and told by the hooks of its user or team that want `run.alert`. The
same title is told once in a while, so that a loop that alerts fills nobody's mailbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from runyard.domain.access import Action
from runyard.domain.errors import TooMuch
from runyard.domain.hooks import Event, Hook, masked
from runyard.services.call import Call
from runyard.services.notifying import delivery
from runyard.services.tracking import runs
from runyard.store import hooks
from runyard.store.db import Row
from runyard.store.hooks import Delivery
from runyard.store.tracking import alerts as rows
from runyard.wire import rest_hooks as wire

MOST: Final = 1000  # of one run
WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(days=365)
_LONGEST_TITLE: Final = 200
_LONGEST_BODY: Final = 10_000


def notify(
    call: Call,
    run: Row,
    *,
    title: str,
    body: str,
    level: str,
    wait: timedelta | None,
    url: str,
) -> bool:
    """Keep an alert and tell it; False if one of that title was told less than `wait` ago.

    `run` is from `find`; `url` is the server's, for links.

    Raises:
        TooMuch: the run has as many alerts as one can.
    """
    title, body = title[:_LONGEST_TITLE], body[:_LONGEST_BODY]
    rows.lock_run(call.tx, run["pk"])
    since = call.now - min(WAIT if wait is None else wait, _LONGEST_WAIT)
    if rows.raised_since(call.tx, run["pk"], title, since):
        return False
    if rows.count(call.tx, run["pk"]) >= MOST:
        raise TooMuch(f"run {run['name']} has {MOST} alerts, which is the most")
    alert_id = call.new_id()
    rows.add(
        call.tx, alert_id, run["pk"], title=title, body=body, level=level, now=call.now
    )  # fmt: skip
    told = [_told(call, hook, alert_id, run, title, body, level, url) for hook in _hooks(call, run)]
    hooks.deliver(call.tx, told, call.now)
    return True


def find(call: Call, entity: str, project: str, name: str) -> Row:
    """Return the run that an alert is about. Raises: NotFound, Forbidden."""
    return runs.find(call, entity, project, name, Action.TRACK)


def page(call: Call, run_id: str, *, before: str, limit: int) -> list[Row]:
    """Return alerts, the newest first; an empty `before` begins there. The caller has found the
    run with the right to see it."""
    return list(rows.page(call.tx, run_id, before=before or "~", limit=limit))


def _hooks(call: Call, run: Row) -> Iterator[Hook]:
    queue = rows.queue_of(call.tx, run["pk"])
    for hook in hooks.enabled(call.tx):
        if hook.entity_id != run["entity_id"]:
            continue
        is_ours = queue is not None and queue["entity_id"] == hook.entity_id
        name = queue["name"] if queue is not None and is_ours else ""
        if hook.wants(Event.RUN_ALERT, name, run["author_id"]):
            yield hook


def _told(
    call: Call, hook: Hook, alert_id: str, run: Row, title: str, body: str, level: str, url: str
) -> Delivery:
    shown, message = masked(title), masked(body)
    entity, project, name = run["entity"], run["project"], run["name"]
    return delivery(
        call, hook, Event.RUN_ALERT, alert_id,
        at=call.now, message=message,
        text=f"{level}: {shown} (run {entity}/{project}/{name} of {run['author']})"
        + (f": {message}" if message else ""),
        run=wire.NotedRun(
            entity=entity, project=project, run_id=name,
            url=f"{url}/{entity}/{project}/runs/{name}",
        ),
    )  # fmt: skip
