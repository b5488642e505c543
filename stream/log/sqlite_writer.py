"""The thread that writes the embedded log: what queued while the last commit ran is the next commit."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from stream.errors import LogUnavailable
from stream.log.sqlite_checkpoint import Checkpoints
from stream.log.sqlite_file import writable
from stream.log.sqlite_queue import Append, Queue, Turn
from stream.log.sqlite_rows import Ends, Row, laid_out, newest_time, read_ends, write


class Writer:
    """Owns the one connection that writes, and the thread that uses it.

    After any error the transaction is rolled back, the connection is closed, and everyone in it is told. The next one
    opens anew and reads the ends from the file: when there is room again, there is nothing to restart."""

    def __init__(self, path: Path, clock: Callable[[], float], on_commit: Callable[[Sequence[Row]], None]) -> None:
        self.queued_bytes = 0  # what waits or is being written
        self.appended_messages = 0
        self.appended_bytes = 0
        self.commits = 0
        self.failure: str | None = None  # why the last transaction failed, until one succeeds
        self._path = path
        self._clock = clock
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._queue = Queue()
        self._coming: list[Append | Turn] = []
        self._connection: Connection | None = None
        self._ends: Ends = {}
        self._time = 0.0
        self._abandoned = False
        self._checkpoints = Checkpoints(path)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def append(self, parts: Mapping[int, Sequence[bytes]], count: int, size: int) -> asyncio.Future[None]:
        """Queues messages. The future is done when they are durable, or has LogUnavailable."""
        append = Append(parts, count, size, self._loop.create_future())
        self.queued_bytes += size
        self._put(append)
        return append.done

    def turn(self, work: Callable[[Connection], Any], durable: bool = True) -> asyncio.Future[Any]:
        """Queues a transaction. The future has its result, or LogUnavailable."""
        turn = Turn(work, durable, self._loop.create_future())
        self._put(turn)
        return turn.done

    async def close(self, patience: float) -> None:
        """Writes what is queued, for at most `patience` seconds; what is left then is refused. Ends the threads."""
        self._hand_over()
        self._queue.close()
        try:
            await asyncio.to_thread(self._thread.join, patience)
        finally:
            self._abandoned = True
            await asyncio.to_thread(self._thread.join)
            await asyncio.to_thread(self._checkpoints.close)

    def _put(self, item: Append | Turn) -> None:
        # All that comes in one round of the loop goes over together: each commit takes the interpreter from the loop a
        # few times (measured at 64 connections: commits of 10 appends one by one, of 30 together).
        if not self._coming:
            self._loop.call_soon(self._hand_over)
        self._coming.append(item)

    def _hand_over(self) -> None:
        items, self._coming = self._coming, []
        self._queue.put(items)

    # From here on: the writer's thread.

    def _run(self) -> None:
        while (item := self._queue.take()) is not None:
            if isinstance(item, Turn):
                self._take(item)
            else:
                self._write(item)
        self._disconnect()

    def _write(self, group: list[Append]) -> None:
        try:
            rows = self._commit(group)
        except Exception as error:  # whatever it was: nobody is told that it is durable, and nobody waits for ever
            self._loop.call_soon_threadsafe(self._refuse, group, self._failed(error))
        else:
            self.failure = None
            self._loop.call_soon_threadsafe(self._settle, group, rows)
            self._checkpoints.wrote(sum(append.size for append in group))

    def _commit(self, group: list[Append]) -> Sequence[Row]:
        with self._checkpoints.pause:
            connection = self._connected()
            time = max(self._time, self._clock())
            rows, touched = laid_out((append.parts for append in group), self._ends, time)
            write(connection, rows)
        self._ends.update(touched)
        self._time = time
        return rows

    def _take(self, turn: Turn) -> None:
        try:
            with self._checkpoints.pause:
                connection = self._connected()
                if not turn.durable:
                    connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("BEGIN IMMEDIATE")
                result = turn.work(connection)
                connection.execute("COMMIT")
                connection.execute("PRAGMA synchronous=FULL")
        except Exception as error:
            self._loop.call_soon_threadsafe(_fail, turn.done, self._failed(error))
        else:
            self.failure = None
            self._loop.call_soon_threadsafe(_finish, turn.done, result)

    def _connected(self) -> Connection:
        if self._abandoned:
            raise LogUnavailable("closed before it was written")
        if self._connection is None:
            self._connection = writable(self._path)
            self._ends = read_ends(self._connection)
            self._time = max(self._time, newest_time(self._connection))
        return self._connection

    def _failed(self, error: Exception) -> LogUnavailable:
        self._disconnect()
        failure = LogUnavailable(f"cannot write the log at {self._path}: {error}")
        failure.__cause__ = error
        self.failure = str(failure)
        return failure

    def _disconnect(self) -> None:
        """Rolls back what is open. Closing says nothing of a disk that is full."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # From here on: the loop.

    def _settle(self, group: list[Append], rows: Sequence[Row]) -> None:
        self.commits += 1
        for append in group:
            self.queued_bytes -= append.size
            self.appended_bytes += append.size
            self.appended_messages += append.count
            _finish(append.done, None)
        self._on_commit(rows)

    def _refuse(self, group: list[Append], failure: LogUnavailable) -> None:
        for append in group:
            self.queued_bytes -= append.size
            again = LogUnavailable(*failure.args)  # one for each: they are raised in different tasks
            again.__cause__ = failure.__cause__
            _fail(append.done, again)


def _finish(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # whoever waited may have been cancelled
        future.set_result(result)


def _fail(future: asyncio.Future[Any], failure: LogUnavailable) -> None:
    if not future.done():
        future.set_exception(failure)
