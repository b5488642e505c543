"""segment-stream: what authors of processors use. See docs/processors.md; for connectors, docs/connectors.md."""

from stream import toml
from stream.core.register import Register, Settled, named, settle
from stream.errors import ConfigError, Dead, Retry, Skip
from stream.events import Event
from stream.processor import Projection, Reactor, Sync, Table, Want

__all__ = [
    "ConfigError",
    "Dead",
    "Event",
    "Projection",
    "Reactor",
    "Register",
    "Retry",
    "Settled",
    "Skip",
    "Sync",
    "Table",
    "Want",
    "named",
    "settle",
    "toml",
]
