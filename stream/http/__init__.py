"""Runs connectors' flows over HTTP: pools, priorities, rates, timeouts, verdicts; or shows what would go out."""

from stream.http.client import Client
from stream.http.performer import Allow, Performer
from stream.http.recorder import Recorder, Shown

__all__ = ["Allow", "Client", "Performer", "Recorder", "Shown"]
