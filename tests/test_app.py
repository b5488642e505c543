"""The whole app in this process: ready while it can do its work, and what it says when it cannot."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest
from msgspec import structs
from prometheus_client import generate_latest

from stream.app import App
from stream.config import ReceiverConfig
from stream.errors import LogUnavailable, PositionLost
from stream.snapshot import read
from tests.disk import full_disk
from tests.embedded import Embedded, config, message


async def test_it_is_not_ready_while_the_disk_takes_nothing_and_ready_again_without_an_event(tmp_path: Path) -> None:
    async with App.open(config(tmp_path)) as app:
        assert await app.ready() is None
        with full_disk():
            with pytest.raises(LogUnavailable):
                await app.log.append([message("track", 1, userId="u1", event="Viewed")])
            assert "cannot write the log" in (await app.ready() or "")
        assert await app.ready() is None


async def test_a_processor_that_stopped_makes_it_not_ready_and_is_named(tmp_path: Path) -> None:
    async with App.open(config(tmp_path)) as app:
        app.worker.stopped["consent"] = "most of its last deliveries died"
        assert await app.ready() == "stopped: consent"


async def test_the_receiver_alone_runs_no_processor_and_a_processor_alone_no_receiver(tmp_path: Path) -> None:
    ours = structs.replace(config(tmp_path), receiver=ReceiverConfig(port=0))
    for parts, processors, receives in (
        (["receiver"], [], True),
        (["profiles"], ["profiles"], False),
        (["profiles", "receiver"], ["profiles"], True),
        ([], ["profiles", "audiences", "consent", "deletion"], True),
    ):
        async with App.open(ours, parts) as app:
            assert list(app.worker.projectors) == processors
            listening = asyncio.get_running_loop().create_future()
            running = asyncio.create_task(app.run(listening.set_result))
            assert (await listening is not None) == receives
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_a_deletion_waits_for_configured_processors_that_run_elsewhere_and_knows_their_rows(
    tmp_path: Path,
) -> None:
    async with Embedded.open(tmp_path, config(tmp_path)) as system:
        await system.send(message("identify", 1, userId="u1", traits={"old": 1}), message("delete", 2, userId="u1"))
        await system.send(message("identify", 3, userId="u1", traits={"new": 1}))
        await system.read("deletion", "audiences", "consent")
    async with App.open(config(tmp_path), ["deletion"]) as app:
        for _ in range(3):
            await app.worker.eraser.step()
        [waiting] = await app.around.store.deletions.every()
        assert waiting.state == "open"
    async with Embedded.open(tmp_path, config(tmp_path)) as system:
        await system.read("profiles")
    async with App.open(config(tmp_path), ["deletion"]) as app:
        await app.worker.eraser.step()
        [done] = await app.around.store.deletions.every()
        assert done.state == "done"
        snapshot = await read(app.around.store, ["user:u1"])
        assert snapshot.person("user:u1").traits == {"new": 1}


@pytest.fixture
async def put_back(tmp_path: Path) -> None:
    """An older copy of the log under the state of a newer one: it lacks the last two messages."""
    async with Embedded.open(tmp_path, config(tmp_path)) as system:
        await system.send(message("track", 1, userId="u1", event="A"))
        await system.read()
    shutil.copy(tmp_path / "log.db", tmp_path / "older.db")
    async with Embedded.open(tmp_path, config(tmp_path)) as system:
        await system.send(*[message("track", at, userId="u1", event="A") for at in (2, 3)])
        await system.read()
    shutil.move(tmp_path / "older.db", tmp_path / "log.db")


OLDER = (
    r"audiences is at 3 of segment\.track/\d, and the log ends at 1: .*[Pp]ut the newer log back, or start with a new"
)


@pytest.mark.parametrize("parts", [(), ("receiver",), ("deletion",)])
async def test_a_log_that_is_older_than_the_state_is_refused_before_anything_runs(
    tmp_path: Path, put_back: None, parts: tuple[str, ...]
) -> None:
    with pytest.raises(PositionLost, match=OLDER):
        async with App.open(config(tmp_path), parts):
            raise AssertionError("it opened")


async def test_the_command_refuses_it_with_one_line_and_exit_code_1(tmp_path, put_back, run) -> None:
    text = "[log]\nurl = 'sqlite:log.db'\n[store]\nurl = 'sqlite:state.db'\n[receiver]\nport = 0\n"
    (tmp_path / "stream.toml").write_text(text)
    result = await asyncio.to_thread(run, "--config", tmp_path / "stream.toml", "run")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and re.search(OLDER, result.stderr)


async def test_positions_of_another_log_stop_their_processors_and_not_the_receiver(tmp_path: Path, put_back) -> None:
    shutil.move(tmp_path / "log.db", tmp_path / "old.db")
    async with App.open(config(tmp_path)) as app:
        assert await app.ready() is None


async def test_the_system_s_view_of_the_process_is_among_the_metrics(tmp_path: Path) -> None:
    async with App.open(config(tmp_path)) as app:
        assert b"process_resident_memory_bytes" in generate_latest(app.around.metrics.registry)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}


async def test_what_it_makes_is_for_its_user_alone_and_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        async with App.open(config(tmp_path / "data")) as app:
            await app.log.append([message("track", 1, userId="u1", event="Viewed")])
            made = modes(tmp_path / "data")
            assert made.pop("data") == 0o700
            assert {"log.db", "log.db-wal", "log.db-shm", "log.db.lock", "state.db", "state.db-wal"} <= made.keys()
            assert set(made.values()) == {0o600}
        for path in (tmp_path / "data", *(tmp_path / "data").glob("*.db")):
            path.chmod(0o755 if path.name == "data" else 0o644)
        async with App.open(config(tmp_path / "data")):
            kept = modes(tmp_path / "data")
            assert (kept["data"], kept["log.db"], kept["state.db"]) == (0o755, 0o644, 0o644)
    finally:
        os.umask(umask)
