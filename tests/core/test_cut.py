"""Cutting JSON text: byte-equal, in order, and as much as possible of what is broken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core import cut

texts = st.text(max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)
written = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass"),
    values,
    st.booleans(),
    st.sampled_from([None, 1]),
)
spaces = st.text(" \t\r\n", max_size=3).map(str.encode)


@given(st.lists(written, max_size=6), spaces)
def test_a_cut_element_is_byte_equal_to_what_came(pieces: list[bytes], space: bytes) -> None:
    body = space + b"[" + space + (space + b"," + space).join(pieces) + space + b"]" + space
    assert cut.elements(body, 10) == pieces
    assert cut.first(body) == (pieces[0] if pieces else b"")


@given(st.lists(written, min_size=1, max_size=6))
def test_the_scan_cuts_what_msgspec_cuts(pieces: list[bytes]) -> None:
    # A raw NaN makes msgspec refuse the array as a whole.
    assert cut.elements(b"[" + b",".join([*pieces, b"NaN"]) + b"]", 10) == [*pieces, b"NaN"]


@given(st.binary(max_size=200))
def test_the_first_element_is_the_same_however_it_is_cut(rest: bytes) -> None:
    body = b"[" + rest
    assert cut.first(body) == next(iter(cut.elements(body, 1)), b"")


@given(st.binary(max_size=300))
def test_nothing_of_a_broken_array_is_invented_or_reordered(rest: bytes) -> None:
    body, at = b"[" + rest, 0
    for element in cut.elements(body, 1_000):
        at = body.index(element, at) + len(element)


@pytest.mark.parametrize(
    "broken",
    [
        b"nope",
        b'{"type":"track",',
        b"{not json}",
        b'{"a":[}',
        b'{"a":1}}',
        b'{"a":"no end}',
        b'{"a":[1,{"b":2}',
        b'"\xff\xfe"',
        b"[" * 20_000,
        b"[" * 20_000 + b"]" * 20_000,
    ],
)
def test_a_broken_element_is_cut_out_and_the_others_stay_whole(broken: bytes) -> None:
    before, after = b'{"type":"track","userId":"before"}', b'{"type":"track","userId":"after"}'
    found = cut.elements(b"[" + b",".join([before, broken, after, after]) + b"]", 100)
    assert found[0] == before
    assert found[-2:] == [after, after]
    assert b",".join(found[1:-2]) == broken


def test_a_truncated_array_gives_its_whole_elements_and_the_rest() -> None:
    assert cut.elements(b'[{"a":[1]},{"b":[1]', 10) == [b'{"a":[1]}', b'{"b":[1]']


def test_what_is_too_broken_to_scan_is_kept_as_one_stretch() -> None:
    body = b"[" + b'{"a":"x,' * 100
    found = cut.elements(body, 1_000)
    assert b",".join(found) == body[1:]
    assert len(found) == 9


def test_no_more_elements_are_cut_than_asked_for() -> None:
    assert cut.elements(b"[1,2,3]", 2) == [b"1", b"2"]
    assert cut.elements(b"[" + b"1," * 600_000 + b"1]", 3) == [b"1", b"1", b"1"]


@given(values, st.integers(0, 5))
def test_depth_is_counted_outside_of_strings(value: Any, limit: int) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert cut.deeper(json.dumps(value).encode(), limit) == (depth(value) > limit)


def test_the_fields_of_a_batch_are_byte_equal_even_where_an_event_is_broken() -> None:
    whole = cut.top(b' {"batch": [1, 2] ,"sentAt":"x", "context" : {"a":1e999},"writeKey":"k"}')
    assert [bytes(raw) for raw in (whole.batch, whole.sent_at, whole.context, whole.write_key)] == [
        b"[1, 2]",
        b'"x"',
        b'{"a":1e999}',
        b'"k"',
    ]
    broken = cut.top(b'{"batch": [{nope}, {"b":2}],"sentAt":"x","writeKey":"k"}')
    assert (bytes(broken.batch), bytes(broken.write_key)) == (b'[{nope}, {"b":2}]', b'"k"')


@pytest.mark.parametrize(
    ("element", "inner"),
    [
        (b'{"json":{"type":"track"}}', b'{"type":"track"}'),
        (b'{ "json" : {"a": 1} }', b'{"a": 1}'),
        (b'{"json":{"a":NaN}}', b'{"a":NaN}'),
        (b'{"json":"text"}', None),
        (b'{"json":{},"more":1}', None),
        (b'{"json":{"a":NaN},"more":1}', None),
        (b'{"body":"a=b"}', None),
        (b'["json"]', None),
    ],
)
def test_an_extensible_webhooks_wrapping_comes_off(element: bytes, inner: bytes | None) -> None:
    assert cut.unwrapped(element) == inner
