"""What Segment's destinations send, byte for byte, and what they are answered."""

from typing import Any

import pytest

from stream import headers
from stream.config import Config, ReceiverConfig, SourceConfig
from stream.core.signature import sign
from stream.message import Message
from tests.receiver.conftest import Receiver, Start
from tests.signed import ACTIONS, BATCH, CLASSIC, DELETE, OF_DELETE, OF_TRACK, TRACK

SECRET = Config(receiver=ReceiverConfig(secrets=("abc123",)))
OK = (200, {"success": True})
AGAIN = (503, {"success": False, "message": "the signature is missing or wrong", "code": "try_again"})


def origin(message: Message) -> headers.Origin:
    return headers.read(message.headers)


async def test_a_classic_request_is_kept_in_the_bytes_it_came_in_with_where_it_came_from(start: Start) -> None:
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("teehee",))))
    assert await receiver.post("/segment", TRACK, headers={**CLASSIC, "X-Signature": OF_TRACK}) == OK
    (message,) = await receiver.messages()
    assert (message.topic, message.key, message.value) == ("segment.track", b"user-id", TRACK)
    assert dict(message.headers) == {
        "source": b"segment",
        "received": b"1700000000.000000",
        "content-type": b"application/json",
        "sender": b"classic",
        "path": b"destination",
        "signed": b"1",
        "message-id": dict(message.headers)["message-id"],
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_every_method_that_webhooks_can_be_set_to_is_accepted(start: Start, method: str) -> None:
    receiver = await start(SECRET)
    response = await receiver.send(method, "/segment", data=DELETE, headers={**ACTIONS, "X-Signature": OF_DELETE})
    assert (response.status, await receiver.kept()) == (200, [("segment.delete", DELETE)])


async def test_in_an_actions_batch_only_element_0_is_signed_and_all_are_kept(start: Start) -> None:
    receiver = await start(SECRET)
    assert await receiver.post("/segment", BATCH, headers={**ACTIONS, "X-Signature": OF_DELETE}) == OK
    track, delete = await receiver.messages()
    assert (track.value, origin(track).signed, origin(track).index) == (TRACK, False, 1)
    assert (delete.value, origin(delete).signed, origin(delete).index) == (DELETE, True, 0)
    assert origin(track).sender == origin(delete).sender == "actions"


async def test_an_extensible_batch_is_signed_and_kept_without_its_wrapping(start: Start) -> None:
    receiver = await start(SECRET)
    body = b'[{"json":' + DELETE + b'},{"json":' + TRACK + b"}]"
    assert await receiver.post("/segment", body, headers={**ACTIONS, "X-Signature": OF_DELETE}) == OK
    assert await receiver.kept() == [("segment.track", TRACK), ("segment.delete", DELETE)]


async def test_a_batch_of_4000_events_is_kept_whole(start: Start) -> None:
    receiver = await start(SECRET)
    events = [b'{"type":"track","userId":"u","messageId":"m%d","event":"%b"}' % (n, b"x" * 900) for n in range(4_000)]
    body = b"[" + b",".join(events) + b"]"
    given = {**ACTIONS, "X-Signature": sign(events[0], "abc123")}
    assert await receiver.post("/segment", body, headers=given) == OK
    assert [message.value for message in await receiver.messages()] == events


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (TRACK, {}),
        (TRACK, {"X-Signature": ""}),
        (TRACK, {"X-Signature": OF_TRACK}),  # of another secret
        (TRACK, {"X-Signature": OF_DELETE}),  # of other bytes
        (DELETE + b" ", {"X-Signature": OF_DELETE}),
        (BATCH, {"X-Signature": "9f943bd9daf9b9ea7c79718b9a8668b1a7487c85"}),  # of the whole array
        (b"[]", {"X-Signature": OF_DELETE}),
        (b"", {}),
    ],
)
async def test_a_missing_or_wrong_signature_is_answered_503_and_nothing_is_kept(
    start: Start, body: bytes, given: dict[str, str]
) -> None:
    receiver = await start(SECRET)
    response = await receiver.send("POST", "/segment", data=body, headers={**CLASSIC, **given})
    assert (response.status, await response.json()) == AGAIN
    assert int(response.headers["Retry-After"]) > 0
    assert await receiver.kept() == []
    assert receiver.metric("stream_bad_signatures_total", source="segment") == 1


async def test_a_wrong_signature_is_answered_401_where_that_is_configured(start: Start) -> None:
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("abc123",), on_bad_signature="reject")))
    response = await receiver.send("POST", "/segment", data=TRACK)
    assert (response.status, (await response.json())["code"]) == (401, "unauthorized")


async def test_upper_case_hex_and_either_of_two_secrets_will_do(start: Start) -> None:
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("abc123", "teehee"))))
    assert await receiver.post("/segment", TRACK, headers={"X-Signature": OF_TRACK}) == OK
    assert await receiver.post("/segment", DELETE, headers={"X-Signature": OF_DELETE.upper()}) == OK


async def test_each_source_has_secrets_of_its_own_and_its_name_travels_along(start: Start) -> None:
    sources = {
        "shop": SourceConfig(secrets=("teehee",), space="eu"),
        "app": SourceConfig(secrets=("abc123",)),
        "open": SourceConfig(),
    }
    receiver = await start(Config(sources=sources))
    assert await receiver.post("/segment/shop", TRACK, headers={"X-Signature": OF_TRACK}) == OK
    assert await receiver.post("/segment/app", TRACK, headers={"X-Signature": OF_TRACK}) == AGAIN
    assert await receiver.post("/segment", TRACK, headers={"X-Signature": OF_TRACK}) == AGAIN
    assert await receiver.post("/segment/open", TRACK) == AGAIN
    assert await receiver.post("/segment/gone", TRACK, headers={"X-Signature": OF_TRACK}) == AGAIN
    (message,) = await receiver.messages()
    assert (origin(message).source, origin(message).space) == ("shop", "eu")
    assert receiver.metric("stream_bad_signatures_total", source="unknown") == 1


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"X-Signature": OF_DELETE, "X-Token": "s3cret"}, 200),
        ({"X-Signature": OF_DELETE}, 503),
        ({"X-Signature": OF_DELETE, "X-Token": "wrong"}, 503),
        ({"X-Token": "s3cret"}, 503),
    ],
)
async def test_a_secret_header_is_asked_for_besides_the_signature(
    start: Start, given: dict[str, str], status: int
) -> None:
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("abc123",), require_header="X-Token: s3cret")))
    assert (await receiver.post("/segment", DELETE, headers=given))[0] == status


async def test_a_delete_that_nobody_signed_is_kept_as_invalid_unless_a_secret_header_vouches_for_it(
    start: Start,
) -> None:
    header = SourceConfig(secrets=("abc123",), require_header="Authorization: Bearer t")
    receiver = await start(Config(receiver=ReceiverConfig(secrets=("teehee",)), sources={"strict": header}))
    batch = b"[" + TRACK + b"," + DELETE + b"]"
    assert await receiver.post("/segment", batch, headers={"X-Signature": OF_TRACK}) == OK
    assert await receiver.kept() == [("segment.track", TRACK), ("segment.invalid", DELETE)]
    assert await receiver.reasons() == ["unauthentic_delete"]

    given = {"X-Signature": OF_DELETE, "Authorization": "Bearer t"}
    assert await receiver.post("/segment/strict", b"[" + DELETE + b"," + DELETE + b"]", headers=given) == OK
    assert [topic for topic, _ in await receiver.kept()].count("segment.delete") == 2


async def test_without_any_secret_unsigned_requests_are_accepted_and_their_deletes_are_not(receiver: Receiver) -> None:
    assert await receiver.post("/segment", TRACK) == OK
    assert await receiver.post("/segment", DELETE) == OK
    assert await receiver.kept() == [("segment.track", TRACK), ("segment.invalid", DELETE)]
    assert not any(origin(message).signed for message in await receiver.messages())


@pytest.mark.parametrize(
    "delete",
    [
        b'{"type":"delete","userID":"u","timestamp":"2012-12-02T00:30:08.276Z"}',
        b'{"type":"delete","user_id":"u"}',
        b'{"type":"delete","channel":"server","userId":"u","context":null,"integrations":null,'
        b'"originalTimestamp":"2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.298768264"}',
        b'{"type":"delete","userId":"u","context":[],"integrations":[],"email":"a@example.com"}',
    ],
)
async def test_a_delete_comes_in_every_form_that_is_documented(start: Start, delete: bytes) -> None:
    receiver = await start(SECRET)
    assert await receiver.post("/segment", delete, headers={"X-Signature": sign(delete, "abc123")}) == OK
    (message,) = await receiver.messages()
    assert (message.topic, message.key, message.value) == ("segment.delete", b"u", delete)


async def test_people_who_open_the_url_in_a_browser_get_an_explanation(start: Start) -> None:
    receiver = await start(SECRET)
    response = await receiver.send("GET", "/segment")
    assert (response.status, (await response.text()).count("\n")) == (200, 1)
    assert (await receiver.send("HEAD", "/segment")).status == 200
    assert await receiver.kept() == []


async def test_metrics_count_what_came_and_carry_no_personal_data(start: Start) -> None:
    receiver = await start(SECRET)
    await receiver.post("/segment", BATCH, headers={"X-Signature": OF_DELETE})
    await receiver.post("/segment", b"[" + DELETE + b",{}]", headers={"X-Signature": OF_DELETE})
    text = await (await receiver.send("GET", "/metrics")).text()
    assert receiver.metric("stream_received_events_total", source="segment", topic="segment.delete") == 2
    assert receiver.metric("stream_received_events_total", source="segment", topic="segment.track") == 1
    assert receiver.metric("stream_invalid_events_total", reason="no_type") == 1
    assert receiver.metric("stream_requests_total", path="destination", status="200") == 2
    assert receiver.metric("stream_append_seconds_count") == 2
    assert "stream_received_events_total" in text and "user-id" not in text and "019mr8mf4r" not in text


async def test_health_is_up_and_ready_says_why_it_is_not(receiver: Receiver) -> None:
    async def get(path: str) -> tuple[int, Any]:
        response = await receiver.send("GET", path)
        return response.status, await response.text()

    assert await get("/health") == (200, "up\n")
    assert await get("/ready") == (200, "ready\n")
    receiver.not_ready = "profiles has stopped"
    assert await get("/ready") == (503, "profiles has stopped\n")
    assert await get("/health") == (200, "up\n")
