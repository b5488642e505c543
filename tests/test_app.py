"""The whole app in this process: ready while it can do its work, and what it says when it cannot."""

import resource
from pathlib import Path

import pytest

from stream.app import App
from stream.errors import LogUnavailable
from tests.embedded import config, message


async def test_it_is_not_ready_while_the_disk_takes_nothing_and_ready_again_without_an_event(tmp_path: Path) -> None:
    async with App.open(config(tmp_path)) as app:
        assert await app.ready() is None
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(LogUnavailable):
                await app.log.append([message("track", 1, userId="u1", event="Viewed")])
            assert "cannot write the log" in (await app.ready() or "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await app.ready() is None


async def test_a_processor_that_stopped_makes_it_not_ready_and_is_named(tmp_path: Path) -> None:
    async with App.open(config(tmp_path)) as app:
        app.worker.stopped["consent"] = "most of its last deliveries died"
        assert await app.ready() == "stopped: consent"
