"""Every exception of stream, in one tree.

StreamError
├── Outcome                  what an author raises from handle(); each ends a delivery in a named fate
│   ├── Retry                the world is not ready
│   │   └── NotYet           nobody failed: the gate is behind, a lease is taken, a rate is used up
│   ├── Dead                 the message is wrong: kept in held
│   └── Skip                 rightly nothing to do
├── Refused                  a destination answered 4xx to this very request
├── ConfigError              stream.toml, or what it names, is wrong
├── LogError
│   ├── LogFull              the queue is at its bound: nothing of this append was kept
│   ├── LogUnavailable       the disk or the broker refused: nothing of this append is acknowledged
│   │   └── LogRefused       … and it stays so until somebody changes something: password, certificate, rights
│   ├── TooLarge             the log never takes some of the messages; the others of the append are durable
│   └── LogInUse             another process writes this log
├── StoreError
│   ├── StoreRefused         the server refuses us, until somebody changes something: password, certificate, rights
│   ├── ClaimLost            a newer member owns the partition: nothing was written
│   ├── Conflict             rows changed since they were read: nothing was written
│   ├── StoreUnavailable     the server is away: nothing was written
│   └── SchemaMismatch       the database was written by another version
├── Stopped                  most deliveries of a processor die
├── WentBack                 the store has, or may have, forgotten what this process had committed
└── PositionLost             the log no longer holds what a processor has yet to read
"""

from collections.abc import Sequence

from stream.message import Message


class StreamError(Exception):
    """Something stream can name. The message says what, where, and what to do."""


class Outcome(StreamError):
    """The end of one delivery, as its author sees it. `reason` is a short constant: it becomes a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Retry(Outcome):
    """The world is not ready; try again, after `after` seconds if given. `outage`: it would fail for anybody."""

    def __init__(self, reason: str, after: float | None = None, outage: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.outage = outage


class NotYet(Retry):
    """Nobody failed, and it is not this one's turn: counts as no attempt, and tells nothing of the destination."""


class Dead(Outcome):
    """The message is wrong and no repeat can mend it: it goes to held, with its bytes."""


class Skip(Outcome):
    """Rightly nothing to do: a duplicate, suppressed, filtered."""


class Refused(StreamError):
    """A destination answered 4xx (not one of those that mean "later"). Thrown into the flow, which may catch it; what
    it does not catch is `Dead("http_<status>")`. The message has no byte of the body: that may name a person."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(f"http_{status}")
        self.status = status
        self.body = body


class ConfigError(StreamError):
    """The configuration is wrong. Names the path in the file, and what is allowed there."""


class LogError(StreamError):
    """A log could not do what was asked."""


class LogFull(LogError):
    """The queue is at its bound. Nothing of this append was kept: try again later."""


class LogUnavailable(LogError):
    """The disk or the broker refused. Nothing of this append is acknowledged; some of it may be durable."""


class LogRefused(LogUnavailable):
    """The brokers refuse us: password, token, certificate or rights. It stays so until somebody changes something."""


class TooLarge(LogError):
    """The log refuses `messages` by themselves, now and ever. All others of the append are durable."""

    def __init__(self, messages: Sequence[Message]) -> None:
        super().__init__(f"{len(messages)} messages are larger than the log takes")
        self.messages = messages


class LogInUse(LogError):
    """Another process writes this log."""


class StoreError(StreamError):
    """The store could not do what was asked."""


class StoreRefused(StoreError):
    """The server refuses us: password, certificate or rights. It stays so until somebody changes something."""


class ClaimLost(StoreError):
    """A newer member owns the partition. Nothing was written."""


class Conflict(StoreError):
    """Rows or tombstones changed since they were read. Nothing was written: load again and redo."""


class StoreUnavailable(StoreError):
    """The database server cannot be reached, or ended the connection. Nothing was written: try again later."""


class SchemaMismatch(StoreError):
    """The database was written by another version of stream."""


class PositionLost(StreamError):
    """The log no longer holds what a processor has yet to read. Names the gap; nothing is moved silently."""


class WentBack(StreamError):
    """The store has forgotten what this process had committed, or may have: after a failover, nobody can tell; or a
    backup was put back beside it. What the process remembers is wrong; one that begins anew goes on where the store
    is."""


class Stopped(StreamError):
    """Most deliveries of a processor die: it stops until somebody resumes it."""
