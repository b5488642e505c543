"""segment-stream: what authors of processors use. See docs/processors.md."""

from stream import toml
from stream.core.recent import noted
from stream.core.register import Register, Settled, named, settle
from stream.errors import ConfigError, Dead, Skip
from stream.events import Event
from stream.processor import Projection, Table

__all__ = [
    "ConfigError",
    "Dead",
    "Event",
    "Projection",
    "Register",
    "Settled",
    "Skip",
    "Table",
    "named",
    "noted",
    "settle",
    "toml",
]
