"""The newest rows of the embedded log, as who reads at its end finds them."""

import pytest

from stream.log.sqlite_reader import Span
from stream.log.sqlite_rows import encode, laid_out
from stream.log.sqlite_tail import Tail
from stream.message import Message, Partition

ONE, OTHER = Partition("segment.track", 0), Partition("segment.track", 1)
MUCH = 1_000_000


class Rows:
    """A tail, and commits of some messages each."""

    def __init__(self, most: int = MUCH) -> None:
        self.tail = Tail(most)
        self.ends = {0: 0, 1: 0}

    def commit(self, *values: bytes, partition: Partition = ONE, heard: bool = True) -> None:
        messages = [encode(Message("segment.track", b"k", value)) for value in values]
        rows, touched = laid_out([{partition.number: messages}], self.ends, 7.0)
        self.ends.update(touched)
        for row in rows if heard else ():
            self.tail.add(partition, row)

    def read(self, position: int, messages: int = 100, partition: Partition = ONE) -> list[tuple[int, bytes]] | None:
        pages = self.tail.pages([Span(partition, position, messages)], MUCH)
        if pages is None:
            return None
        found = pages[partition].deliveries
        assert {(one.partition, one.time) for one in found} == {(partition, 7.0)}
        return [(one.offset, one.message.value or b"") for one in found]


@pytest.fixture
def rows() -> Rows:
    rows = Rows()
    rows.commit(b"a", b"b")
    rows.commit(b"x", partition=OTHER)
    rows.commit(b"c")
    return rows


def test_it_gives_what_lies_behind_a_position_in_order(rows: Rows) -> None:
    assert rows.read(0) == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert rows.read(1) == [(1, b"b"), (2, b"c")]
    assert rows.read(2) == [(2, b"c")]
    assert rows.read(0, partition=OTHER) == [(0, b"x")]


def test_it_gives_whole_rows_until_there_are_enough(rows: Rows) -> None:
    assert rows.read(0, messages=1) == [(0, b"a"), (1, b"b")]


def test_a_budget_in_bytes_leaves_the_later_partitions_out(rows: Rows) -> None:
    spans = [Span(OTHER, 0, 100), Span(ONE, 0, 100)]
    assert list(rows.tail.pages(spans, 1) or ()) == [OTHER]


def test_a_reader_is_asked_where_one_partition_begins_before_it(rows: Rows) -> None:
    assert rows.tail.pages([Span(ONE, 0, 100), Span(Partition("segment.page", 0), 0, 100)], MUCH) is None


def test_what_is_too_much_is_forgotten_the_oldest_first() -> None:
    rows = Rows(most=300)
    for number in range(20):
        rows.commit(b"%02d" % number + b"v" * 50)
        rows.commit(b"w", partition=OTHER)
    assert rows.read(0) is None
    newest = rows.read(19)
    assert newest is not None and [offset for offset, _ in newest] == [19]
    assert rows.read(19, partition=OTHER) == [(19, b"w")]


@pytest.mark.parametrize("large", [False, True], ids=["nobody heard of", "too large to keep"])
def test_behind_a_row_that_it_has_not_it_begins_anew(rows: Rows, large: bool) -> None:
    rows.commit(b"v" * 70_000 if large else b"v", heard=large)
    rows.commit(b"d")
    assert rows.read(2) is None
    assert rows.read(3) is None
    assert rows.read(4) == [(4, b"d")]


def test_cleared_it_has_nothing_and_begins_anew(rows: Rows) -> None:
    rows.tail.clear()
    assert rows.read(0) is None
    rows.commit(b"d")
    assert rows.read(3) == [(3, b"d")]
