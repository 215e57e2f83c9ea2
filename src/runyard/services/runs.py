"""Looking at items and runs, stopping and cancelling them, and their output."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runyard.domain import outcomes
from runyard.domain.access import Action, Actor
from runyard.domain.errors import Conflict, Invalid, NotFound, RunyardError, StaleLease
from runyard.domain.items import AgentId, ItemState, LeaseToken, RunId
from runyard.domain.runs import RunState
from runyard.services import following, queues, stage_logs
from runyard.services.call import Call
from runyard.store import accounts, attempts, items, logs, views
from runyard.store import stage_logs as stage_log_rows
from runyard.store.db import Row
from runyard.wire import agent as wire


def list_items(
    call: Call,
    *,
    entity: str | None,
    queue: str | None,
    states: Collection[str],
    author: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Row]:
    """Return items of queues that the caller may see, the newest first."""
    _check_states(states, ItemState, "state")
    owners, queue_id = call.visible(), None
    if queue is not None:
        queue_id = queues.get(call, entity, queue).id
    elif entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    return views.items(
        call.tx,
        limit=limit,
        before=before,
        queue_id=queue_id,
        owners=owners,
        names=call.actor.queues,
        states=states,
        author_id=user_id(call, author),
    )


def get_item(call: Call, item_id: str, action: Action = Action.SEE) -> Row:
    """Return an item's row, joined. Raises: NotFound, Forbidden."""
    row = views.item(call.tx, item_id)
    if row is None or not call.actor.may(Action.SEE, row["owner_id"]):
        raise NotFound(f"no item {item_id!r} that you may see", hint="runyard item list")
    call.actor.need_queue(row["queue"])
    thing, author = f"item {item_id!r}", row["author_id"]
    call.actor.need(action, row["owner_id"], row["queue_entity"], thing, author_id=author)
    return row


def list_runs(
    call: Call,
    *,
    entity: str | None,
    project: str | None,
    states: Collection[str],
    name: str | None,
    author: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Row]:
    """Return runs of entities that the caller may see, the newest first."""
    _check_states(states, RunState, "state")
    targets = call.visible()
    if entity is not None:
        targets = [call.entity(entity, Action.SEE)["id"]]
    return views.runs(
        call.tx,
        limit=limit,
        before=before,
        targets=targets,
        queues=call.actor.queues,
        project=project,
        states=states,
        name=name,
        author_id=user_id(call, author),
    )


def get_run(call: Call, entity: str, project: str, name: str, action: Action = Action.SEE) -> Row:
    """Return a run's row, joined. Raises: NotFound, Forbidden."""
    row = views.run(call.tx, entity, project, name)
    if row is None or not _may_see_run(call.actor, row):
        raise NotFound(
            f"no run {entity}/{project}/{name} that you may see", hint="runyard run list"
        )
    if action is not Action.SEE:
        call.actor.need(
            action, row["target_id"], entity, f"run {name!r}", author_id=row["author_id"]
        )
    return row


def _may_see_run(actor: Actor, row: Row) -> bool:
    if actor.run_id is not None:
        return bool(actor.run_id == row["run_pk"])
    if actor.queues is not None and row["queue"] not in actor.queues:
        return False
    return actor.may(Action.SEE, row["target_id"])


def stop(call: Call, entity: str, project: str, name: str, why: str = "") -> Row:
    """Ask a run to end. One that still waits is cancelled here and now.

    Raises:
        NotFound, Forbidden. Conflict: it has ended already.
    """
    row = get_run(call, entity, project, name, Action.CANCEL)
    if RunState(row["run_state"]).is_final:
        raise Conflict(f"run {name} has ended already: {row['run_state']}")
    end(call, row["id"], RunId(row["run_pk"]), why)
    return get_run(call, entity, project, name)


def cancel(call: Call, item_id: str) -> Row:
    """Take an item out of its queue; if it runs already, stop its run. Raises as `stop`."""
    row = get_item(call, item_id, Action.CANCEL)
    if ItemState(row["state"]).is_final:
        raise Conflict(f"item {item_id} has ended already: {row['state']}")
    end(call, row["id"], RunId(row["run_pk"]))
    return get_item(call, item_id)


def end(call: Call, item_id: str | None, run_id: RunId, why: str = "") -> None:
    """Cancel what waits, and ask what runs to stop. The caller has checked the right to."""
    pair = items.locked(call.tx, [item_id]).get(item_id) if item_id else None
    if pair is not None and pair.item.state is ItemState.PENDING:
        moves = [
            (
                pair,
                outcomes.cancelled(pair.item, pair.run, call.now, why=_by(call, "cancelled", why)),
            )
        ]
        items.save(call.tx, moves, now=call.now, actor=call.actor.name)
        following.after(call, moves)
        return
    told = _by(call, "stopped", why)
    is_first = items.ask_to_stop(call.tx, run_id, told, call.now)
    call.tx.announce(f"run:{run_id}")
    if pair is not None and is_first:
        items.note(call.tx, pair.item, now=call.now, actor=call.actor.name, detail=told)
    if pair is not None and pair.item.lease is not None:
        call.tx.announce(f"agent:{pair.item.lease.agent_id}")


def _by(call: Call, what: str, why: str) -> str:
    return f"{what} by {call.actor.name}" + (f": {why}" if why else "")


def append_logs(
    call: Call, agent_id: AgentId, chunks: Sequence[wire.LogChunk], *, at_most: int
) -> list[wire.Logged]:
    """Take output of items the agent holds. Return how much of each attempt's, or of each stage's
    through all attempts, is here now.

    What came before is skipped, what leaves a gap is not taken: the agent goes on from the
    size it is told. A run's log is cut at `at_most` bytes; the agent is not held up by that.
    """
    pairs = items.locked(call.tx, [c.item_id for c in chunks])
    writing = _Writing(call, pairs, at_most)
    answers = []
    for chunk in chunks:
        try:
            answers.append(writing.take(agent_id, chunk))
        except RunyardError as error:
            answers.append(wire.Logged(code=error.code))
    writing.write()
    return answers


class _Writing:
    """Chunks of one request, placed one behind the other, written together."""

    def __init__(self, call: Call, pairs: dict[str, items.Pair], at_most: int) -> None:
        self._call, self._pairs, self._at_most = call, pairs, at_most
        self._bases: dict[str, int] = {}
        self._sizes: dict[RunId, int] = {}
        self._cut: dict[RunId, bool] = {}
        self._chunks: list[tuple[RunId, int, bytes]] = []
        self._stages = stage_logs.Writing(call, at_most)

    def take(self, agent_id: AgentId, chunk: wire.LogChunk) -> wire.Logged:
        pair = self._pairs.get(chunk.item_id)
        if pair is None:
            raise StaleLease(f"no item {chunk.item_id}")
        item = pair.item.held_by(agent_id, LeaseToken(chunk.token), self._call.now)
        if chunk.stage:
            return self._stages.take(item, chunk)
        run, base = pair.run.id, self._base(pair)
        size = self._sizes[run]
        skip = size - (base + chunk.offset)
        if self._cut[run]:
            return wire.Logged(size=chunk.offset + len(chunk.data))
        if skip < 0:  # a gap
            return wire.Logged(size=size - base)
        data, self._cut[run] = logs.fitted(
            chunk.data, skip=skip, room=self._at_most - size, at_most=self._at_most
        )
        if data:
            self._chunks.append((run, size, data))
            self._sizes[run] = size + len(data)
        if self._cut[run]:
            return wire.Logged(size=chunk.offset + len(chunk.data))
        return wire.Logged(size=self._sizes[run] - base)

    def _base(self, pair: items.Pair) -> int:
        item_id, run = pair.item.id, pair.run.id
        if item_id not in self._bases:
            row = attempts.get(self._call.tx, item_id, pair.item.attempt)
            size = logs.size(self._call.tx, run)
            if row is None or size is None:
                raise Conflict(f"item {item_id} has no attempt; claim it first")
            self._bases[item_id] = row["log_base"]
            self._sizes[run], self._cut[run] = size["log_size"], bool(size["log_truncated"])
        return self._bases[item_id]

    def write(self) -> None:
        self._stages.write()
        grown = {run for run, _, _ in self._chunks}
        if not grown:
            return
        logs.append(self._call.tx, self._chunks)
        logs.grow(self._call.tx, [(r, self._sizes[r], self._cut[r]) for r in sorted(grown)])
        for run in grown:
            self._call.tx.announce(f"run:{run}")


def item_place(call: Call, item_id: str) -> tuple[str, str, str]:
    """Return entity, project and name of an item's run, by which its output is read.

    Raises:
        NotFound: no such item, or a run that the caller may not see.
    """
    row = get_item(call, item_id)
    if not _may_see_run(call.actor, row):
        raise NotFound(f"no output of item {item_id!r} that you may see")
    return row["target"], row["project"], row["run_name"]


def read_log(call: Call, run: RunId, offset: int) -> bytes:
    """Return output from `offset`: some 2 MB at most. The caller has checked the right to see."""
    if offset < 0:
        raise Invalid(f"offset: {offset} is below 0")
    return logs.read(call.tx, run, offset)


def read_stage_log(call: Call, item_id: str | None, stage: str, offset: int) -> tuple[int, bytes]:
    """Return how much a stage of an item has printed, and some MB of it from `offset` on.

    The caller has checked the right to see; a run that was never submitted has no item.
    """
    stage_logs.check_stage(stage)
    there = stage_log_rows.sizes(call.tx, [item_id]) if item_id else {}
    size = there.get(item_id or "", {}).get(stage, 0)
    if item_id is None or offset >= size:
        return size, b""
    return size, stage_log_rows.read(call.tx, item_id, stage, offset)


def events(
    call: Call, *, after: int, entity: str | None, queue: str | None, limit: int
) -> Sequence[Row]:
    """Return moves of items of queues that the caller may see, the oldest first."""
    owners, queue_id = call.visible(), None
    if queue is not None:
        queue_id = queues.get(call, entity, queue).id
    elif entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    return views.events_after(
        call.tx, after, owners=owners, names=call.actor.queues, queue_id=queue_id, limit=limit
    )


def _check_states(given: Collection[str], known: type[ItemState | RunState], field: str) -> None:
    for state in given:
        if state not in set(known):
            raise Invalid(f"{field}: {state!r} is none of {', '.join(known)}")


def user_id(call: Call, name: str | None) -> str | None:
    """Return the id of a user by name. Raises: NotFound."""
    if name is None:
        return None
    row = accounts.user(call.tx, name)
    if row is None:
        raise NotFound(f"no user {name!r}")
    return str(row["id"])
