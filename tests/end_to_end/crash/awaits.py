"""Every await in the source of the engine, found by reading it: what the cutter must have cut at."""

import ast
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tests.end_to_end.crash.points import SOURCE, Place

FILES = ("projector.py", "batch.py", "publisher.py", "eraser.py", "errands.py", "store/*.py")
FUNCTIONS = {"receiver/intake.py": ("Intake.keep",)}


_COMMAND = "called by commands, in processes of their own"
_FREE = "a lock that nobody else holds does not suspend"
EXCEPTED = {
    "HeldTable.page": _COMMAND,
    "HeldTable.of": _COMMAND,
    "HeldTable.edit": _COMMAND,
    "Deletions.about": _COMMAND,
    "People.unlinked": _COMMAND,
    "People._refused": _COMMAND,
    "Positions.fates": _COMMAND,
    "Requests.ask": _COMMAND,
    "Requests.get": _COMMAND,
    "Requests.retried": _COMMAND,
    "Requests.note": _COMMAND,
    "Requests.audit": _COMMAND,
    "Projector.step: self._busy": _FREE,
    "Projector.retry: self._busy": _FREE,
    "Projector._revoked: self._busy": _FREE,
    "Projector.step: cursor.commit(copied)": "the embedded log only remembers it, and writes it later",
    "Projector.retry: self._around.store.held.get(held.id)": "only after a conflict",
    "SqliteDatabase.writing": "taken apart (loop.py), so that each statement is a point",
    "SqliteDatabase.reading": "taken apart (loop.py), so that each statement is a point",
    "Projector._revoked: outlast(self._write_positions, self.name)": "only when a member leaves",
    "Positions.stop": "only when most deliveries die",
    "Linking._cap: tx.many('DELETE FROM links WHERE subject = ? AND other = ?', [(subject, o) for o in surplus])": (
        "only beyond max_links"
    ),
    "SqliteDatabase._transaction: asyncio.shield(thread.call(_rollback))": "only when a transaction fails",
}
"""Awaits that the scenario does not suspend on (or all those of a function), and why."""


class Await(NamedTuple):
    """An await, or the header of an async with or async for, which suspends at one of several spans."""

    file: str
    name: str
    line: int
    text: str  # what is awaited
    spans: frozenset[tuple[int, int, int, int]]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}: {self.text}"


def every() -> list[Await]:
    """All awaits on log, store and publishing."""
    files = sorted(path for pattern in FILES for path in SOURCE.glob(pattern))
    found = [a for path in files for a in _awaits(str(path.relative_to(SOURCE)))]
    return found + [a for file, names in FUNCTIONS.items() for a in _awaits(file) if a.name in names]


def missing(places: Collection[Place]) -> list[Await]:
    """The awaits that are at none of the places, and are not excepted."""
    seen = {(p.file, (p.line, p.column, p.end_line, p.end_column)) for p in places}
    unseen = [a for a in every() if not any((a.file, span) in seen for span in a.spans)]
    return [a for a in unseen if a.name not in EXCEPTED and f"{a.name}: {a.text}" not in EXCEPTED]


def _awaits(file: str) -> Iterator[Await]:
    yield from _within(ast.parse((SOURCE / file).read_text()), file, ())


def _within(node: ast.AST, file: str, names: tuple[str, ...]) -> Iterator[Await]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = (*names, child.name)
        spans = frozenset(_span(part) for part in _parts(child))
        if spans:
            yield Await(file, ".".join(names), min(spans)[0], _text(child), spans)
        yield from _within(child, file, inner)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Await():
            yield node
        case ast.AsyncWith(items=items):
            yield node
            yield from (item.context_expr for item in items)
        case ast.AsyncFor(iter=iterated):
            yield from (node, iterated)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            if any(generator.is_async for generator in node.generators):
                yield node
                yield from (generator.iter for generator in node.generators)


def _text(node: ast.AST) -> str:
    match node:
        case ast.Await(value=value):
            return ast.unparse(value)
        case ast.AsyncWith(items=items):
            return ", ".join(ast.unparse(item.context_expr) for item in items)
        case _:
            return ast.unparse(node).splitlines()[0]


def _span(node: ast.AST) -> tuple[int, int, int, int]:
    assert isinstance(node, (ast.expr, ast.stmt))
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0
