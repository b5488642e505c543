"""segment-stream: what authors of processors use."""

from stream.errors import Dead, Retry, Skip
from stream.events import Event
from stream.processor import Projection, Table

__all__ = ["Dead", "Event", "Projection", "Retry", "Skip", "Table"]
