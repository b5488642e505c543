"""Points: the places where a task of the app suspends, found by driving each coroutine by hand."""

import asyncio
import gc
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from aiohttp.web_protocol import RequestHandler

import stream

SOURCE = Path(stream.__file__).parent


class Place(NamedTuple):
    """An expression or statement of the source on which a frame is suspended."""

    file: str  # within stream/
    name: str  # of the function
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"stream/{self.file}:{self.line} {self.name}"


class Point(NamedTuple):
    """A task that has just suspended: its frames in stream/, the outermost first."""

    task: str
    places: tuple[Place, ...]


Hear = Callable[[Point], Awaitable[None] | None]
"""Told of each suspension; what it returns is waited for before the task goes on."""


def watch(loop: asyncio.AbstractEventLoop, hear: Hear, spared: str) -> None:
    """Has `hear` told whenever a task suspends inside stream/, but for coroutines whose name starts as spared."""

    def create(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        if not inspect.iscoroutine(coro) or coro.cr_code.co_name.strip("_").startswith(spared):
            return asyncio.Task(coro, loop=loop, **more)
        task = asyncio.Task(_driven(coro, hear), loop=loop, **more)
        task.add_done_callback(lambda _: coro.close())  # one that was cancelled before it began
        return task

    loop.set_task_factory(create)
    if sys.version_info >= (3, 12):  # aiohttp makes the tasks of its connections without asking the loop
        for name in ("start", "_handle_request"):
            setattr(RequestHandler, name, _driving(getattr(RequestHandler, name), hear))


def _driving(function: Callable[..., Coroutine[Any, Any, Any]], hear: Hear) -> Callable[..., Coroutine[Any, Any, Any]]:
    return lambda *args: _driven(function(*args), hear)


async def _driven(coro: Coroutine[Any, Any, Any], hear: Hear) -> Any:
    return await _Drive(coro, hear)


class _Drive:
    """Awaits a coroutine, and tells whenever it suspends."""

    def __init__(self, coro: Coroutine[Any, Any, Any], hear: Hear) -> None:
        self._coro, self._hear = coro, hear

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = partial(self._coro.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration as stop:
                return stop.value
            try:
                yield from self._told()
                step = partial(self._coro.send, (yield waited_for))
            except BaseException as error:
                step = partial(self._coro.throw, error)

    def _told(self) -> Generator[Any, Any, None]:
        places = tuple(suspended(self._coro))
        task = asyncio.current_task()
        if places and task is not None:
            first = self._hear(Point(task.get_name(), places))
            if first is not None:
                yield from first.__await__()


def suspended(awaited: Any) -> Iterator[Place]:
    """The places in stream/ on the way from a suspended coroutine to what it waits for."""
    while awaited is not None:
        frame, awaited = _into(awaited)
        if frame is not None and (place := _place(frame.f_code, frame.f_lasti)) is not None:
            yield place


def _into(awaited: Any) -> tuple[FrameType | None, Any]:
    if inspect.iscoroutine(awaited):
        return awaited.cr_frame, awaited.cr_await
    if inspect.isasyncgen(awaited):
        return awaited.ag_frame, awaited.ag_await
    if inspect.isgenerator(awaited):
        return awaited.gi_frame, awaited.gi_yieldfrom
    # What `anext` and `await` make of a generator or coroutine names it nowhere but to the garbage collector.
    inner = (r for r in gc.get_referents(awaited) if inspect.isasyncgen(r) or inspect.iscoroutine(r))
    return None, None if isinstance(awaited, asyncio.Future) else next(inner, None)


@cache
def _place(code: CodeType, instruction: int) -> Place | None:
    if not code.co_filename.startswith(f"{SOURCE}/"):
        return None
    line, end_line, column, end_column = list(code.co_positions())[instruction // 2]
    file = str(Path(code.co_filename).relative_to(SOURCE))
    return Place(file, code.co_qualname, line or 0, column or 0, end_line or 0, end_column or 0)
