"""What an item's stages print before its program runs: a log each, through all attempts."""

from __future__ import annotations

from runyard.domain.errors import Conflict, Invalid
from runyard.domain.items import Item, ItemState
from runyard.services.call import Call
from runyard.store import logs, stage_logs
from runyard.wire import agent as wire

_Log = tuple[str, str]  # item and stage


class Writing:
    """Chunks of one request, placed one behind the other, written together.

    As with a run's output: what came before is skipped, what leaves a gap is not taken, and a
    log is cut at `at_most` bytes, without holding up its agent. Whoever calls holds the items.
    """

    def __init__(self, call: Call, at_most: int) -> None:
        self._call, self._at_most = call, at_most
        self._sizes: dict[_Log, int] = {}
        self._chunks: list[tuple[str, str, int, bytes]] = []
        self._runs: set[str] = set()

    def take(self, item: Item, chunk: wire.LogChunk) -> wire.Logged:
        """Place a chunk of an item that its agent holds.

        Raises:
            Invalid: no stage that has a log. Conflict: the item was not claimed.
        """
        check_stage(chunk.stage)
        if item.state is not ItemState.CLAIMED:
            raise Conflict(f"item {item.id} is {item.state}; claim it first")
        log = (item.id, chunk.stage)
        size = self._size(log)
        if size > self._at_most:  # with the note that says so, it is longer than that
            return wire.Logged(size=chunk.offset + len(chunk.data))
        if chunk.offset > size:  # a gap
            return wire.Logged(size=size)
        room = self._at_most - size
        data, is_cut = logs.fitted(
            chunk.data, skip=size - chunk.offset, room=room, at_most=self._at_most
        )
        if data:
            self._chunks.append((*log, size, data))
            self._sizes[log] = size + len(data)
            self._runs.add(item.run_id)
        return wire.Logged(size=chunk.offset + len(chunk.data) if is_cut else self._sizes[log])

    def _size(self, log: _Log) -> int:
        if log not in self._sizes:
            there = stage_logs.sizes(self._call.tx, [log[0]]).get(log[0], {})
            self._sizes |= {(log[0], s): there.get(s, 0) for s in stage_logs.STAGES}
        return self._sizes[log]

    def write(self) -> None:
        if self._chunks:
            stage_logs.append(self._call.tx, self._chunks)
        for run in self._runs:
            self._call.tx.announce(f"run:{run}")


def check_stage(stage: str) -> None:
    """Pass for a stage that has a log.

    Raises:
        Invalid.
    """
    if stage not in stage_logs.STAGES:
        raise Invalid(f"stage: {stage!r} is none of {', '.join(stage_logs.STAGES)}")
