"""Every await in the source of the engine, found by reading it: what the cutter must have cut at."""

import ast
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tests.end_to_end.crash.points import SOURCE, Place

FILES = (
    *("projector.py", "batch.py", "publisher.py", "eraser.py", "caught_up.py", "start.py", "commits.py"),
    *("reads.py", "together.py"),
    *("errands.py", "errands_sync.py", "reactor.py", "syncer.py", "looking.py", "sight.py", "sharing.py"),
    *("gathering.py", "lease.py", "walker.py", "gate.py", "answering.py", "runner/*.py", "http/*.py", "store/*.py"),
)
ELSEWHERE = {
    *("store/postgres.py", "store/postgres_database.py"),  # cut by their connections: tests/postgres
    *("store/moved.py", "store/restoring.py"),  # of commands
}
FUNCTIONS = {"receiver/intake.py": ("Intake.keep",)}


_COMMAND = "called by commands, in processes of their own"
_FREE = "a lock that nobody else holds does not suspend"
_NO_SPILL = "the embedded log cannot be away"
_SOLE = "on SQLite whoever writes is alone"
_REMEMBERED = "the embedded log only remembers it, and writes it later"
_ANOTHER = "only when a member leaves, or another one takes over: hold.py, and tests/engine"
_ALONE = "the destination of the history takes one change in a request: nobody waits for company"
_FEW = "only where more people are looked at together than the history has"
_READ = "what it asks about was read before"
_WITH = "it comes with the answer of the gate, which the history's reactors always ask"
_LATE = "only where a turn at the destination comes so late that a lease must be prolonged"
_AHEAD = "only who is far behind fetches ahead: tests/engine/test_fetching_ahead.py"
_CROWDED = "only where a lane crowds a larger window: tests/engine/test_following.py"
_WHOLE = "a short answer has come when its head has"
EXCEPTED = {
    "HeldTable.page": _COMMAND,
    "HeldTable.of": _COMMAND,
    "HeldTable.edit": _COMMAND,
    "HeldLanes.named": _COMMAND,
    "HeldLanes.page": _COMMAND,
    "HeldLanes.counts": _COMMAND,
    "Statuses.all": _COMMAND,
    "Deletions.about": _COMMAND,
    "Deletions.about.read": _COMMAND,
    "Deletions.every": _COMMAND,
    "People.unlinked": _COMMAND,
    "People._refused": _COMMAND,
    "Positions.fates": _COMMAND,
    "Requests.ask": _COMMAND,
    "Requests.ask_all": _COMMAND,
    "Requests.ask_all.write": _COMMAND,
    "Requests.get": _COMMAND,
    "Requests.retried": _COMMAND,
    "Requests.note": _COMMAND,
    "Requests.note_all": _COMMAND,
    "Requests.audit": _COMMAND,
    "Recorder.perform": _COMMAND,
    "Recorder.perform.ask": _COMMAND,
    "Projector.step: self._busy": _FREE,
    "Projector.retry: self._busy": _FREE,
    "HeldTurns._page: changing": _FREE,
    "Following.during: lock": _FREE,
    "Following._follow: lock": _CROWDED,
    "Following._follow: keeping.put_behind(key, keeping.behind(key))": _CROWDED,
    "Projector.joined: self._leave_ahead()": _AHEAD,
    "Projector._leave_ahead": _AHEAD,
    "Projector._revoked: self._busy": _FREE,
    "Projector.step: cursor.commit(copied)": _REMEMBERED,
    "Runner._read: cursor.commit(positions)": _REMEMBERED,
    "Projector.retry: self._around.store.held.get(held.id)": "only after a conflict",
    "SqliteDatabase.writing": "taken apart (loop.py), so that each statement is a point",
    "SqliteDatabase.reading": "taken apart (loop.py), so that each statement is a point",
    "Projector._revoked: outlast(self._write_positions, self.name)": _ANOTHER,
    "Positions.stop": "only when most deliveries die",
    "Positions.stop.write": "only when most deliveries die",
    "Positions.place": _COMMAND,
    "Positions.place.write": _COMMAND,
    "_look: log.identities(topics)": "the embedded log knows it without asking",
    "Spilled.keep": _NO_SPILL,
    "Spilled._keep": _NO_SPILL,
    "Spilled.forget": _NO_SPILL,
    "Spilled.all": _NO_SPILL,
    "Confirmed.lock": _SOLE,
    "Confirmed.take: self.lock(tx)": _SOLE,
    "Confirmed.confirm: self.lock(tx)": _SOLE,
    "Confirmed.put_back: self.lock(tx)": _SOLE,
    "Lease._take: confirmed.lock(tx)": _SOLE,
    "Confirmed.deleted: tx.alone()": _SOLE,
    "Linking.bury: tx.alone()": _SOLE,
    "Receipts.settle: tx.alone()": _SOLE,
    "Linking._cap: tx.many('DELETE FROM links WHERE subject = ? AND other = ?', [(subject, o) for o in surplus])": (
        "only beyond max_links"
    ),
    "_Group.write: tx.run('ROLLBACK TO SAVEPOINT one')": "only when one of several bodies raises",
    "Deletions._unfinished: self._receipts.outstanding(tx, overdue)": "only after a week",
    "Member.write: self.see_what_is_lost()": _ANOTHER,
    "Owning.look: self._leave(lost, 0.0)": _ANOTHER,
    "Owning._leave: self._crew.settle(lambda taken: member.concerns(taken, partitions), grace)": _ANOTHER,
    "Crew.settle": _ANOTHER,
    "Confirmed.doubt": _ANOTHER,
    "Lease._end: store.confirmed.doubt(tx, doubtful, max(late.values(), default=None))": _ANOTHER,
    "Confirmed.put_back: self._lost(tx, lease, before)": "nothing is asked of the store where nothing is put back",
    "Lease.hold: self._written(partial(self._extend, keys=keys, until=until))": _LATE,
    "Lease._extend": _LATE,
    "Confirmed.extend": _LATE,
    "Gathering.send: queue.leads(piece, most)": _ALONE,
    "Gathering.send: self._lead(queue, piece, most)": _ALONE,
    "Gathering._lead": _ALONE,
    "Gathering._carry: self._carry(left[:len(left) // 2])": _ALONE,
    "_Queue.leads": _ALONE,
    "Looking.apart: self._opened(sight, sight.keys)": _FEW,
    "Looking.apart: self._reasons(asked, partial(self._gate.of_alone, people=page.people))": _READ,
    "Looking.apart: self._compared(page, False)": _FEW,
    "Looking._looks: self._opened(sight, {one.key for one in sight.snapshot.components.values() if chosen(one)})": _FEW,
    "Looking._looks: self._each(sorted(set(shared.others.keys.values())), lambda key: self._open(page, shared.others,"
    " key))": _FEW,
    "Looking._looks: self._compared(page, everything)": _FEW,
    "Looking._opened": _FEW,
    "Looking._compared": _FEW,
    "Looking._each: self._around.turns.next()": _FEW,
    "_Memory.has": _WITH,
    "_Send.allow: self._memory.has(before)": _WITH,
    "_Walking._page: self._at_once.acquire()": _FEW,
    "_Walking._page: asyncio.sleep(closed.after or 1.0)": "only while the gate answers nobody",
    "_Walking._looked: asyncio.sleep(wait)": "only while the destination fails",
    "Crew._run: self._yield()": "only where a turn of the loop is used up",
    "Crew._yield": "only where a turn of the loop is used up",
    "Attempts._sort: self._keeping.hold(key, fresh, *leaves)": _CROWDED,
    "Keeping.hold: self.follow(key, self.behind(key))": "nothing waits behind anybody in a window of one",
    "Mending.became: self._member.around.store.held.get(held.id)": "only where it is not tried within seconds",
    "Runner.step": "for tests that take every step by hand",
    "Runner._called: self._crew.at_work()": "for tests that take every step by hand",
    "Runner.put: self._called()": "who runs only calls",
    "Runner.retry: self._called()": "who runs only calls",
    "Runner.drop: self._called()": "who runs only calls",
    "Runner._read: self._member.window.freed(_SOON_S)": "only where a larger window is nearly full",
    "Runner._read: asyncio.sleep(_TICK_S)": "only while the breaker is open",
    "Client.open: stack.enter_async_context(Destination.open(name, one, around))": "opens nothing before it is asked",
    "Destination._ask_once: self._slots.take(rank)": "there are slots enough, and no rates",
    "Slots.take: turn": "there are slots enough, and no rates",
    "Destination._exchange: self._answer(response)": _WHOLE,
    "Destination._answer: body.read(response, self._most)": _WHOLE,
    "read": _WHOLE,
    "_collect": _WHOLE,
}
"""Awaits that the histories do not suspend on (or all those of a function), and why."""

_SPARED = re.compile(r"asyncio\.timeout\(")  # entering and leaving one does not suspend


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
    files = sorted(str(path.relative_to(SOURCE)) for pattern in FILES for path in SOURCE.glob(pattern))
    found = [a for file in files if file not in ELSEWHERE for a in _awaits(file)]
    return found + [a for file, names in FUNCTIONS.items() for a in _awaits(file) if a.name in names]


def missing(places: Collection[Place]) -> list[Await]:
    """The awaits that are at none of the places, and are not excepted."""
    seen = {(p.file, (p.line, p.column, p.end_line, p.end_column)) for p in places}
    unseen = [a for a in every() if not any((a.file, span) in seen for span in a.spans)]
    return [a for a in unseen if not _SPARED.match(a.text) and not {a.name, f"{a.name}: {a.text}"} & EXCEPTED.keys()]


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
