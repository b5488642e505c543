"""Runner: one member of one sync or reactor. See runner.py."""

from stream.runner.actor import Actor
from stream.runner.runner import Runner

__all__ = ["Actor", "Runner"]
