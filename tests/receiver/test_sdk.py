"""Segment's SDKs pointed here: paths, write keys, browsers, the pixel."""

import base64
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from stream import events, headers
from stream.config import Config, ReceiverConfig, SourceConfig
from tests.receiver.conftest import Receiver, Start

OK = (200, {"success": True})
UNKNOWN = (503, {"success": False, "message": "the write key is missing or unknown", "code": "try_again"})
KEYS = Config(
    receiver=ReceiverConfig(secrets=("abc123",)),
    sources={"web": SourceConfig(write_key="wk1", space="eu"), "app": SourceConfig(write_key="wk2")},
)
EVENT = b'{"userId":"u1","anonymousId":"a1","messageId":"m1","writeKey":"wk1"}'
TYPED = b'{"type":"track","userId":"u1","messageId":"m1"}'
TYPES = ("track", "identify", "page", "screen", "group", "alias")


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("short", [False, True])
async def test_the_path_says_the_type_in_full_or_by_its_first_letter(
    receiver: Receiver, kind: str, short: bool
) -> None:
    assert await receiver.post(f"/v1/{kind[0] if short else kind}", EVENT) == OK
    (message,) = await receiver.messages()
    assert (message.topic, message.key, message.value) == (f"segment.{kind}", b"u1", EVENT)
    origin = headers.read(message.headers)
    assert (origin.source, origin.path, origin.signed) == ("sdk", "sdk", False)


@pytest.mark.parametrize("path", ["batch", "import", "b"])
async def test_a_batchs_items_are_kept_with_what_the_batch_says_of_all_of_them(start: Start, path: str) -> None:
    receiver = await start(KEYS)
    body = (
        b'{"batch":[%b, {"type":"group","groupId":"g1","context":{"ip":"9.9.9.9"},"messageId":"m2"}],'
        b'"context":{"ip":"1.1.1.1","library":{"name":"l"}},"integrations":{"All":false},'
        b'"sentAt":"2023-11-14T22:13:10Z","writeKey":"wk1"}'
    )
    assert await receiver.post(f"/v1/{path}", body % TYPED) == OK
    track, group = await receiver.messages()
    assert (track.topic, track.value) == ("segment.track", TYPED)
    assert (group.topic, group.key) == ("segment.group", b"g1")
    decoded = events.decode(group)
    assert (decoded.source, decoded.space) == ("web", "eu")
    assert decoded.context == {"ip": "9.9.9.9", "library": {"name": "l"}}
    assert decoded.integrations == {"All": False}


async def test_an_event_without_a_message_id_gets_one_beside_its_bytes(receiver: Receiver) -> None:
    assert await receiver.post("/v1/track", b'{"userId":"u1","event":"x"}') == OK
    (message,) = await receiver.messages()
    assert message.value == b'{"userId":"u1","event":"x"}'
    assert headers.read(message.headers).received == 1_700_000_000.0
    assert headers.read(message.headers).message_id == events.decode(message).message_id


@pytest.mark.parametrize(
    ("given", "body", "source"),
    [
        (basic("wk1:"), TYPED, "web"),
        (basic("wk2"), TYPED, "app"),
        ({}, EVENT, "web"),
        ({"Authorization": "Bearer token"}, EVENT, "web"),
        ({"Authorization": "Basic not base64"}, EVENT, "web"),
        (basic("gone:"), EVENT, "web"),
    ],
)
async def test_the_write_key_comes_in_the_authorization_header_or_in_the_body(
    start: Start, given: dict[str, str], body: bytes, source: str
) -> None:
    receiver = await start(KEYS)
    assert await receiver.post("/v1/track", body, headers=given) == OK
    assert [headers.read(message.headers).source for message in await receiver.messages()] == [source]


@pytest.mark.parametrize("body", [TYPED, b'{"writeKey":"gone"}', b'{"writeKey":7}', b'{"batch":[{"writeKey":"wk1"}]}'])
async def test_an_unknown_write_key_is_answered_503_and_nothing_is_kept(start: Start, body: bytes) -> None:
    receiver = await start(KEYS)
    assert await receiver.post("/v1/batch", body) == UNKNOWN
    assert await receiver.kept() == []
    assert receiver.metric("stream_unknown_write_keys_total") == 1


async def test_an_unknown_write_key_is_answered_401_where_that_is_configured(start: Start) -> None:
    reject = ReceiverConfig(on_unknown_write_key="reject")
    receiver = await start(Config(receiver=reject, sources=KEYS.sources))
    assert (await receiver.post("/v1/track", TYPED))[0] == 401


async def test_without_a_configured_key_but_with_a_secret_no_key_is_known(start: Start) -> None:
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("abc123",))))
    assert await receiver.post("/v1/track", EVENT) == UNKNOWN


async def test_a_delete_cannot_be_forged_by_an_sdk(receiver: Receiver) -> None:
    delete = b'{"type":"delete","userId":"u1"}'
    assert await receiver.post("/v1/batch", b'{"batch":[%b,%b]}' % (delete, TYPED)) == OK
    assert await receiver.kept() == [("segment.track", TYPED), ("segment.invalid", delete)]
    assert await receiver.reasons() == ["unauthentic_delete"]


async def test_a_browsers_text_gzip_and_chunks_are_read(receiver: Receiver) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(TYPED), 7):
            yield TYPED[at : at + 7]

    plain = {"Content-Type": "text/plain", "User-Agent": "Mozilla/5.0 (X11)"}
    kotlin = {"Content-Type": "text/plain", "Content-Encoding": "gzip", "User-Agent": "analytics-kotlin/1.16"}
    assert await receiver.post("/v1/t", TYPED, headers=plain) == OK
    assert await receiver.post("/v1/b", gzip.compress(b'{"batch":[' + TYPED + b"]}"), headers=kotlin) == OK
    assert (await receiver.send("POST", "/v1/import", data=chunks())).status == 200
    assert [value for _, value in await receiver.kept()] == [TYPED] * 3
    senders = [headers.read(message.headers).sender for message in await receiver.messages()]
    assert sorted(senders) == ["analytics-kotlin", "browser", "other"]


async def test_a_browsers_preflight_is_answered_and_its_posts_may_be_read(start: Start) -> None:
    receiver = await start(KEYS)
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    preflight = await receiver.send("OPTIONS", "/v1/t", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert {"Authorization", "Content-Type"} < set(preflight.headers["Access-Control-Allow-Headers"].split(", "))
    for body in (EVENT, TYPED):
        response = await receiver.send("POST", "/v1/t", data=body, headers=asked)
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
async def test_the_pixel_keeps_its_event_and_is_an_image(start: Start, encode) -> None:  # type: ignore[no-untyped-def]
    receiver = await start(KEYS)
    event = '{"userId":"ü??>","event":"Email Opened","writeKey":"wk1"}'.encode()
    response = await receiver.send("GET", "/v1/pixel/track", params={"data": encode(event).decode().rstrip("=")})
    assert (response.status, response.content_type) == (200, "image/gif")
    assert (await response.read())[:6] == b"GIF89a"
    assert await receiver.kept() == [("segment.track", event)]


async def test_the_pixel_takes_plain_parameters(start: Start) -> None:
    receiver = await start(KEYS)
    response = await receiver.send("GET", "/v1/pixel/page?userId=u1&name=Home&writeKey=wk2")
    assert response.status == 200
    (message,) = await receiver.messages()
    assert (message.topic, message.key) == ("segment.page", b"u1")
    assert json.loads(message.value or b"") == {"userId": "u1", "name": "Home", "writeKey": "wk2"}


async def test_a_pixel_that_is_not_kept_is_an_image_whose_status_says_so(start: Start) -> None:
    receiver = await start(KEYS)
    response = await receiver.send("GET", "/v1/pixel/track?userId=u1")
    assert (response.status, response.content_type) == (503, "image/gif")
    assert (await receiver.send("GET", "/v1/pixel/track?data=nonsense")).status == 200
    assert await receiver.kept() == []


async def test_a_pixels_unreadable_data_is_kept_as_it_came(receiver: Receiver) -> None:
    assert (await receiver.send("GET", "/v1/pixel/track?data=*nonsense*")).status == 200
    assert await receiver.kept() == [("segment.invalid", b"*nonsense*")]
