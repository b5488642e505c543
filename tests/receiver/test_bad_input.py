"""Bad input on the wire: the answer, and what is kept, byte for byte."""

import pytest

from stream import events
from stream.config import Config, SourceConfig
from tests.receiver.conftest import Receiver, Start

OK = (200, {"success": True})
MALFORMED = (400, {"success": False, "message": "malformed JSON", "code": "invalid_request"})
GOOD = b'{"type":"track","userId":"u1","messageId":"m1"}'

NOT_EVENTS = [
    (b"", "empty"),
    (b"not json", "not_json"),
    (b'{"type":"track","userId":"u1"', "not_json"),
    (b'{"type":"track","event":"a\x00b"}', "not_json"),
    (b'"track"', "not_an_object"),
    (b"42", "not_an_object"),
    (b'{"type":"track","event":"\xff\xfe"}', "not_utf8"),
    (b'{"type":"track","properties":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
]
ODD = [
    (b'{"userId":"u1"}', "no_type"),
    (b'{"type":"TRACK","userId":"u1"}', "unknown_type"),
    (b'{"type":"purchase","userId":"u1"}', "unknown_type"),
    (b'{"type":7}', "unknown_type"),
    (b"[]", "empty_batch"),
]


@pytest.mark.parametrize(("body", "reason"), NOT_EVENTS + ODD)
async def test_a_destination_is_answered_200_and_the_body_is_kept_as_invalid(
    receiver: Receiver, body: bytes, reason: str
) -> None:
    assert await receiver.post("/segment", body) == OK
    assert await receiver.kept() == [("segment.invalid", body)]
    assert await receiver.reasons() == [reason]


@pytest.mark.parametrize(("body", "reason"), NOT_EVENTS)
async def test_an_sdk_is_answered_400_in_segments_form_and_the_body_is_kept_as_invalid(
    receiver: Receiver, body: bytes, reason: str
) -> None:
    assert await receiver.post("/v1/track", body) == MALFORMED
    assert await receiver.kept() == [("segment.invalid", body)]
    assert await receiver.reasons() == [reason]


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"track","userId":"u1","event":"\\ud800 alone \\udc00"}',
        b'{"type":"track","userId":"u1","event":"nul \\u0000"}',
        b'{"type":"track","userId":"u1","properties":{"a":123456789012345678901234567890,"b":1e999,"c":-1E-999}}',
        b'{"type":"track","userId":"u1","properties":{"a":' + b"9" * 5_000 + b"}}",
        b'{"type":"identify","type":"track","userId":"u0","userId":"u1"}',
        b'{"type":"track","userId":"u1","properties":{%b}}' % b",".join(b'"p%d":%d' % (n, n) for n in range(10_000)),
        b'{"type":"track","userId":"u1","properties":null,"context":[],"traits":7,"integrations":"x"}',
        b'{"type":"track","userId":"u1"}',
        b'{"type":"track","userId":"u1","timestamp":"2999-01-01T00:00:00Z"}',
        b'{"type":"track","userId":"u1","timestamp":"9999-12-31T23:59:59.999Z"}',
        b'{"type":"track","userId":"u1","timestamp":"2020-05-09T23:54:49.209808489Z"}',
        b'{"type":"track","userId":"u1","timestamp":"2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.29"}',
        b'{"type":"track","userId":"u1","timestamp":{"at":1}}',
    ],
    ids=[
        "surrogates", "nul", "numbers", "digits", "duplicate-keys", "properties", "types", "no-time", "future",
        "year-9999", "nanoseconds", "go-time", "object-time",
    ],
)  # fmt: skip
async def test_odd_values_in_an_event_do_not_keep_it_from_its_topic(receiver: Receiver, body: bytes) -> None:
    assert await receiver.post("/segment", body) == OK
    (message,) = await receiver.messages()
    assert (message.topic, message.key, message.value) == ("segment.track", b"u1", body)
    event = events.decode(message)
    assert event.subject == "user:u1"
    assert event.time <= 1_700_000_000.0


@pytest.mark.parametrize(
    ("identifier", "key"),
    [
        (b"97980", b"97980"),
        (b"12345678901234567890123", b"12345678901234567890123"),
        (b"7.0", b"7"),
        (b"true", b"anon"),
        (b'{"id":1}', b"anon"),
        (b"[1]", b"anon"),
        (b"null", b"anon"),
        (b'""', b"anon"),
        ('"ä\u2028 \N{PILE OF POO}"'.encode(), None),
        (b'"' + b"x" * 10_000 + b'"', None),
    ],
)
async def test_identifiers_of_any_kind_are_accepted_and_key_and_subject_agree(
    receiver: Receiver, identifier: bytes, key: bytes | None
) -> None:
    body = b'{"type":"track","userId":' + identifier + b',"anonymousId":"anon"}'
    assert await receiver.post("/segment", body) == OK
    (message,) = await receiver.messages()
    assert (message.topic, message.value) == ("segment.track", body)
    assert message.key == (key or events.decode(message).subject.removeprefix("user:").encode())


@pytest.mark.parametrize(
    "bad",
    [
        b"nope",
        b"17",
        b'{"type":"track","event":"\xff"}',
        b'{"type":"track","p":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"type":"track","p":"no end}',
        b'{"type":"track","p":[',
        b'{"type":"nope"}',
        b'[{"type":"track"}]',
        b'{"batch":[{"type":"track"}]}',
    ],
)
async def test_one_bad_element_in_a_4_mb_batch_is_kept_alone_and_the_others_are_routed(
    receiver: Receiver, bad: bytes
) -> None:
    good = [b'{"type":"track","userId":"u","messageId":"%d","event":"%b"}' % (n, b"x" * 1_950) for n in range(2_000)]
    body = b"[" + b",".join([*good[:1_000], bad, *good[1_000:]]) + b"]"
    assert len(body) > 4_000_000
    assert await receiver.post("/segment", body) == OK
    assert await receiver.kept() == [("segment.track", value) for value in good] + [("segment.invalid", bad)]


async def test_the_same_in_an_sdks_batch(receiver: Receiver) -> None:
    body = b'{"batch":[' + GOOD + b",{nope}," + GOOD + b'],"sentAt":"2026-01-01T00:00:00Z","writeKey":"k"}'
    assert await receiver.post("/v1/batch", body) == OK
    assert await receiver.kept() == [("segment.track", GOOD)] * 2 + [("segment.invalid", b"{nope}")]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/gif", "nonsense"])
@pytest.mark.parametrize("path", ["/segment", "/v1/track"])
async def test_the_content_type_decides_nothing(receiver: Receiver, path: str, content_type: str) -> None:
    assert await receiver.post(path, GOOD, headers={"Content-Type": content_type}) == OK
    (message,) = await receiver.messages()
    assert (message.value, dict(message.headers)["content-type"]) == (GOOD, content_type.encode())


async def test_what_is_not_gzip_though_it_says_so_is_kept_as_it_came(receiver: Receiver) -> None:
    gzip = {"Content-Encoding": "gzip"}
    assert await receiver.post("/segment", GOOD, headers=gzip) == OK
    assert await receiver.post("/v1/track", b"\x1f\x8b\x08 cut", headers=gzip) == MALFORMED
    assert sorted(await receiver.reasons()) == ["bad_encoding"] * 2
    assert {value for _, value in await receiver.kept()} == {GOOD, b"\x1f\x8b\x08 cut"}


async def test_nobodys_malformed_body_is_answered_400_and_not_kept(start: Start) -> None:
    receiver = await start(Config(sources={"web": SourceConfig(write_key="k")}))
    assert await receiver.post("/v1/batch", b'{"batch":[{nope}') == MALFORMED
    assert await receiver.kept() == []


async def test_a_broken_batch_is_known_by_the_write_key_that_can_still_be_read(start: Start) -> None:
    receiver = await start(Config(sources={"web": SourceConfig(write_key="k")}))
    assert await receiver.post("/v1/batch", b'{"batch":[' + GOOD + b',{nope}],"writeKey":"k"}') == OK
    assert await receiver.kept() == [("segment.track", GOOD), ("segment.invalid", b"{nope}")]
