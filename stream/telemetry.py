"""What the outside sees of a running process: log lines and metrics. Neither carries personal data."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, TextIO, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

T = TypeVar("T")

Level = Literal["debug", "info", "warning", "error"]

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of histograms: dense around the targets (20 ms to acknowledge, 50 ms to publish)."""


def set_up(level: Level, out: TextIO | None = None) -> None:
    """Log lines of this level and above go to `out` (stderr): coloured text on a terminal, JSON lines otherwise.

    Lines of libraries come in the same form, from warning up. Tracebacks never show the values of variables."""
    out = sys.stderr if out is None else out
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
    )
    lines = logging.StreamHandler(out)
    lines.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(out)))
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(threshold)
    for library in ("aiohttp", "asyncio"):
        logging.getLogger(library).setLevel(max(threshold, logging.WARNING))


def registry() -> CollectorRegistry:
    """A new registry, with what the system knows of this process: CPU, memory, open files."""
    found = CollectorRegistry()
    ProcessCollector(registry=found)
    return found


_New = Callable[..., T]


class Metrics:
    """Every metric of the process, on one registry. `processor` is a processor's name and `destination` a connector's,
    never a person."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        seconds = partial(Histogram, registry=registry, buckets=SECONDS)
        self.requests = counter("stream_requests", "Requests answered, by kind of path and status.", ["path", "status"])
        self.in_flight = gauge("stream_requests_in_flight", "Requests being answered now.")
        self.received = counter("stream_received_events", "Events made durable.", ["source", "topic"])
        self.bad_signatures = counter("stream_bad_signatures", "Signatures missing or wrong.", ["source"])
        self.unknown_write_keys = counter("stream_unknown_write_keys", "Requests with a write key of no source.")
        self.invalid = counter("stream_invalid_events", "What was kept in segment.invalid.", ["reason"])
        self.append_seconds = seconds("stream_append_seconds", "From asking the log to keep messages to durable.")
        self.queue_bytes = gauge("stream_log_queue_bytes", "Bytes that wait to become durable.")
        self._of_spill(counter, gauge)
        self._of_processors(counter, gauge, seconds)
        self._of_destinations(counter, gauge, seconds)

    def _of_spill(self, counter: _New[Counter], gauge: _New[Gauge]) -> None:
        self.spilled = counter("stream_spilled_events", "Events made durable here, while the log was away.")
        self.spill_messages = gauge("stream_spill_messages", "Events that wait here for the log.")
        self.spill_bytes = gauge("stream_spill_bytes", "What they take of the disk.")
        self.spill_oldest = gauge("stream_spill_oldest_seconds", "For how long the oldest of them waits.")
        self.refused = counter("stream_refused_events", "Events larger than the log takes, kept in refused.", ["topic"])
        self.refused_kept = gauge("stream_refused_kept", "Of these, in refused now.")

    def _of_processors(self, counter: _New[Counter], gauge: _New[Gauge], seconds: _New[Histogram]) -> None:
        self.deliveries = counter("stream_deliveries", "Deliveries ended, by their fate.", ["processor", "fate"])
        self.lag = gauge("stream_lag_messages", "Messages that a processor has yet to deal with.", ["processor"])
        self.batch_seconds = seconds("stream_batch_seconds", "From a batch's fetch to its commit.", ["processor"])
        self.conflicts = counter("stream_conflicts", "Batches redone: somebody else wrote their rows.", ["processor"])
        self.held = gauge("stream_held_deliveries", "Deliveries in held, open.", ["processor"])
        self.stopped = gauge("stream_processor_stopped", "1 while a processor has stopped by itself.", ["processor"])
        self.deletions_open = gauge("stream_deletions_open", "Requests to delete that are not done.")
        self.published = counter("stream_published_messages", "Messages published.", ["topic"])

    def _of_destinations(self, counter: _New[Counter], gauge: _New[Gauge], seconds: _New[Histogram]) -> None:
        self.requests_sent = counter(
            "stream_requests_sent", "Requests to destinations, by what came back.", ["destination", "outcome"]
        )
        self.request_seconds = seconds("stream_request_seconds", "From sending to the whole answer.", ["destination"])
        self.gate_refusals = counter("stream_gate_refusals", "Sends that the gate refused.", ["processor", "reason"])
        self.breaker_open = gauge("stream_breaker_open", "1 while a destination is taken to be down.", ["processor"])
        self.held_lanes = gauge("stream_held_lanes", "Keys with deliveries in held, open.", ["processor"])
        self.oldest_open = gauge(
            "stream_oldest_open_seconds", "Age of the oldest delivery that has not ended.", ["processor"]
        )
        self.walk_people = counter("stream_walk_people", "People that walks have looked at.", ["processor"])
        self.deletions_overdue = gauge("stream_deletions_overdue", "Deletions open for longer than they should be.")


def _rendering(out: TextIO) -> list[structlog.typing.Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if out.isatty():
        return [strip, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
