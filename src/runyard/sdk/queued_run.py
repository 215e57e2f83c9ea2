"""A submission, as its submitter holds it in a hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runyard.client import follow as following
from runyard.client.api import Api
from runyard.client.printable import Printable
from runyard.domain.errors import RunyardError
from runyard.domain.runs import RunState
from runyard.wire.rest import ItemDetail, RunOut, SubmittedItem


class DidNotStart(RunyardError):
    """The item ended before its run began; the message says why."""

    code = "did_not_start"


class QueuedRun:
    """A submission: first an item in a queue, then a run, then its result.

    Example:
        run = client.launch(job="digits", queue="default")
        for text in run.logs(follow=True):
            print(text, end="")
        assert run.wait().exit_code == 0
    """

    def __init__(self, api: Api, item: SubmittedItem) -> None:
        self._api = api
        self._item = item

    def __repr__(self) -> str:
        return f"QueuedRun({self.path!r})"

    @property
    def id(self) -> str:
        """The item's id."""
        return self._item.id

    @property
    def run_id(self) -> str:
        return self._item.run.run_id

    @property
    def path(self) -> str:
        """`entity/project/run_id`, as commands take it."""
        run = self._item.run
        return f"{run.entity}/{run.project}/{run.run_id}"

    @property
    def spec(self) -> dict[str, Any]:
        """What will run, everything resolved; {} if it was submitted with `minimal`."""
        return self._item.spec or {}

    @property
    def warnings(self) -> list[str]:
        """What the server noticed about the submission, such as keys that the job ignores."""
        return self._item.warnings

    @property
    def state(self) -> str:
        """The item's state now, in lower case: pending, leased, claimed, finished, failed …"""
        return self.item().state.lower()

    @property
    def status(self) -> str:
        """What people see now: Queued, Running, Finished …"""
        return self.run().status

    def item(self) -> ItemDetail:
        """Return the item as it is now, with its warnings and events."""
        return self._api.item(self.id)

    def run(self) -> RunOut:
        """Return the run as it is now."""
        return self._api.run(self._item.run)

    def wait(self, timeout: float | None = None) -> RunOut:
        """Return the run when it has ended, however it ended.

        Raises:
            TimeoutError: it has not after `timeout` seconds; it goes on.
        """
        return following.wait(self._api, self._item.run, timeout=timeout)

    def wait_until_running(self, timeout: float | None = None) -> RunOut:
        """Return the run as soon as it has begun; one that is over already has begun, too.

        Raises:
            DidNotStart: it failed or was cancelled before it began.
            TimeoutError: it has not begun after `timeout` seconds.
        """
        for run in following.changes(self._api, self._item.run, timeout=timeout):
            if run.started_at is not None and run.state != RunState.PENDING:
                return run
            if following.is_over(run):
                raise DidNotStart(
                    f"run {self.path} did not start: {run.status}: {run.reason}",
                    hint=f"runyard item show {self.id}",
                )
        raise AssertionError("changes end with the run")

    def logs(self, *, follow: bool = False, offset: int = 0, stage: str = "") -> Iterator[str]:
        """Yield the output from byte `offset` on, as text; with `follow`, until the run ends.

        With the stage `build` it is that of its image's build, until the program runs. Control
        sequences are taken out. `log_bytes` has the output as it is.
        """
        plain = Printable()
        for chunk in self.log_bytes(follow=follow, offset=offset, stage=stage):
            if text := plain.feed(chunk):
                yield text
        if text := plain.rest():
            yield text

    def log_bytes(
        self, *, follow: bool = False, offset: int = 0, stage: str = ""
    ) -> Iterator[bytes]:
        """Yield the output from byte `offset` on; with `follow`, until the run ends."""
        return following.log(self._api, self._item.run, offset=offset, follow=follow, stage=stage)

    def stop(self, reason: str = "") -> RunOut:
        """Ask the run to end; return it as it is then. To see it gone: `wait()`.

        Raises:
            Conflict: it has ended already.
        """
        return self._api.stop_run(self._item.run, reason)

    def cancel(self) -> None:
        """Take the item out of its queue; one that has begun is stopped. Raises as `stop`."""
        self._api.cancel_item(self.id)

    def hold(self, reason: str = "") -> None:
        """Keep the item from being started until it is released. Raises Conflict if it has been."""
        self._api.hold_item(self.id, reason)

    def release(self) -> None:
        """Let a held item go. Raises Conflict if it is not held."""
        self._api.release_item(self.id)

    def reprioritise(self, priority: str | int) -> None:
        """Change the priority while it waits. Raises Invalid if the queue has no priorities."""
        self._api.reprioritise_item(self.id, priority)

    def retry(self, changes: Mapping[str, Any] | None = None) -> QueuedRun:
        """Submit once more what has ended; `changes` is laid over its launch spec.

        Raises:
            Conflict: it has not ended.
        """
        return QueuedRun(self._api, self._api.retry_item(self.id, changes))
