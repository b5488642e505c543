"""The envelope: every byte is kept, what is an event is routed, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream import events, headers, subjects, topics
from stream.core import envelope
from stream.core.envelope import Limits, Opened
from stream.core.post import Post
from stream.message import Message

LIMITS = Limits(events=100, depth=200)
POST = Post(source="segment", received=1_700_000_000.25, content_type="application/json", sender="actions")
SDK = Post(source="web", received=1_700_000_000.25, path="sdk", sender="browser")
TRACK = b'{"type":"track","userId":"u1","anonymousId":"a1","event":"Paid","messageId":"m1"}'
DELETE = b'{"type":"delete","userId":"u1","messageId":"d1","context":[],"originalTimestamp":"2020-05-09 23:54 m=+7"}'
GROUP = b'{"type":"group","groupId":7,"traits":{"name":"Initech"}}'
SDK_BATCH = b'{"batch":[' + TRACK + b"," + GROUP + b'],"context":{"ip":"::1"},"sentAt":"2026-01-01T00:00:00Z"}'
REAL = (TRACK, DELETE, GROUP, b"[" + TRACK + b"," + DELETE + b"]", b'[{"json":' + TRACK + b"}]", SDK_BATCH)


def opened(body: bytes, post: Post = POST) -> Opened:
    return envelope.open_body(body, post, LIMITS)


def one(body: bytes, post: Post = POST) -> Message:
    (message,) = opened(body, post).messages
    return message


def reason(message: Message) -> str | None:
    assert (message.topic == topics.INVALID) == ("reason" in dict(message.headers))
    return dict(message.headers).get("reason", b"").decode() or None


def with_changes(body: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, inserted in changes:
        at %= len(body) + 1
        body = body[:at] + inserted + body[at + length :]
    return body


fragments = st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"\\ud800", b"1e999"])
broken = st.builds(
    with_changes,
    st.sampled_from(REAL),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), fragments), min_size=1, max_size=4),
)
posts = st.sampled_from(
    [POST, SDK, Post(source="web", received=1.0, path="sdk", kind="track"), Post(source="", received=0.0, trusted=True)]
)


@given(st.binary() | broken, posts)
@example(b'\xef\xbb\xbf[{"type":"track"}]', POST)
@example(b'{"batch":[{"type":"track"}],"context":{"a":', SDK)
@example(b'{\x00"\x00t\x00"\x00:\x001\x00}\x00', POST)
@example(b'{"type":"track","userId":' + b"9" * 5_000 + b"}", POST)
@example(b'{"type":"track","traits":{"n":' + b"9" * 5_000 + b"}}", POST)
def test_any_bytes_are_kept_and_what_is_routed_can_be_decoded(body: bytes, post: Post) -> None:
    found = opened(body, post)
    assert found.messages
    for message in found.messages:
        assert message.value is not None and message.value in body
        if reason(message) is None:
            event = events.decode(message)
            assert event.subject.partition(":")[2].encode() == message.key
        else:
            assert reason(message) in envelope.MALFORMED + envelope.ODD
    assert found.reason is None or [message.value for message in found.messages] == [body]


def test_an_event_goes_to_the_topic_of_its_type_with_all_that_is_known_of_it() -> None:
    assert one(TRACK) == Message(
        "segment.track",
        b"u1",
        TRACK,
        (
            ("source", b"segment"),
            ("path", b"destination"),
            ("sender", b"actions"),
            ("content-type", b"application/json"),
            ("received", b"1700000000.250000"),
            ("signed", b"0"),
        ),
    )


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        ('"userId":"u","anonymousId":"a"', "u"),
        ('"userId":12345678901234567890123', "12345678901234567890123"),
        ('"userId":1.0', "1"),
        ('"userId":1.5', "1.5"),
        ('"userID":"u","anonymousId":"a"', "u"),
        ('"user_id":7', "7"),
        ('"userId":null,"anonymousId":"a"', "a"),
        ('"userId":"","anonymousId":"a"', "a"),
        ('"userId":true,"anonymousId":"a"', "a"),
        ('"userId":{"id":1},"anonymousId":["a"],"messageId":"m"', "m"),
        ('"userId":1e999,"anonymousId":"a"', "a"),
        ('"userId":"x\\ud800y"', "x\ufffdy"),
        ('"userId":"x\\u0000y"', "x\ufffdy"),
        ('"userId":"u","userId":"second"', "second"),
        ('"groupId":"g","messageId":"m"', "m"),
    ],
)
def test_the_key_is_the_first_identifier_as_text(ids: str, key: str) -> None:
    message = one(b'{"type":"track",%b}' % ids.encode())
    assert message.key.decode() == key
    assert events.decode(message).subject.partition(":")[2] == key


def test_a_group_call_without_a_person_is_keyed_by_the_group() -> None:
    assert one(GROUP).key == b"7"


def test_an_event_without_any_id_is_keyed_by_its_content_and_the_header_says_so() -> None:
    value = b'{"type":"track","event":"x"}'
    message, other = one(value), one(value, SDK)
    assert message.key == dict(message.headers)["message-id"] == subjects.content_id("segment", value).encode()
    assert other.key != message.key, "another source's event"


def test_an_identifier_of_10_kilobytes_keeps_its_event_and_a_key_of_bounded_length() -> None:
    message = one(b'{"type":"track","userId":"%b"}' % (b"x" * 10_000))
    assert (message.topic, len(message.key) < 100) == ("segment.track", True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"no json", "not_json"),
        (b'{"type":"track"', "not_json"),
        (b'{"type":"track"}}', "not_json"),
        (b'{"type":"track","event":"\x00"}', "not_json"),
        (b'{"type":"track","event":"\xff"}', "not_utf8"),
        (b'{"type":"track","event":"\xed\xa0\x80"}', "not_utf8"),
        (b'"track"', "not_an_object"),
        (b"17", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"userId":"u"}', "no_type"),
        (b"{}", "no_type"),
        (b'{"type":null}', "no_type"),
        (b'{"type":"Track"}', "unknown_type"),
        (b'{"type":"purchase"}', "unknown_type"),
        (b'{"type":["track"]}', "unknown_type"),
        (b'{"type":{"track":1}}', "unknown_type"),
        (b'{"type":"track","properties":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
        (b'{"type":"track","properties":' + b"[" * 10_000, "too_deep"),
        (b"[]", "empty_batch"),
        (b'{"batch":[]}', "empty_batch"),
        (b"[" + b",".join([TRACK] * 101) + b"]", "too_many_events"),
        (b'{"batch":[' + TRACK + b'],"context":{"x":"' + b"x" * 40_000 + b'"}}', "too_much_context"),
        (b'{"batch":[' + TRACK + b'],"context":{nope}}', "not_json"),
        (b'{"batch":{"type":"track"}}', "no_type"),
        (DELETE, "unauthentic_delete"),
    ],
)
def test_what_is_no_event_is_kept_as_received_with_the_reason(body: bytes, expected: str) -> None:
    found = opened(body)
    assert [(message.topic, message.value) for message in found.messages] == [(topics.INVALID, body)]
    assert (found.reason, reason(found.messages[0])) == (expected, expected)


def test_a_context_that_would_be_copied_beside_too_many_events_is_kept_whole() -> None:
    body = b'{"batch":[' + b",".join([TRACK] * 900) + b'],"context":{"x":"' + b"x" * 20_000 + b'"}}'
    assert envelope.open_body(body, POST, Limits(1_000, 100)).reason == "too_much_context"


@pytest.mark.parametrize(
    "value",
    [
        b'{"type":"track","properties":{"n":1e999,"m":123456789012345678901234567890}}',
        b'{"type":"track","properties":{"n":NaN}}',
        b'{"type":"track","event":"\\ud800 alone"}',
        b'{"type":"track","event":"\\u0000"}',
        b'{"type":"track","type":"track"}',
        b'{"type":"track","properties":{%b}}' % b",".join(b'"p%d":%d' % (n, n) for n in range(10_000)),
        b'{"type":"track","properties":' + b"[" * 199 + b"]" * 199 + b"}",
        b'{"type":"track","properties":["' + b"[" * 9_999 + b'"]}',
        b'{"type":"track","timestamp":"9999-12-31T23:59:59.999999999Z"}',
        b'{"type":"track","timestamp":12}',
        b'\xef\xbb\xbf{"type":"track"}',
        b'\n {"type":"track"}\n',
    ],
    ids=range(12),
)
def test_odd_values_do_not_keep_an_event_from_its_topic(value: bytes) -> None:
    message = one(value)
    assert (message.topic, message.value) == ("segment.track", value)
    assert events.decode(message).type == "track"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b"1", "not_an_object"),
        (b"{nope}", "not_json"),
        (b'{"type":"track","event":"\xff"}', "not_utf8"),
        (b'{"type":"track","p":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
        (b"[" + TRACK + b"]", "batch_in_batch"),
        (b'{"batch":[' + TRACK + b"]}", "batch_in_batch"),
        (b'{"json":{"type":"order"}}', "unknown_type"),
        (b'{"body":"a=b"}', "no_type"),
    ],
)
@pytest.mark.parametrize("form", [b"[%b]", b'{"batch":[%b],"writeKey":"k"}'])
def test_one_bad_element_is_kept_alone_and_the_others_are_routed(form: bytes, bad: bytes, expected: str) -> None:
    found = opened(form % b",".join([TRACK, bad, GROUP]))
    assert [message.value for message in found.messages] == [TRACK, bad, GROUP]
    assert [reason(message) for message in found.messages] == [None, expected, None]
    assert [dict(message.headers)["index"] for message in found.messages] == [b"0", b"1", b"2"]
    assert found.reason is None


def test_only_the_signed_element_of_an_array_counts_as_signed() -> None:
    post = Post(source="segment", received=1.0, signed=DELETE)
    found = opened(b"[" + DELETE + b"," + TRACK + b"," + DELETE + b"]", post).messages
    assert [message.topic for message in found] == ["segment.delete", "segment.track", topics.INVALID]
    assert [dict(message.headers)["signed"] for message in found] == [b"1", b"0", b"0"]
    assert reason(found[2]) == "unauthentic_delete"


def test_a_signed_body_signs_every_event_of_its_batch() -> None:
    body = b'{"batch":[' + DELETE + b"," + TRACK + b"]}"
    found = opened(body, Post(source="segment", received=1.0, signed=body)).messages
    assert [(message.topic, dict(message.headers)["signed"]) for message in found] == [
        ("segment.delete", b"1"),
        ("segment.track", b"1"),
    ]


def test_a_secret_header_vouches_for_deletes_that_nobody_signed() -> None:
    post = Post(source="segment", received=1.0, trusted=True)
    assert one(DELETE, post).topic == one(b"[" + DELETE + b"]", post).topic == "segment.delete"


def test_an_extensible_webhooks_events_are_kept_without_their_wrapping() -> None:
    post = Post(source="segment", received=1.0, signed=DELETE)
    found = opened(b'[{"json":' + DELETE + b'},{"json":' + TRACK + b"}]", post).messages
    assert [message.topic for message in found] == ["segment.delete", "segment.track"]
    assert [message.value for message in found] == [DELETE, TRACK]
    assert [dict(message.headers)["signed"] for message in found] == [b"1", b"0"]


def test_what_an_sdks_batch_says_of_all_its_events_is_kept_beside_each_in_the_bytes_it_came_in() -> None:
    body = b'{"batch":[%b],"sentAt":"2023-11-14T22:13:21Z","context": {"ip": 1e2},"integrations":{"All":true}}' % TRACK
    message = one(body, SDK)
    assert message.value == TRACK
    common = b'{"context":{"ip": 1e2},"integrations":{"All":true},"sentAt":"2023-11-14T22:13:21Z"}'
    assert dict(message.headers)["batch"] == common
    assert events.decode(message).context == {"ip": 100.0}


def test_the_path_says_the_type_of_an_sdks_single_event() -> None:
    post = Post(source="web", received=1.0, path="sdk", kind="page")
    assert one(b'{"userId":"u","type":"delete"}', post).topic == "segment.page"
    assert reason(one(b"[" + TRACK + b"]", post)) == "not_an_object"


def test_a_body_that_cannot_be_opened_is_kept_whole() -> None:
    found = envelope.keep_whole(b"\x1f\x8b...", SDK, "bad_encoding")
    assert [(message.value, reason(message)) for message in found.messages] == [(b"\x1f\x8b...", found.reason)]


def test_what_is_invalid_can_be_opened_again_after_a_fix() -> None:
    deep = b'{"userId":"u","traits":' + b"[" * 300 + b"]" * 300 + b"}"
    wider = Limits(events=1_000, depth=500)
    alone = one(deep, Post(source="web", received=5.0, path="sdk", kind="identify", space="eu"))
    (again,) = envelope.again(alone, wider)
    assert (again.topic, again.key, again.value) == ("segment.identify", b"u", deep)
    assert headers.read(again.headers).space == "eu"

    array = b"[" + b",".join([TRACK] * 101) + b"]"
    assert [message.topic for message in envelope.again(one(array), wider)] == ["segment.track"] * 101

    typed = b'{"type":"track",' + deep[1:]
    _, kept = opened(b'{"batch":[%b,%b],"sentAt":"2026-01-01T00:00:00Z"}' % (TRACK, typed), SDK).messages
    (again,) = envelope.again(kept, wider)
    assert (again.topic, again.headers[:6]) == ("segment.track", kept.headers[:6])
    assert dict(again.headers)["index"] == b"1"
    assert [reason(message) for message in envelope.again(kept, LIMITS)] == ["too_deep"]


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner), max_leaves=5))
def test_a_type_that_is_no_text_is_unknown(value: Any) -> None:
    body = json.dumps({"type": value}).encode()
    assert reason(one(body)) == ("no_type" if value is None else "unknown_type")
