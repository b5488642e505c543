"""Asks the running process to do something, and waits until it has.

What is asked lies durably in the store first. If no process runs, or it takes longer than the command waits, the
request is kept and carried out later; "done" is said only of what was done."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import click
from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from stream.cli.frame import answer
from stream.cli.state import who
from stream.cli.text import safe
from stream.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])

LOOK_S = 0.05
_WINDOW = 500  # requests asked before their answers are waited for
_NAMED = 10


class Want(Struct, frozen=True):
    """One thing to be done: what it is about, in the command's words, and the arguments of its request."""

    about: str
    args: dict[str, Any]


class Answer(Struct, frozen=True):
    """What became of one request. `result` is the process's word for it."""

    about: str
    request: int
    state: Literal["done", "not done", "kept"]
    result: str | None


def wait_option(default: float) -> Callable[[Command], Command]:
    """Adds --wait, as the argument `wait`."""
    return click.option(
        "--wait",
        type=click.FloatRange(0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for the running process. What is not done by then is kept, and done later.",
    )


async def ask(store: Store, kind: str, wants: Sequence[Want], wait: float) -> list[Answer]:
    """Asks for each, in order, and waits; for at most `wait` seconds without any being carried out."""
    console = Console(stderr=True)
    answers: list[Answer] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(kind, total=len(wants))
        for start in range(0, len(wants), _WINDOW):
            some = wants[start : start + _WINDOW]
            numbers = await store.requests.ask_all(kind, [want.args for want in some], who(), time.time())
            for want, number in zip(some, numbers, strict=True):
                # Where nobody carries one out, nobody will carry out the next: that is not waited for again.
                idle = bool(answers) and answers[-1].state == "kept"
                answers.append(await _answer(store, want, number, 0.0 if idle else wait))
                bar.advance(task)
    return answers


def report(as_json: bool, answers: Sequence[Answer]) -> None:
    """Prints what became of it; exit code 1 unless all of it is done."""
    answer(as_json, answers, _lines(answers))
    if any(one.state != "done" for one in answers):
        raise click.exceptions.Exit(1)


def _lines(answers: Iterable[Answer]) -> Iterator[str]:
    every = list(answers)
    results = Counter((one.state, one.result) for one in every)
    for (state, result), amount in results.items():
        about = [one.about for one in every if (one.state, one.result) == (state, result)]
        more = f" and {amount - _NAMED:,} more" if amount > _NAMED else ""
        yield f"{', '.join(about[:_NAMED])}{more}: {_said(state, result)}"


def _said(state: str, result: str | None) -> str:
    if state == "kept":
        return "kept, not done yet: no running process took it up in time. `stream run` carries it out"
    return safe(result or state)


async def _answer(store: Store, want: Want, number: int, wait: float) -> Answer:
    deadline = time.monotonic() + wait
    while True:
        request = await store.requests.get(number)
        if request is not None and request.done is not None:
            return Answer(want.about, number, _state(request.result or ""), request.result)
        if time.monotonic() >= deadline:
            return Answer(want.about, number, "kept", None)
        await asyncio.sleep(LOOK_S)


def _state(result: str) -> Literal["done", "not done"]:
    """A delivery that is held again after its retry, or waits behind others, has not been mended."""
    return "not done" if result.startswith(("not done", "held:", "waits")) else "done"
