"""The REST API's bodies. pydantic, for the OpenAPI document and for errors that name fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Name = Annotated[str, Field(min_length=1, max_length=128)]


class In(BaseModel):
    """A request: a field that nobody knows is an error, not silence."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer: newer servers may add fields."""


class Page(Out, Generic[T]):
    """`next` is the cursor of the following page, null on the last."""

    data: list[T]
    next: str | None = None


class Problem(Out):
    """RFC 9457. `code` is stable; `hint` says what to do or type next."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    violations: list[dict[str, str]] = []
    request_id: str = ""


# -- queues ------------------------------------------------------------------------------


class LinkModel(In):
    label: Annotated[str, Field(min_length=1, max_length=100)]
    url: Annotated[str, Field(max_length=2000)]


class QueueIn(In):
    """`variables` make a template of `config`: see the docs, "Queues"."""

    entity: str | None = None
    name: Name
    resource: str
    config: dict[str, Any] = {}
    variables: dict[str, dict[str, Any]] = {}
    policy: dict[str, Any] = {}
    links: list[LinkModel] = []
    description: str = ""


class QueuePatch(In):
    """What is left out stays; each of the others is replaced as a whole."""

    config: dict[str, Any] | None = None
    variables: dict[str, dict[str, Any]] | None = None
    policy: dict[str, Any] | None = None
    links: list[LinkModel] | None = None
    description: str | None = None


class ModeIn(In):
    reason: Annotated[str, Field(max_length=500)] = ""


class QueueOut(Out):
    id: str
    entity: str
    name: str
    resource: str
    config: dict[str, Any]
    variables: dict[str, dict[str, Any]] = {}
    policy: dict[str, Any]
    links: list[LinkModel] = []
    description: str = ""
    mode: str = "open"
    mode_by: str = ""
    mode_why: str = ""
    created_at: datetime
    created_by: str
    pending: int = 0
    running: int = 0
    agents: int = 0


# -- items and runs ----------------------------------------------------------------------


class SubmitIn(In):
    """Launch specs, all queued or none. Keys as in the docs, "Launch spec"."""

    items: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=5000)]


class RunRef(Out):
    entity: str
    project: str
    run_id: str
    name: str | None = None


class SubmittedItem(Out):
    """`spec` is what will run, everything resolved; left out with `?minimal=true`.

    `warnings` are about what was submitted, such as values that the job does not know.
    """

    id: str
    run: RunRef
    spec: dict[str, Any] | None = None
    warnings: list[str] = []


class SubmitOut(Out):
    items: list[SubmittedItem]
    dry_run: bool = False


class FailureOut(Out):
    stage: str
    message: str
    detail: str = ""


class WarningOut(Out):
    at: datetime
    stage: str
    message: str


class EventOut(Out):
    """One move of an item. `seq` grows; a reader goes on from the last it saw."""

    seq: int
    at: datetime
    item_id: str
    queue: str
    run_id: str
    was: str | None
    became: str
    actor: str
    detail: str = ""


class ItemOut(Out):
    """`stage_logs`: bytes of what was printed before the program ran, by stage: fetch, build."""

    id: str
    queue: str
    queue_entity: str
    state: str
    status: str
    priority: int
    attempt: int
    requeues: int
    retries: int = 0
    parked: str | None = None
    parked_why: str = ""
    ready_at: datetime | None = None
    expires_at: datetime | None = None
    run: RunRef
    job: str | None
    author: str
    agent: str | None
    created_at: datetime
    enqueued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str
    failure: FailureOut | None
    stage_logs: dict[str, int] = {}


class WaitingOut(Out):
    """`ahead`: how many leave before, counted up to 10,000. `starts_at` is an estimate."""

    why: str
    ahead: int | None = None
    starts_at: datetime | None = None


class ItemDetail(ItemOut):
    spec: dict[str, Any]
    warnings: list[WarningOut]
    events: list[EventOut]
    waiting: WaitingOut | None = None


class RunOut(Out):
    """A run. `config`, `summary`, `notes` and what follows are what its program told of itself:
    NaN and Infinity are strings, and lists leave a configuration or summary of over 64 KiB out.
    """

    entity: str
    project: str
    run_id: str
    name: str | None
    state: str
    status: str
    author: str
    job: str | None
    item_id: str | None
    queue: str | None
    config: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: str
    stop_requested_at: datetime | None
    log_bytes: int
    log_truncated: bool = False
    stage_logs: dict[str, int] = {}
    summary: dict[str, Any] = {}
    notes: str = ""
    tags: list[str] = []
    group: str | None = None
    job_type: str | None = None
    sweep: str | None = None
    heartbeat_at: datetime | None = None


class StopIn(In):
    reason: Annotated[str, Field(max_length=500)] = ""


# -- jobs --------------------------------------------------------------------------------


class JobIn(In):
    """`source`: kind image, git or code, and its fields; see the docs, "Jobs".

    `input_schemas`: JSON schemas by `@wandb.config` or the name of a file; null keeps those of
    the newest version, {} lifts them.
    """

    source: dict[str, Any]
    description: Annotated[str, Field(max_length=4096)] = ""
    aliases: list[str] = []
    input_schemas: dict[str, Any] | None = None


class JobPatch(In):
    description: Annotated[str, Field(max_length=4096)]


class JobOut(Out):
    entity: str
    project: str
    name: str
    description: str
    latest: int
    aliases: list[str]
    created_at: datetime


class JobVersionOut(Out):
    path: str
    entity: str
    project: str
    name: str
    version: int
    aliases: list[str]
    source: dict[str, Any]
    description: str
    created_by: str
    created_at: datetime
    input_schemas: dict[str, Any] = {}
    created: bool = False  # whether this request made it


class BlobOut(Out):
    digest: str
    size: int


# -- agents ------------------------------------------------------------------------------


class AgentOut(Out):
    id: str
    entity: str
    name: str
    hostname: str
    version: str
    status: str
    live: bool
    queues: list[str]
    max_jobs: int
    running: int
    registered_at: datetime
    last_seen_at: datetime
    stop_requested_at: datetime | None
    strikes: int
    set_aside_at: datetime | None
    set_aside_why: str
    config: dict[str, Any]


class ServerOut(Out):
    name: str = "runyard"
    version: str
    database: str
