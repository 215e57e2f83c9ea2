"""What the agent says of itself: events with fields, one line each, for people or machines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable
from typing import Any, TextIO

import structlog

from runyard.agent.config import AgentConfig
from runyard.wire.agent import Registered, ServedQueue

logger = structlog.get_logger(__name__)

STATUS_EVERY, STATUS_EVERY_VERBOSE = 300.0, 20.0  # seconds


def configure(config: AgentConfig) -> None:
    """Send events where the settings say, first what they warn of. Called once, by the program."""
    out: TextIO = sys.stderr
    if config.log_file != "-":
        # Open until the process ends; line by line, so that nothing is lost with it.
        out = open(config.log_file, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
    as_json = config.log_format == "json"
    shape: Any = structlog.processors.JSONRenderer()
    if not as_json:
        shape = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    levels = {0: logging.INFO, 1: logging.INFO, 2: logging.DEBUG}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            shape,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[config.verbosity]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    for told in config.warnings():
        logger.warning(told)


def status_line(name: str, queues: Iterable[str], running: int, max_jobs: int) -> str:
    most = "unlimited" if max_jobs < 0 else str(max_jobs)
    return (
        f"agent {name} polling on queues {','.join(queues)}, "
        f"running {running} out of a maximum of {most} jobs"
    )


def greet(registered: Registered) -> None:
    """Say who the agent is now, and what its owner should know."""
    logger.info(
        "registered",
        agent=registered.name,
        entity=registered.entity,
        epoch=registered.epoch,
        adopted=len(registered.held),
    )
    if registered.entity_is_team:
        logger.warning(
            f"{registered.entity} is a team: all of its members can run code on this machine, "
            "as the user that this agent runs as"
        )


class QueueNotes:
    """Says once of each queue that it is missing, and once that it is served."""

    def __init__(self, entity: str) -> None:
        self._entity = entity
        self._known: dict[str, str | None] = {}

    def look(self, queues: Collection[ServedQueue]) -> list[str]:
        """Note the queues as the server sees them; return the resources that are new."""
        fresh = []
        for queue in queues:
            if self._known.get(queue.name, "") == queue.resource:
                continue
            self._known[queue.name] = queue.resource
            if queue.resource is None:
                logger.warning(
                    f"queue {queue.name} does not exist in {self._entity}; it will be served as "
                    f"soon as it does. Create it: runyard queue create {queue.name} "
                    "--resource local-process"
                )
            else:
                logger.info("serving queue", queue=queue.name, resource=queue.resource)
                fresh.append(queue.resource)
        return fresh
