"""
Submitting: from launch specs to items in a queue, all of them or none.

Authorise, pin the job to a version, merge with the queue, check what will run, make the
runs, enqueue: one transaction. A dry run takes the same way and stops before the write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runyard.domain import building, configs, outcomes
from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Gathered, Invalid, TooMuch, Violation
from runyard.domain.items import Item, ItemId, ItemState, RunId
from runyard.domain.jobs import JobRef, JobVersion
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import DEFAULT_QUEUE, Mode, Queue, Resource, priority_of
from runyard.domain.runs import Run, RunState
from runyard.domain.secrets import (
    BUILD_KEY,
    KEY,
    for_builds,
    merged,
    split,
    submission_faults,
)
from runyard.domain.sharing import Place
from runyard.domain.sources import check_entry_point, check_image
from runyard.domain.specs import MAX_SPEC_BYTES, LaunchSpec, resolve, settle
from runyard.services import accounts, jobs, queues, secrets, turns
from runyard.services.call import Call
from runyard.services.inputs import InputChecks, keep
from runyard.store import accounts as account_rows
from runyard.store import agents, launching, newcomers, waiting
from runyard.store.db import Duplicate
from runyard.store.newcomers import NewItem
from runyard.store.values import to_text

DEFAULT_PROJECT: Final = "default"
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_RUN_NAME_LENGTH: Final = 10  # 50 random bits: no two of a million runs meet


@dataclass(frozen=True, slots=True)
class Submitted:
    """One queued item; `spec` is what will run, everything resolved."""

    id: ItemId
    spec: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


class _Batch:
    """What the specs of one submission share, looked up once."""

    def __init__(self, call: Call, queue: Queue, items: int, *, binds: bool = False) -> None:
        self.call, self.queue, self.binds = call, queue, binds
        self.inputs = InputChecks(items)
        self.warnings: dict[ItemId, tuple[str, ...]] = {}
        self.projects: dict[tuple[str, str], str] = {}
        self.jobs: dict[JobRef, JobVersion] = {}
        self._queue_is_checked = False
        self._authors: dict[str, str] = {}
        self._secret_jobs: set[tuple[str, str]] = set()

    def project(self, entity: str, name: str) -> str:
        key = (entity, name)
        if key not in self.projects:
            owner = self.call.entity(entity, Action.SUBMIT)
            self.projects[key] = accounts.project(self.call, owner, name)
        return self.projects[key]

    def job(self, text: str | None, entity: str, project: str) -> JobVersion | None:
        if text is None:
            return None
        ref = JobRef.parse(text)
        ref = replace(ref, entity=ref.entity or entity, project=ref.project or project)
        if ref not in self.jobs:
            self.jobs[ref] = jobs.get(self.call, ref)
        return self.jobs[ref]

    @property
    def may_change(self) -> bool:
        """Whether the submitter may change the settings of a locked queue."""
        return self.call.actor.may(Action.EDIT_QUEUES, self.queue.entity_id)

    def author(self, name: str | None) -> tuple[str, str]:
        """Return (id, name) of whose items these are: a service account may say so."""
        actor = self.call.actor
        if name is None or not actor.is_service:
            return actor.user_id, actor.name
        if name not in self._authors:
            actor.need(Action.SUBMIT_FOR, self.queue.entity_id, self.queue.entity, "queue")
            author = account_rows.actor_named(self.call.tx, name)
            if author is None or not author.may(Action.SUBMIT, self.queue.entity_id):
                raise Invalid(f"author: {name!r} may not submit to queues of {self.queue.entity}")
            self._authors[name] = author.user_id
        return self._authors[name], name

    def waiting_run(self, spec: LaunchSpec, project_id: str, author_id: str) -> Run | None:
        """Return the run of this spec's `run_id` if it waits for an item of this author's."""
        if not self.binds or spec.run_id is None:
            return None
        return launching.waiting_run(self.call.tx, project_id, spec.run_id, author_id)

    def secrets(
        self, config: Mapping[str, Any], job: JobVersion | None, entity: str
    ) -> dict[str, dict[str, Any]]:
        """Return what the item carries of its queue's and its job's references."""
        of_job = job.source.secrets if job else {}
        if job and of_job and (entity, job.id) not in self._secret_jobs:
            owner = self.call.entity(entity, Action.SUBMIT)
            secrets.check_job(self.call, owner["id"], entity, of_job)
            self._secret_jobs.add((entity, job.id))
        if not of_job and not config.get(KEY):
            return {}
        of_queue, _ = split(config, kubernetes=self.queue.resource is Resource.KUBERNETES)
        return merged(of_queue, of_job, queue_entity=self.queue.entity, run_entity=entity)

    def build_secrets(self, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what the item carries for the build of its image: its queue's references."""
        kubernetes = self.queue.resource is Resource.KUBERNETES
        given = config.get(building.KEY) or {}
        options = building.parse_options(given, of_queue=True, kubernetes=kubernetes)
        return for_builds(options.secrets, queue_entity=self.queue.entity)

    def check_config(self, config: Mapping[str, Any], *, changed: bool) -> None:
        """Check a merged configuration; the queue's own, unchanged, is checked once."""
        if changed or not self._queue_is_checked:
            configs.check(self.queue.resource, config)
        self._queue_is_checked = self._queue_is_checked or not changed


def submit(
    call: Call,
    entity: str | None,
    queue_name: str,
    specs: Sequence[Mapping[str, Any]],
    *,
    pinned_agent: str | None = None,
    dry_run: bool = False,
    binds: bool = False,
) -> list[Submitted]:
    """Queue one item for each spec, or none of them. `pinned_agent` keeps them for one agent.

    `binds` lets a `run_id` name a run that waits for an item: a sweep proposed it, or it was
    preempted. The new item is that run's then.

    Raises:
        Invalid: all violations of all specs, their paths beginning with `items.<n>`.
        NotFound, Forbidden: queue, job or target entity.
        Conflict: a run id that is taken.
    """
    queue = _queue(call, entity, queue_name)
    batch = _Batch(call, queue, len(specs), binds=binds)
    new: list[NewItem] = []
    wrong: list[Violation] = []
    hint = ""
    for n, data in enumerate(specs):
        try:
            new.append(_new_item(batch, data, pinned_agent))
        except Invalid as error:
            hint = hint or error.hint
            wrong += _placed(error, n, alone=len(specs) == 1)
    if wrong:
        raise Invalid(_summary(wrong), violations=wrong, hint=hint)
    check_queue_takes(queue, len(new), call, author_id=new[0].author_id if new else "")
    if not dry_run:
        _write(call, queue, new)
        keep(call, batch.warnings)
    return [Submitted(n.item.id, n.spec, batch.warnings.get(n.item.id, ())) for n in new]


def check_queue_takes(queue: Queue, n: int, call: Call, *, author_id: str) -> None:
    """Pass if the queue takes so many items of one author.

    Raises:
        Conflict: it is draining. TooMuch: more would wait than its policy allows.
    """
    if queue.mode is Mode.DRAINING:
        raise Conflict(
            f"queue {queue.path} is draining, and takes nothing new: {_mode_told(queue)}",
            hint="choose another queue: runyard queue list",
        )
    policy = queue.policy
    for most, author, whose in (
        (policy.max_waiting, None, ""),
        (policy.max_waiting_per_user, author_id, " of yours"),
    ):
        if most:
            there = waiting.count(call.tx, queue.id, author_id=author, up_to=most)
            if there + n > most:
                raise TooMuch(
                    f"{there} items{whose} wait in queue {queue.path} already; its policy "
                    f"allows {most}",
                    hint="submit again when some of them have started",
                )


def _mode_told(queue: Queue) -> str:
    return f"{queue.mode_by}: {queue.mode_why}" if queue.mode_why else f"by {queue.mode_by}"


def _write(call: Call, queue: Queue, new: Sequence[NewItem]) -> None:
    going = [n for n in new if n.item.parked is None]  # what is held stands in no line
    placed = turns.placed(call, queue.id, queue.policy, [n.author_id for n in going])
    place_of = {n.item.id: place for n, place in zip(going, placed, strict=True)}
    new = [_at(n, place_of.get(n.item.id)) for n in new]
    try:
        newcomers.add(call.tx, new, now=call.now, actor=call.actor.name)
    except Duplicate as error:
        raise Conflict(
            "a run of that run_id exists in the project already",
            hint="leave run_id out and one is made for you",
        ) from error
    call.tx.announce(f"queue:{queue.path}", len(new))
    for name in {n.pinned_agent for n in new} - {None}:
        # The queue's news might wake another agent, for whom there is nothing.
        if name and (agent := agents.named(call.tx, queue.entity_id, name)):
            call.tx.announce(f"agent:{agent}")


def _at(new: NewItem, place: Place | None) -> NewItem:
    if place is None:
        return new
    return replace(new, item=replace(new.item, turn=place.turn, charged=place.charged))


def _queue(call: Call, entity: str | None, name: str) -> Queue:
    if name == DEFAULT_QUEUE:
        owner = call.entity(entity, Action.SUBMIT)
        call.actor.need_queue(name)
        return queues.default_queue(call, owner)
    return queues.get(call, entity, name, Action.SUBMIT)


def _new_item(batch: _Batch, data: Mapping[str, Any], pinned_agent: str | None) -> NewItem:
    call, queue = batch.call, batch.queue
    spec = LaunchSpec.parse(data)
    entity = spec.entity or queue.entity
    project = spec.project or DEFAULT_PROJECT
    project_id = batch.project(entity, project)
    job = batch.job(spec.job, entity, project)
    wrong = Gathered()
    with wrong:
        spec, warnings = batch.inputs.laid(spec, job)
    with wrong:
        policy = queue.policy.narrowed(spec.policy)
    with wrong:
        priority = priority_of(spec.priority, queue.policy)
    with wrong:
        if faults := submission_faults(spec.resource_args):
            raise Invalid("the submission names secrets", violations=faults)
    with wrong:
        config = settle(spec, queue, may_change=batch.may_change)
        changed = bool(spec.resource_args or queue.variables)
        batch.check_config(config.filled, changed=changed)
    author_id, author = batch.author(spec.author)
    there = batch.waiting_run(spec, project_id, author_id)
    run_id, item_id = there.id if there else RunId(call.new_id()), call.new_id()
    run_name = _run_name(spec.run_id, run_id)
    wrong.raise_if_any()
    if warnings:
        batch.warnings[ItemId(item_id)] = warnings
    resolved = resolve(
        spec, queue, job, entity=entity, project=project, run_name=run_name, author=author,
        config=config,
    )  # fmt: skip
    _check_program(resolved, policy)
    if refs := batch.secrets(config.filled, job, entity):
        resolved[KEY] = refs
    if refs := batch.build_secrets(config.filled):
        resolved[BUILD_KEY] = refs
    item = Item(
        id=ItemId(item_id),
        queue_id=queue.id,
        state=ItemState.PENDING,
        priority=priority,
        enqueued_at=call.now,
        run_id=run_id,
        claim_ttl=queue.policy.claims_last,
        expires_at=outcomes.expiry(policy, call.now),
    )
    if spec.hold:
        item = item.held(f"held by {call.actor.name}: at submission")
    return NewItem(
        item=item,
        run=there or Run(run_id, RunState.PENDING, call.now),
        is_there=there is not None,
        project_id=project_id,
        run_name=run_name,
        display_name=spec.name,
        author_id=author_id,
        job=job.path if job else None,
        config=dict(spec.overrides.run_config),
        spec=resolved,
        spec_text=_bounded(to_text(resolved)),
        pinned_agent=pinned_agent,
        policy=to_text(spec.policy) if spec.policy else None,
    )


def _check_program(spec: Mapping[str, Any], policy: QueuePolicy) -> None:
    """Check what will run, whoever of job and submission said it."""
    source, over, builder = spec["source"], spec["overrides"], spec.get("builder") or {}
    accelerator = (builder.get("accelerator") or {}).get("base_image")
    for image in (
        source.get("image"), source.get("base_image"), builder.get("base_image"), accelerator,
    ):  # fmt: skip
        if image and not policy.allows_image(image):
            raise Invalid(
                f"image {image!r} is not on the queue's list: {', '.join(policy.images)}",
                hint="choose another image, or ask an admin to add it to the policy's `images`",
            )
    if source.get("image"):
        check_image(source["image"])
    words = tuple(over["entry_point"] or source.get("entry_point") or ())
    if words:
        check_entry_point(words)
    elif not (source.get("image") or over["dockerfile"] or source.get("dockerfile")):
        raise Invalid(
            "entry_point: the job has none, and the submission gives none",
            hint='runyard launch … -E "python train.py"',
        )


def _bounded(text: str) -> str:
    if len(text) > MAX_SPEC_BYTES:
        raise TooMuch(
            f"the launch spec is over {MAX_SPEC_BYTES >> 10} KiB",
            hint="put large values into a file of the job, or an artifact",
        )
    return text


def _run_name(wanted: str | None, run_id: str) -> str:
    if wanted is None:
        return run_id[-_RUN_NAME_LENGTH:]  # the random end of the id
    if not _RUN_NAME.fullmatch(wanted):
        raise Invalid(f"run_id {wanted!r}: letters, digits, '-', '_' and '.', 128 at most")
    return wanted


def _placed(error: Invalid, n: int, *, alone: bool) -> list[Violation]:
    found = error.violations or (Violation("", error.message),)
    if alone:
        return list(found)
    return [Violation(f"items.{n}.{v.path}".rstrip("."), v.message) for v in found]


def _summary(wrong: Sequence[Violation]) -> str:
    if len(wrong) == 1:
        return str(wrong[0])
    return f"the submission has {len(wrong)} mistakes"


def project_of(call: Call, entity: str, name: str) -> str | None:
    """Return the id of a project that may be seen, None if there is none."""
    owner = call.entity(entity, Action.SEE)
    return account_rows.project_id(call.tx, owner["id"], name)
