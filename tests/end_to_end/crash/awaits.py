"""Every await in the source of the engine, found by reading it: what the cutter must have cut at."""

import ast
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tests.end_to_end.crash.points import SOURCE, Place

FILES = ("projector.py", "batch.py", "publisher.py", "eraser.py", "errands.py", "store/*.py")
FUNCTIONS = {"receiver/intake.py": ("Intake.keep",)}


class Await(NamedTuple):
    """An await, or the header of an async with or async for, which suspends at one of several spans."""

    file: str
    name: str
    line: int
    spans: frozenset[tuple[int, int, int, int]]

    def __str__(self) -> str:
        return f"stream/{self.file}:{self.line} {self.name}"


def every() -> list[Await]:
    """All awaits on log, store and publishing."""
    files = sorted(path for pattern in FILES for path in SOURCE.glob(pattern))
    found = [a for path in files for a in _awaits(str(path.relative_to(SOURCE)))]
    return found + [a for file, names in FUNCTIONS.items() for a in _awaits(file) if a.name in names]


def missing(places: Collection[Place], excepted: Collection[str]) -> list[Await]:
    """The awaits that are at none of the places; `excepted` names functions as FILE:NAME."""
    seen = {(p.file, (p.line, p.column, p.end_line, p.end_column)) for p in places}
    return [
        a
        for a in every()
        if f"{a.file}:{a.name}" not in excepted and not any((a.file, span) in seen for span in a.spans)
    ]


def _awaits(file: str) -> Iterator[Await]:
    yield from _within(ast.parse((SOURCE / file).read_text()), file, ())


def _within(node: ast.AST, file: str, names: tuple[str, ...]) -> Iterator[Await]:
    for child in ast.iter_child_nodes(node):
        inner = names
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            inner = (*names, child.name)
        spans = frozenset(_span(part) for part in _parts(child))
        if spans:
            yield Await(file, ".".join(names), min(spans)[0], spans)
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


def _span(node: ast.AST) -> tuple[int, int, int, int]:
    assert isinstance(node, (ast.expr, ast.stmt))
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0
