"""A connection to a server, and what can be submitted through it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from runyard.client import making
from runyard.client.api import Api
from runyard.client.credentials import find
from runyard.client.inputs import Declared, declared
from runyard.client.submission import Wish
from runyard.domain.errors import Conflict, Invalid
from runyard.domain.jobs import SourceKind
from runyard.domain.queues import DEFAULT_QUEUE
from runyard.sdk.queue import Queue
from runyard.sdk.queued_run import QueuedRun
from runyard.wire.rest import JobVersionOut, SubmittedItem

Command = str | Sequence[str]


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
        template_variables: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        hold: bool = False,
        dockerfile: str | None = None,
        base_image: str | None = None,
        accelerator_image: str | None = None,
        rebuild: bool = False,
        job_name: str | None = None,
        git_ref: str | None = None,
        inputs: Declared | None = None,
    ) -> QueuedRun:
        """Queue one run of a saved job, of a directory or git address (`uri`), or of an image.

        `entry_point` is a command, as one string (split as a shell does) or as words.
        `template_variables` are values for the queue's template, `policy` narrows its rules.
        `run_config` are the run's own parameters, `config` a whole launch spec that everything
        else is laid over. `inputs` declares what the job of `uri` takes, as `create_job` does.

        The agent builds an image for code: upon `base_image`, or upon `accelerator_image`, where
        it installs Python first; or by the job's own `dockerfile`. With `rebuild` it does so even
        if there is one of the same content.

        Raises:
            Invalid: what is asked for does not fit together, named field by field.
            NotFound: the queue or job; the message names the nearest ones.
        """
        given = [one for one in (job, uri, image) if one]
        if len(given) > 1 or (not given and not config):
            raise Invalid("give exactly one of job, uri and image")
        if inputs is not None and not uri:
            raise Invalid("inputs: are declared with uri; a saved job has its own")
        words = _words(entry_point)
        owner = queue_entity or entity or self.entity
        if uri:
            if not words:
                raise Invalid(
                    "entry_point: is needed with uri",
                    hint='launch(uri=".", entry_point="python train.py")',
                )
            made = self.create_job(
                uri, entry_point=words, entity=entity or owner, project=project, name=job_name,
                git_ref=git_ref, inputs=inputs,
            )  # fmt: skip
            job, words = made.path, ()
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
            dockerfile=dockerfile,
            base_image=base_image,
            accelerator_image=accelerator_image,
            rebuild=rebuild,
            template_variables=template_variables or {},
            policy=policy or {},
            hold=hold,
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

    def create_job(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str | None = None,
        entry_point: Command | None = None,
        name: str | None = None,
        inputs: Declared | None = None,
        aliases: Sequence[str] = (),
        description: str = "",
        git_ref: str | None = None,
        entity: str | None = None,
        project: str | None = None,
    ) -> JobVersionOut:
        """Save a version of a job; the same content again makes no new one.

        `path` is a directory, a git address, or, with kind "image", an image. `inputs` declares
        what the job takes: a JSON schema or a pydantic model of the run's config, or several by
        name; left out, it stays as the newest version has it, and {} lifts it.

        Example:
            class Inputs(pydantic.BaseModel):
                lr: float = pydantic.Field(0.01, gt=0, le=1)

            client.create_job(".", entry_point="python train.py", inputs=Inputs)
        """
        where = os.fspath(path)
        recipe = making.Recipe(
            kind=_kind(kind) if kind else making.kind_of(where),
            path=where,
            name=name,
            entry_point=_words(entry_point),
            ref=git_ref,
            aliases=aliases,
            description=description,
            inputs=None if inputs is None else declared(inputs),
        )
        with making.drafted(recipe, environ=os.environ) as draft:
            return making.save(self.api, entity or self.entity, project or "default", draft)

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
        variables: Mapping[str, Mapping[str, Any]] | None = None,
        policy: Mapping[str, Any] | None = None,
        entity: str | None = None,
        exist_ok: bool = False,
    ) -> Queue:
        """Make a queue; with `exist_ok` return the one that is there already, as it is."""
        try:
            return Queue.create(
                name, resource, config=config, variables=variables, policy=policy, entity=entity,
                client=self,
            )  # fmt: skip
        except Conflict:
            if not exist_ok:
                raise
            return self.queue(name, entity=entity)

    def queues(self, *, entity: str | None = None) -> Iterator[Queue]:
        """Yield the queues that you may see."""
        return (Queue(self.api, data) for data in self.api.queues(entity=entity))


def _words(command: Command | None) -> tuple[str, ...]:
    if not isinstance(command, str):
        return tuple(command or ())
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise Invalid(f"entry_point: {command!r}: {error}") from error


def _kind(name: str) -> SourceKind:
    if name not in set(SourceKind):
        raise Invalid(f"kind: {name!r} is not one of {', '.join(SourceKind)}")
    return SourceKind(name)
