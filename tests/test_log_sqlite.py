"""What only the embedded log promises: retention, its file, its process, and a second one that reads."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from stream.errors import ConfigError, LogError, LogFull, LogInUse, LogUnavailable, PositionLost
from stream.log.partitioner import partition_of
from stream.log.sqlite import SqliteHistory, SqliteLog
from stream.message import Message, Partition
from tests.contracts.logs import IDENTIFY, PARTITIONS, TRACK, Embedded, Owner, everything, fetched, joined, message

A = Partition(TRACK, partition_of(b"a", PARTITIONS))


@pytest.fixture
def kind(tmp_path: Path) -> Embedded:
    return Embedded(tmp_path)


async def test_retention_deletes_what_is_old_and_offsets_go_on(kind: Embedded) -> None:
    async with kind.open() as log:
        await log.append([message("a") for _ in range(10)])
        kind.clock.now = 2000.0
        assert await log.retain({}, older_than=1000.0, max_bytes=0) == 0
        assert await log.retain({}, older_than=1000.1, max_bytes=0) == 10
        assert (await log.bounds([TRACK]))[A] == (10, 10)
    async with kind.open() as log:
        assert (await log.bounds([TRACK]))[A] == (10, 10)
        await log.append([message("a")])
        assert [d.offset for d in await everything(log)] == [10]
        assert (await log.bounds([TRACK]))[A] == (10, 11)


async def test_retention_keeps_what_somebody_has_yet_to_read(kind: Embedded) -> None:
    async with kind.open() as log:
        for _ in range(5):
            await log.append([message("a"), message("a")])
        await log.append([message("a", topic=IDENTIFY)])
        assert await log.retain({A: 5}, older_than=9e9, max_bytes=1) == 5  # two whole rows, and the other topic's
        assert (await log.bounds([TRACK]))[A] == (4, 10)
        assert [d.offset for d in await everything(log)] == list(range(4, 10))
        assert await log.retain({A: 4}, older_than=9e9, max_bytes=1) == 0
        assert await log.retain({A: 10}, older_than=9e9, max_bytes=1) == 6


async def test_retention_by_size_deletes_the_oldest_until_it_fits(kind: Embedded) -> None:
    async with kind.open() as log:
        for number in range(40):
            await log.append([Message(TRACK if number % 2 else IDENTIFY, b"a", bytes(100_000))])
            kind.clock.now += 1
        assert await log.retain({}, older_than=0.0, max_bytes=5_000_000) == 0
        deleted = await log.retain({}, older_than=0.0, max_bytes=2_000_000)
        assert 20 <= deleted <= 22
        left = await everything(log, TRACK, IDENTIFY)
        assert len(left) == 40 - deleted
        assert min(d.time for d in left) >= 1000.0 + deleted - 2
        for _ in range(20):  # the room is used again
            await log.append([Message(TRACK, b"a", bytes(100_000))])
    assert kind.path.stat().st_size < 5_000_000


async def test_retention_goes_on_beside_appends_in_small_steps(kind: Embedded) -> None:
    async with kind.open() as log:
        for _ in range(6):
            await log.append([Message(TRACK, b"a", bytes(1_000_000)) for _ in range(5)])
        commits = log.commits
        retaining = asyncio.create_task(log.retain({}, older_than=9e9, max_bytes=0))
        late = 0
        while not retaining.done():
            await log.append([message("a")])
            late += 1
        assert await retaining >= 30
        assert log.commits - commits == late >= 3


async def test_a_position_before_the_beginning_is_lost_and_said_so(kind: Embedded) -> None:
    async with kind.open() as log:
        for _ in range(4):
            await log.append([message("a")])
            kind.clock.now += 1
        await log.retain({A: 3}, older_than=9e9, max_bytes=0)
        async with joined(log, Owner({A: 1})) as cursor:
            with pytest.raises(PositionLost, match=f"{TRACK}/{A.number}: 1 .* begins at 3"):
                await fetched(cursor, 1)
        await log.retain({}, older_than=9e9, max_bytes=0)
        async with joined(log, Owner({A: 3})) as cursor:
            with pytest.raises(PositionLost, match="no longer holds"):
                await fetched(cursor, 1)


async def test_committed_positions_are_written_soon_and_can_be_seen_by_another_process(kind: Embedded) -> None:
    async with kind.open() as log, SqliteLog.open_readonly(kind.path) as other, joined(log, Owner()) as cursor:
        for position in range(1, 20):
            await cursor.commit({A: position})
        async with asyncio.timeout(5):
            while await other.committed("g") != {A: 19}:
                pass
        assert await other.committed("another") == {}


async def test_what_was_committed_last_is_written_when_the_log_is_closed(kind: Embedded) -> None:
    async with kind.open() as log:
        async with joined(log, Owner()) as cursor:
            pass
        for position in range(1, 20):
            await cursor.commit({A: position})
    async with kind.open() as log:
        assert await log.committed("g") == {A: 19}


async def test_an_append_that_failed_in_the_middle_leaves_nothing_and_the_next_one_goes_on(kind: Embedded) -> None:
    async with kind.open() as log:
        await log.append([message("a")])
        with closing(sqlite3.connect(kind.path, isolation_level=None)) as other:  # takes the next offset away
            copied = "partition_id, first + 1, next + 1, time, data"
            other.execute(f"INSERT INTO batch (partition_id, first, next, time, data) SELECT {copied} FROM batch")
        with pytest.raises(LogUnavailable, match="UNIQUE"):
            await log.append([*(message(f"{n}", topic=IDENTIFY) for n in range(1000)), message("a")])
        assert await everything(log, IDENTIFY) == []
        await log.append([message("a")])
        assert [d.offset for d in await everything(log)] == [0, 1, 2]


async def test_another_number_of_partitions_is_a_configuration_error(kind: Embedded) -> None:
    async with kind.open():
        pass
    with pytest.raises(ConfigError, match=r"log\.partitions is 8.* 4 .*set it to 4"):
        async with SqliteLog.open(kind.path, partitions=8, clock=kind.clock):
            pass


async def test_a_topic_that_came_with_a_newer_version_is_added(kind: Embedded) -> None:
    async with kind.open() as log:
        await log.append([message("a", b"kept", IDENTIFY)])
    with closing(sqlite3.connect(kind.path)) as connection:
        connection.execute("DELETE FROM partition WHERE topic = ?", (TRACK,))
        connection.commit()
    async with kind.open() as log:
        await log.append([message("a")])
        assert [d.message.value for d in await everything(log, TRACK, IDENTIFY)] == [b"{}", b"kept"]


async def test_a_second_writer_is_told_who_is_first(kind: Embedded) -> None:
    async with kind.open() as log:
        with pytest.raises(LogInUse, match=rf"{kind.path.parent} .*process {os.getpid()} "):
            async with kind.open():
                pass
        await log.append([message("a")])
    async with kind.open() as log:
        assert len(await everything(log)) == 1


@pytest.mark.parametrize("content", [b"this is no database, and it is longer than a header of one" * 20, b"sqlite"])
async def test_a_file_that_is_no_log_is_refused_and_left_alone(kind: Embedded, content: bytes) -> None:
    if content == b"sqlite":
        with closing(sqlite3.connect(kind.path)) as connection:
            connection.execute("CREATE TABLE mine (x)")
            connection.commit()
    else:
        kind.path.write_bytes(content)
    before = kind.path.stat().st_size
    with pytest.raises(LogError, match=r"log\.db is .*no log"):
        async with kind.open():
            pass
    assert kind.path.stat().st_size == before


async def test_a_file_of_another_version_is_refused(kind: Embedded) -> None:
    async with kind.open():
        pass
    with closing(sqlite3.connect(kind.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for opening in (kind.open(), SqliteLog.open_readonly(kind.path)):
        with pytest.raises(LogError, match=r"another version .*99"):
            async with opening:
                pass


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogUnavailable, match="file"):
        async with SqliteLog.open(tmp_path / "file" / "log.db", partitions=4, clock=lambda: 0.0):
            pass


async def test_a_second_process_reads_what_is_appended_meanwhile(kind: Embedded) -> None:
    async with kind.open() as log, SqliteHistory.open_readonly(kind.path, wait=0.01) as other:
        assert other.identity == log.identity
        async with joined(other, Owner()) as cursor:
            assert await cursor.fetch(10) == []
            await log.append([message("a", b"%d" % n) for n in range(5)])
            assert [d.message.value for d in await fetched(cursor, 5)] == [b"0", b"1", b"2", b"3", b"4"]
            with pytest.raises(LogError, match="reading only"):
                await cursor.commit({A: 5})
        assert (await other.bounds([TRACK]))[A] == (0, 5)
        assert len(await everything(other)) == 5
        with pytest.raises(LogError, match="reading only"):
            await other.append([message("a")])


async def test_reading_where_there_is_no_log_says_so_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log at"):
        async with SqliteLog.open_readonly(tmp_path / "log.db"):
            pass
    assert not os.listdir(tmp_path)


async def test_a_full_queue_drains_and_takes_again_while_the_disk_is_slow(kind: Embedded) -> None:
    async with kind.open(queue_bytes=100_000) as log:
        with closing(sqlite3.connect(kind.path, isolation_level=None)) as slow:
            slow.execute("BEGIN IMMEDIATE")  # the writer waits for its turn
            waiting = [asyncio.create_task(log.append([message(f"{n}", bytes(900))])) for n in range(100)]
            await asyncio.sleep(0)
            assert 90_000 < log.queued_bytes <= 100_000
            for _ in range(3):
                with pytest.raises(LogFull):
                    await log.append([message("more", bytes(9_000))])
            slow.execute("ROLLBACK")
        await asyncio.gather(*waiting)
        assert log.queued_bytes == 0
        await log.append([message("more", bytes(9_000))])
        assert len(await everything(log)) == 101
        assert (log.appended_messages, log.commits) == (101, 2) or log.commits == 3
        assert log.appended_bytes > 100 * 900


@pytest.mark.slow
async def test_the_write_ahead_file_stays_small_under_steady_writing_and_reading(kind: Embedded) -> None:
    largest = 0
    wal = kind.path.with_name("log.db-wal")
    async with kind.open() as log, joined(log, Owner()) as cursor:
        for _ in range(150):
            await asyncio.gather(*(log.append([Message(TRACK, b"%d" % n, bytes(100_000))]) for n in range(20)))
            await cursor.fetch(5000)
            largest = max(largest, wal.stat().st_size)
    assert largest < 100 * 1024 * 1024  # of 300 MB


async def test_closing_leaves_no_thread_and_no_write_ahead_file(kind: Embedded) -> None:
    before = set(threading.enumerate())
    async with kind.open() as log:
        await log.append([message("a")])
        await everything(log)
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert {"log-writer", "log-checkpoints"} <= names
    left = {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("log-")}
    assert not left
    assert sorted(file.name for file in kind.path.parent.iterdir()) == ["log.db", "log.db.lock"]


_APPENDS_UNTIL_KILLED = """
import asyncio, sys, time
from pathlib import Path
from stream.log.sqlite import SqliteLog
from stream.message import Message

async def one(log, worker):
    for turn in range(10**9):
        await log.append([Message("segment.track", b"%d" % worker, b"%d" % turn)])
        print(worker, turn, flush=True)

async def main():
    async with SqliteLog.open(Path(sys.argv[1]), partitions=4, clock=time.time) as log:
        await asyncio.gather(*(one(log, worker) for worker in range(16)))

asyncio.run(main())
"""


def _killed_under_load(path: Path) -> dict[int, int]:
    """For each of 16 senders, the last message that was acknowledged before the process was killed."""
    acknowledged: dict[int, int] = {}
    command = [sys.executable, "-c", _APPENDS_UNTIL_KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            if count == 2000:
                process.send_signal(signal.SIGKILL)
            if line.endswith("\n"):
                worker, turn = map(int, line.split())
                acknowledged[worker] = turn
    return acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("_round", range(3))
async def test_nothing_acknowledged_is_missing_after_kill_9(kind: Embedded, _round: int) -> None:
    acknowledged = await asyncio.to_thread(_killed_under_load, kind.path)
    assert sum(acknowledged.values()) > 1900
    async with kind.open() as log:
        found: dict[int, list[int]] = {worker: [] for worker in range(16)}
        for delivery in await everything(log):
            found[int(delivery.message.key)].append(int(delivery.message.value or b""))
        ends = sum(end for _, end in (await log.bounds([TRACK])).values())
    assert ends == sum(map(len, found.values()))
    for worker, last in acknowledged.items():
        assert found[worker] == list(range(len(found[worker])))
        assert len(found[worker]) > last


async def test_times_never_go_back_even_if_the_clock_does(tmp_path):
    kind = Embedded(tmp_path)
    async with kind.open() as log:
        await log.append([message("a")])
        kind.clock.now -= 500
        await log.append([message("a")])
    async with kind.open() as log:
        await log.append([message("a")])
        assert [d.time for d in await everything(log)] == [1000.0, 1000.0, 1000.0]
