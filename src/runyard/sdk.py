"""
Runyard from Python: submit jobs, wait for them, read their output.

    import runyard

    run = runyard.launch(uri=".", entry_point="python train.py", queue="gpu")
    result = run.wait()
    print(result.status, result.exit_code)

Everything is blocking and needs no event loop, so it works in notebooks, scripts and threads.
The server and key are those of the command line, unless they are given. What goes wrong is
raised as `runyard.domain.errors.RunyardError`, with a message and a hint.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from runyard.client import follow, making
from runyard.client.api import Api
from runyard.client.credentials import find
from runyard.client.printable import Printable
from runyard.client.submission import Wish
from runyard.domain.errors import Conflict, Invalid, RunyardError
from runyard.domain.queues import DEFAULT_QUEUE
from runyard.domain.runs import RunState
from runyard.wire.rest import ItemDetail, QueueIn, QueueOut, QueuePatch, RunOut, SubmittedItem

Command = str | Sequence[str]


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
        return follow.wait(self._api, self._item.run, timeout=timeout)

    def wait_until_running(self, timeout: float | None = None) -> RunOut:
        """Return the run as soon as it has begun; one that is over already has begun, too.

        Raises:
            DidNotStart: it failed or was cancelled before it began.
            TimeoutError: it has not begun after `timeout` seconds.
        """
        for run in follow.changes(self._api, self._item.run, timeout=timeout):
            if run.started_at is not None and run.state != RunState.PENDING:
                return run
            if follow.is_over(run):
                raise DidNotStart(
                    f"run {self.path} did not start: {run.status}: {run.reason}",
                    hint=f"runyard item show {self.id}",
                )
        raise AssertionError("changes end with the run")

    def logs(self, *, follow: bool = False, offset: int = 0) -> Iterator[str]:
        """Yield the output from byte `offset` on, as text; with `follow`, until the run ends.

        Control sequences are taken out. `log_bytes` has the output as it is.
        """
        plain = Printable()
        for chunk in self.log_bytes(follow=follow, offset=offset):
            if text := plain.feed(chunk):
                yield text
        if text := plain.rest():
            yield text

    def log_bytes(self, *, follow: bool = False, offset: int = 0) -> Iterator[bytes]:
        """Yield the output from byte `offset` on; with `follow`, until the run ends."""
        return _log(self._api, self._item, follow, offset)

    def stop(self, reason: str = "") -> RunOut:
        """Ask the run to end; return it as it is then. To see it gone: `wait()`.

        Raises:
            Conflict: it has ended already.
        """
        return self._api.stop_run(self._item.run, reason)

    def cancel(self) -> None:
        """Take the item out of its queue; one that has begun is stopped. Raises as `stop`."""
        self._api.cancel_item(self.id)


class Queue:
    """A queue: what it runs on, its settings, what is in it.

    Example:
        gpu = client.queue("gpu")
        gpu.edit(config={"gpus": 2})
        print([item.status for item in gpu.items(limit=10)])
    """

    def __init__(self, api: Api, data: QueueOut) -> None:
        self._api = api
        self.data = data

    def __repr__(self) -> str:
        return f"Queue({self.entity}/{self.name}, {self.resource})"

    @classmethod
    def create(
        cls,
        name: str,
        resource: str,
        *,
        config: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        entity: str | None = None,
        client: Client | None = None,
    ) -> Queue:
        """Make a queue. Raises Conflict if there is one of that name."""
        api = (client or Client()).api
        made = api.create_queue(
            QueueIn(
                entity=entity,
                name=name,
                resource=resource,
                config=dict(config or {}),
                policy=dict(policy or {}),
            )
        )
        return cls(api, made)

    @classmethod
    def get(cls, name: str, *, entity: str | None = None, client: Client | None = None) -> Queue:
        """Return a queue. Raises NotFound, with the nearest names."""
        client = client or Client()
        return cls(client.api, client.api.queue(entity or client.entity, name))

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def entity(self) -> str:
        return self.data.entity

    @property
    def resource(self) -> str:
        return self.data.resource

    @property
    def config(self) -> dict[str, Any]:
        return self.data.config

    def refresh(self) -> Queue:
        """Ask the server for the queue as it is now."""
        return Queue(self._api, self._api.queue(self.entity, self.name))

    def items(self, *, state: str | None = None, limit: int | None = None) -> Iterator[Any]:
        """Yield the queue's items, the newest first."""
        return self._api.items(
            entity=self.entity,
            queue=self.name,
            state=state.upper() if state else None,
            limit=limit,
        )

    def edit(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> Queue:
        """Replace the settings, the rules, or both; return the queue as it is then."""
        patch = QueuePatch(
            config=None if config is None else dict(config),
            policy=None if policy is None else dict(policy),
        )
        return Queue(self._api, self._api.edit_queue(self.entity, self.name, patch))

    def delete(self) -> None:
        """Delete the queue and cancel what waits in it."""
        self._api.delete_queue(self.entity, self.name)


class Client:
    """A connection to a Runyard server.

    Example:
        with runyard.Client("https://runyard.example.org", api_key=key) as client:
            client.launch(image="python:3.11-slim", entry_point="python -V", queue="docker")
    """

    def __init__(self, base_url: str | None = None, api_key: str | None = None) -> None:
        """Connect. What is not given is found as the command line finds it.

        Raises:
            Unauthenticated: no server is configured, or no key for it is known.
        """
        found = find(os.environ, base_url=base_url, key=api_key)
        self.api = Api(found.base_url, found.key)
        self._entity: str | None = None

    def __repr__(self) -> str:
        return f"Client({self.api.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.api.close()

    @property
    def entity(self) -> str:
        """The name under which the key's owner has queues and runs."""
        if self._entity is None:
            self._entity = self.api.me().entity
        return self._entity

    def launch(
        self,
        job: str | None = None,
        *,
        uri: str | os.PathLike[str] | None = None,
        image: str | None = None,
        entry_point: Command | None = None,
        args: Sequence[str] = (),
        queue: str = DEFAULT_QUEUE,
        queue_entity: str | None = None,
        run_config: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        resource_args: Mapping[str, Any] | None = None,
        name: str | None = None,
        entity: str | None = None,
        project: str | None = None,
        run_id: str | None = None,
        priority: str | int | None = None,
        job_name: str | None = None,
        git_ref: str | None = None,
    ) -> QueuedRun:
        """Queue one run of a saved job, of a directory or git address (`uri`), or of an image.

        `entry_point` is a command, as one string (split as a shell does) or as words.
        `run_config` are the run's own parameters, `config` a whole launch spec that everything
        else is laid over.

        Raises:
            Invalid: what is asked for does not fit together, named field by field.
            NotFound: the queue or job; the message names the nearest ones.
        """
        given = [one for one in (job, uri, image) if one]
        if len(given) > 1 or (not given and not config):
            raise Invalid("give exactly one of job, uri and image")
        words = _words(entry_point)
        owner = queue_entity or entity or self.entity
        if uri:
            if not words:
                raise Invalid(
                    "entry_point: is needed with uri",
                    hint='launch(uri=".", entry_point="python train.py")',
                )
            made = self._make(os.fspath(uri), words, entity or owner, project, job_name, git_ref)
            job, words = made, ()
        wish = Wish(
            base=config or {},
            job=job,
            image=image,
            entity=entity,
            project=project,
            name=name,
            run_id=run_id,
            resource_args=resource_args or {},
            priority=priority,
            entry_point=words,
            args=args,
            run_config=run_config or {},
        )
        return self.launch_many([wish.spec()], queue=queue, queue_entity=owner)[0]

    def launch_many(
        self,
        specs: Sequence[Mapping[str, Any]],
        *,
        queue: str = DEFAULT_QUEUE,
        queue_entity: str | None = None,
        minimal: bool = False,
    ) -> list[QueuedRun]:
        """Queue all of these launch specs (at most 5,000), or none of them.

        `minimal` leaves the resolved specs out of the answer: faster where there are many.

        Example:
            client.launch_many(
                [{"job": "digits", "overrides": {"run_config": {"lr": lr}}} for lr in rates],
                queue="gpu",
            )
        """
        owner = queue_entity or self.entity
        answer = self.api.submit(owner, queue, specs, minimal=minimal)
        return [QueuedRun(self.api, item) for item in answer.items]

    def queued_run(self, item_id: str) -> QueuedRun:
        """Return a submission that was made earlier, by its item's id."""
        item = self.api.item(item_id)
        return QueuedRun(self.api, SubmittedItem(id=item.id, run=item.run, spec=item.spec))

    def queue(self, name: str, *, entity: str | None = None) -> Queue:
        """Return a queue. Raises NotFound, with the nearest names."""
        return Queue.get(name, entity=entity, client=self)

    def create_queue(
        self,
        name: str,
        resource: str,
        *,
        config: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        entity: str | None = None,
        exist_ok: bool = False,
    ) -> Queue:
        """Make a queue; with `exist_ok` return the one that is there already, as it is."""
        try:
            return Queue.create(
                name, resource, config=config, policy=policy, entity=entity, client=self
            )
        except Conflict:
            if not exist_ok:
                raise
            return self.queue(name, entity=entity)

    def queues(self, *, entity: str | None = None) -> Iterator[Queue]:
        """Yield the queues that you may see."""
        return (Queue(self.api, data) for data in self.api.queues(entity=entity))

    def _make(
        self,
        uri: str,
        words: Sequence[str],
        entity: str,
        project: str | None,
        name: str | None,
        ref: str | None,
    ) -> str:
        recipe = making.Recipe(
            kind=making.kind_of(uri), path=uri, name=name, entry_point=words, ref=ref
        )
        with making.drafted(recipe, environ=os.environ) as draft:
            return making.save(self.api, entity, project or "default", draft).path


def launch(job: str | None = None, **options: Any) -> QueuedRun:
    """Queue one run on the server of the command line; see `Client.launch` for the options.

    Example:
        runyard.launch(uri=".", entry_point="python train.py").wait()
    """
    return Client().launch(job, **options)


def _words(command: Command | None) -> tuple[str, ...]:
    if not isinstance(command, str):
        return tuple(command or ())
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise Invalid(f"entry_point: {command!r}: {error}") from error


def _log(api: Api, item: SubmittedItem, following: bool, offset: int) -> Iterator[bytes]:
    return follow.log(api, item.run, offset=offset, follow=following)
