"""
An item's trace as OpenTelemetry has it: the spans, and how they are sent by OTLP over HTTP.

    launch ─┬─ queued
            ├─ leased
            ├─ starting
            └─ running      the parent of whatever spans the program itself makes

This module alone knows the library, which comes with `runyard[otel]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from runyard import __version__
from runyard.domain import tracing
from runyard.domain.errors import Invalid
from runyard.domain.timeline import Ending, Part, Stretch, Tale, failure_class

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as error:
    raise Invalid(
        f"otlp_endpoint: traces need a library that is not installed ({error})",
        hint="pip install 'runyard[otel]'",
    ) from error

TIMEOUT: Final = 10.0  # seconds for one request, repetitions included
_PATH: Final = "/v1/traces"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SCOPE: Final = InstrumentationScope("runyard", __version__)
_RESOURCE: Final = Resource({"service.name": "runyard", "service.version": __version__})
_BAD: Final = (Ending.FAILED, Ending.CRASHED)

Value = str | int


class Exporter:
    """Sends traces to a collector."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._exporter = OTLPSpanExporter(
            endpoint=full_address(endpoint), headers=dict(headers), timeout=TIMEOUT
        )

    def send(self, tales: Sequence[Tale]) -> bool:
        """Send the traces of items; False if they were not taken, and may be sent again."""
        found = [span for tale in tales for span in spans(tale)]
        return self._exporter.export(found) is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def full_address(endpoint: str) -> str:
    """Return where traces go: the collector's address and, unless it is said, the usual path."""
    path = urlsplit(endpoint).path.rstrip("/")
    return endpoint if path.endswith(_PATH) else endpoint.rstrip("/") + _PATH


def spans(tale: Tale) -> list[ReadableSpan]:
    """Return the trace of an item that has ended. No text of it is anybody's free writing."""
    stretches = tale.stretches()
    root = _context(tale, tracing.span_id(tale.item_id, "launch"))
    begin, end = tale.events[0].at, tale.ended_at or tale.events[-1].at
    ending = stretches[-1].ending if stretches else Ending.KILLED
    failure = failure_class(ending, tale.stage, tale.last)
    made = [_span("launch", root, None, begin, end, _of_item(tale, ending, failure), ending)]
    seen: Counter[Part] = Counter()
    for stretch in stretches:
        seen[stretch.part] += 1
        # By attempt where there is one of each, so that a program's parent can be told ahead.
        n = stretch.attempt if stretch.part is Part.RUNNING else seen[stretch.part]
        context = _context(tale, tracing.span_id(tale.item_id, stretch.part.value, n))
        made.append(
            _span(
                stretch.part.value, context, root, stretch.begin, stretch.end,
                _of_stretch(tale, stretch), stretch.ending,
            )
        )  # fmt: skip
    return made


def _of_item(tale: Tale, ending: Ending, failure: tuple[str, str] | None) -> dict[str, Value]:
    about: dict[str, Value] = {
        "runyard.item": tale.item_id,
        "runyard.run": tale.run,
        "runyard.project": tale.project,
        "runyard.team": tale.team,
        "runyard.entity": tale.entity,
        "runyard.queue": tale.queue,
        "runyard.resource": tale.resource,
        "runyard.priority": tale.priority,
        "runyard.author": tale.author,
        "runyard.job": tale.job,
        "runyard.attempts": len(tale.tries),
        "runyard.outcome": ending.value,
    }
    if failure is not None:
        about["runyard.failure.stage"], about["runyard.failure.reason"] = failure
    if tale.last is not None and tale.last.exit_code is not None:
        about["process.exit.code"] = tale.last.exit_code
    return about


def _of_stretch(tale: Tale, stretch: Stretch) -> dict[str, Value]:
    about: dict[str, Value] = {
        "runyard.item": tale.item_id,
        "runyard.entity": tale.entity,
        "runyard.queue": tale.queue,
        "runyard.author": tale.author,
        "runyard.attempt": stretch.attempt,
        "runyard.outcome": stretch.ending.value,
    }
    tried = tale.tries.get(stretch.attempt)
    if tried is not None and stretch.part in (Part.STARTING, Part.RUNNING):
        about |= {"runyard.agent": tried.agent, "runyard.gpus": tried.gpus}
        if stretch.part is Part.RUNNING and tried.exit_code is not None:
            about["process.exit.code"] = tried.exit_code
    return about


def _span(
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    begin: datetime,
    end: datetime,
    attributes: Mapping[str, Value],
    ending: Ending,
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=context,
        parent=parent,
        resource=_RESOURCE,
        attributes=attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR if ending in _BAD else StatusCode.UNSET),
        start_time=_nanoseconds(begin),
        end_time=_nanoseconds(max(begin, end)),
        instrumentation_scope=_SCOPE,
    )


def _context(tale: Tale, span_id: int) -> SpanContext:
    trace_id = tracing.trace_id(tale.item_id)
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1))


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND * 1000
