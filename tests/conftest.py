"""What all tests share: which of them run, and the command line called in this process."""

import logging
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import structlog
from click.testing import CliRunner, Result

from stream.cli import main

pytest_plugins = ["tests.brokers.fixtures"]


def pytest_configure() -> None:
    """Ctrl-C ends what the tests start, even where a shell started them in the background, deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # some are marked slow by other hooks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run in CI and with SLOW=1."""
    if os.environ.get("SLOW") == "1" or os.environ.get("CI") == "true":
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture
def run() -> Iterator[Callable[..., Result]]:
    """Calls the command line as a user does: `run("check", "--json")`."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield lambda *words, **more: CliRunner().invoke(main, [str(word) for word in words], **more)
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
