"""Cuts: has them made, side by side, and reads what came of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests.end_to_end.crash import cutter
from tests.end_to_end.crash.cutter import Orders, Report
from tests.end_to_end.crash.knife import Target

ROOT = Path(__file__).parents[3]
_WORKERS = 2


def cuts(base: Path, *orders: Orders) -> list[Report]:
    """What came of all of them, each in a process of its own, side by side."""
    folders = [base / f"worker-{number}" for number in range(len(orders))]
    with ExitStack() as stack:
        running = []
        for folder, order in zip(folders, orders, strict=True):
            folder.mkdir()
            (folder / "orders").write_bytes(msgspec.json.encode(order))
            words = [sys.executable, "-m", cutter.__name__, str(folder)]
            said = stack.enter_context((folder / "reports").open("wb"))
            running.append(stack.enter_context(subprocess.Popen(words, cwd=ROOT, stdout=said)))
    assert [one.returncode for one in running] == [0] * len(orders)
    lines = [line for folder in folders for line in (folder / "reports").read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=Report) for line in lines]


def shared(first: int, step: int, **more: Any) -> list[Orders]:
    """Every step-th point from the first on, shared by the workers."""
    return [Orders(first=first + n * step, step=step * _WORKERS, **more) for n in range(_WORKERS)]


def spread(targets: list[Target], **more: Any) -> list[Orders]:
    """All of these, shared by the workers."""
    return [Orders(targets=targets[n::_WORKERS], **more) for n in range(_WORKERS)]


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: these tests lose no power, and wait for no disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def failed(reports: list[Report]) -> str:
    """The cuts that ended otherwise, for the eye."""
    return "\n".join(f"{r.number}: {r.point}: {'; '.join(r.problems)}" for r in reports if r.problems)
