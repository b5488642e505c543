"""What was measured, as a table and as JSON."""

import json
import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Goal(Struct, frozen=True):
    """One number, and what it must reach: at least `bound`, or at most; without a bound it is only shown. A `name` that
    ends in "here" is of this machine only."""

    name: str
    value: float
    bound: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        if self.bound is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def target(self) -> str:
        if self.bound is None:
            return "-"
        return f"{'≤' if self.at_most else '≥'} {_short(self.bound)} {self.name}"


class Row(Struct, frozen=True):
    """One benchmark. `figures`: everything that was measured, one number a round."""

    name: str
    work: str
    against: str
    goals: tuple[Goal, ...]
    figures: dict[str, list[float]]


def ratio(ours: Sequence[float], plain: Sequence[float]) -> float:
    """The median of the rounds' ratios: each round is measured side by side, so what slows both cancels out."""
    return statistics.median(a / b for a, b in zip(ours, plain, strict=True))


def show(rows: Sequence[Row]) -> None:
    """The table: lines and colour on a terminal, plain text otherwise."""
    if not sys.stdout.isatty():
        for row in rows:
            for number, goal in enumerate(row.goals):
                named = (row.work, row.against) if number == 0 else ("", "")
                word = _WORDS[goal.reached]
                print(f"{named[0]:<58} {named[1]:<52} {_measured(goal):<18} {goal.target:<24} {word}".rstrip())
        return
    table = Table("Work", "Measured against, same run", "Measured", "Target", "Reached")
    for row in rows:
        for number, goal in enumerate(row.goals):
            named = (row.work, row.against) if number == 0 else ("", "")
            table.add_row(*named, _measured(goal), goal.target, f"[{_COLOURS[goal.reached]}]{_WORDS[goal.reached]}[/]")
        table.add_section()
    Console().print(table)


def save(rows: Iterable[Row], path: Path) -> None:
    """All numbers, and what they were measured on."""
    machine = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    found = [{**msgspec.to_builtins(row), "reached": {goal.name: goal.reached for goal in row.goals}} for row in rows]
    path.write_text(json.dumps({"machine": machine, "rows": found}, indent=1) + "\n", "utf-8")


def _measured(goal: Goal) -> str:
    return f"{_short(goal.value)} {goal.name}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


_WORDS = {True: "yes", False: "NO", None: "-"}
_COLOURS = {True: "green", False: "red", None: "default"}
