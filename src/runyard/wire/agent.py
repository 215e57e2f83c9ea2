"""
What an agent and the server say to each other. msgspec, since these are the hot paths.

    register ──▶ who am I now (epoch, token), and what do I still hold
    poll     ──▶ renews what is held; brings leases, stops, losses; waits up to `wait_s`
    moves    ──▶ claim, keep, observe, fail, … of many items in one transaction
    logs     ──▶ output of many items (msgpack, because JSON has no bytes)

Every move carries the item's lease token. Times are durations in seconds: the agent's clock
decides nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

POLL_WAIT = 25.0  # seconds a poll may hang: under the usual 30 of proxies and load balancers
MAX_MOVES = 500  # in one request
MAX_LOG_REQUEST = 4 << 20  # bytes of output in one request


class Register(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`max_jobs` -1 is without limit. `config` is shown to people; it holds no secrets."""

    entity: str | None = None
    name: str
    hostname: str
    version: str
    queues: list[str]
    max_jobs: int = 1
    config: dict[str, Any] = {}


class HandleData(msgspec.Struct):
    driver: str
    version: int
    data: dict[str, str]


class Held(msgspec.Struct, kw_only=True):
    """
    One item in the agent's hands: leased just now, or adopted with a new token.

    `key` names the workload of the next or present attempt. `handle` is what an earlier
    process had kept; `log_size` how many bytes of this attempt's output the server has.
    `run_token` is set where the workload may still have to be started.
    """

    item_id: str
    token: str
    key: str
    attempt: int
    requeues: int
    spec: dict[str, Any]
    claimed: bool = False
    handle: HandleData | None = None
    log_size: int = 0
    run_token: str | None = None
    secrets: dict[str, str] | None = None  # with `run_token`, and for the same reason
    stop: bool = False
    stop_grace_s: int = 60
    start_timeout_s: int = 1800
    images: list[str] = []  # patterns of images that the queue allows; none: any
    build_log_size: int = 0  # bytes of the build's output, of all attempts, that the server has


class ServedQueue(msgspec.Struct):
    name: str
    resource: str | None  # None: no such queue yet


class Registered(msgspec.Struct, kw_only=True):
    agent_id: str
    name: str
    entity: str
    entity_is_team: bool
    epoch: int
    token: str
    queues: list[ServedQueue]
    held: list[Held]


class Poll(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`slots`: how many more items may be leased. `holding`: what the agent works on."""

    slots: int
    holding: list[str] = []
    wait_s: float = POLL_WAIT


class Stop(msgspec.Struct):
    item_id: str
    grace_s: int


class Polled(msgspec.Struct, kw_only=True):
    """
    `lost`: held no more; end the workloads. `drain`: take nothing more, finish, and exit.
    `set_aside`: why nothing is leased until a check of the host has passed; empty if all is well.
    """

    leased: list[Held] = []
    lost: list[str] = []
    stop: list[Stop] = []
    drain: bool = False
    set_aside: str = ""
    queues: list[ServedQueue] = []


class Move(msgspec.Struct, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    item_id: str
    token: str


class Claim(Move, tag="claim"):
    """From here on the item is never handed out again. Repeatable."""


class Release(Move, tag="release"):
    """Give back what was leased and not begun."""


class Keep(Move, tag="keep"):
    """`gpus`: how many devices the workload was given, for the usage report."""

    handle: HandleData
    gpus: int = 0


class Observe(Move, tag="observe"):
    """`exit_code` only with phase "exited"; None where nobody recorded it."""

    phase: str
    exit_code: int | None = None
    reason: str = ""


class Fail(Move, tag="fail"):
    """`host`: the agent's host is at fault, not the job; the item goes back to its queue."""

    stage: str
    message: str
    detail: str = ""  # a traceback or the last lines of a log, up to 64 KiB
    host: bool = False


class Warn(Move, tag="warn"):
    stage: str
    message: str


class Build(Move, tag="build"):
    """Ask to build an image; who may is decided by the server, so that it is built once.

    `place` is empty for an image in a registry, else it names where those of one engine are kept.
    `missing`: the agent has looked, and the image is not there. `waits`: the server said before
    that another item builds it. `about` is shown to people: base image, builder, platform.
    """

    place: str
    repository: str
    tag: str
    missing: bool = False
    waits: bool = False
    about: dict[str, str] = {}


class Built(Move, tag="built"):
    """Tell how a build that was allowed has ended; `error` is empty if all went well.

    With neither digest nor error nothing was built, and the next who asks may.
    """

    place: str
    repository: str
    tag: str
    digest: str = ""
    size: int = 0  # bytes, 0 if nobody said
    error: str = ""


class Use(Move, tag="use"):
    """Tell which image the attempt runs, so that nobody prunes it. It was found, or built."""

    place: str
    repository: str
    tag: str
    digest: str
    about: dict[str, str] = {}


AnyMove = Claim | Release | Keep | Observe | Fail | Warn | Build | Built | Use


class MayBuild(msgspec.Struct, kw_only=True):
    """
    The answer to `Build`. `do` is "build"; "wait" and ask again, while `by` builds it; "use" what
    is there by now under `digest`; or "fail", since the build that this one waited for has failed.
    """

    do: str
    digest: str = ""
    by: str = ""  # the run that builds it, or has: entity/project/run
    message: str = ""


class Moves(msgspec.Struct, forbid_unknown_fields=True):
    moves: list[AnyMove]


class Moved(msgspec.Struct, kw_only=True):
    """The answer to one move. `code` is an error's, empty if the move was made."""

    code: str = ""
    message: str = ""
    run_token: str | None = None  # after a claim
    secrets: dict[str, str] | None = None  # after a claim: variables and their values
    may_build: MayBuild | None = None  # after `Build`


class MovesDone(msgspec.Struct):
    results: list[Moved]


class LogChunk(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bytes `offset` to `offset + len(data)` of the attempt's output.

    With `stage` "build", of what the item's builds have printed, through all attempts.
    """

    item_id: str
    token: str
    offset: int
    data: bytes
    stage: str = ""


class Logs(msgspec.Struct, forbid_unknown_fields=True):
    chunks: list[LogChunk]


class Logged(msgspec.Struct, kw_only=True):
    """`size`: how much of the output the server has now; go on from there."""

    size: int = 0
    code: str = ""


class LogsDone(msgspec.Struct):
    results: list[Logged]


class Doomed(msgspec.Struct, kw_only=True):
    """An image that somebody asked to prune, and that an agent of its place may delete."""

    id: str
    repository: str
    tag: str
    digest: str


class AskDoomed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`place` and `repository` are those that the agent builds for; `gone` are ids that it has
    deleted since it asked last, `after` the last that it was told, for the next of many."""

    place: str
    repository: str
    gone: list[str] = []
    after: str = ""


class DoomedImages(msgspec.Struct):
    images: list[Doomed]
