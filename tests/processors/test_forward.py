"""What a forward posts, of which events, and what its table may say."""

from typing import Any

import pytest

from processors import forward
from stream import events
from stream.building import Setting
from stream.config import Config
from stream.connector import Request
from stream.core.signature import sign
from stream.errors import ConfigError, Skip
from stream.sending import delivering
from tests.embedded import message

URL = "https://billing.example/segment"


class Sent:
    """Keeps what is sent, and for whom."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.asked: list[tuple[str, str, bool]] = []

    async def run(self, flow: Any, about: str, purpose: str, gives: bool, address: str) -> None:
        self.requests.append(next(flow))
        self.asked.append((about, purpose, gives))
        flow.close()

    async def read(self, flow: Any) -> None:
        raise AssertionError("a forward reads nothing")


def built(**table: Any) -> tuple[forward.Forward, Setting]:
    setting = Setting(Config(), {})
    [found] = forward.build(setting, {"billing": {"url": URL, **table}})
    assert isinstance(found, forward.Forward)
    return found, setting


async def sent(kind: str, of: dict[str, Any], **table: Any) -> Sent:
    """What a forward does with one event."""
    found = Sent()
    with delivering(found):
        await built(**table)[0].handle(events.decode(message(kind, 900_000.0, **of)))
    return found


async def test_the_very_bytes_go_out_signed_as_segment_signs() -> None:
    body = message("track", 900_000.0, userId="ada", event="Größe", properties={"n": 1.0}).value or b""
    found = await sent("track", {"userId": "ada", "event": "Größe", "properties": {"n": 1.0}}, secret="s3cret-text")
    [request] = found.requests
    assert (request.method, request.url, request.body) == ("POST", URL, body)
    assert request.headers["X-Signature"] == sign(body, "s3cret-text")
    assert request.secrets == ("s3cret-text",) and not request.repeatable
    assert found.asked == [("user:ada", "internal", True)]


async def test_without_a_secret_nothing_is_signed_and_headers_are_added_and_secret() -> None:
    [request] = (await sent("track", {"userId": "ada"}, headers={"X-Key": "k3y"})).requests
    assert request.headers == {"Content-Type": "application/json", "X-Key": "k3y"}
    assert request.secrets == ("k3y",)


async def test_a_filter_leaves_out_what_it_does_not_let_through() -> None:
    where = {"all": [{"path": "event", "prefix": "Order "}, {"path": "properties.revenue", "greater": 0}]}
    order = {"userId": "ada", "event": "Order Completed", "properties": {"revenue": 5}}
    assert (await sent("track", order, where=where)).requests
    with pytest.raises(Skip, match="filtered"):
        await sent("track", {**order, "properties": {}}, where=where)


async def test_a_delete_is_forwarded_whatever_the_person_allows() -> None:
    assert (await sent("delete", {"userId": "ada"}, types=["delete"], purpose="marketing")).asked == [
        ("user:ada", "marketing", False)
    ]


def test_what_its_destination_bears_and_its_lanes_stand_in_the_same_table() -> None:
    found, setting = built(concurrency=100, rates=["50/s"], timeout_s=3, patience_s=1, types=["page"])
    assert (found.name, found.topics, found.purposes) == ("forward.billing", ("page",), ("internal",))
    limits, lanes = setting.found_limits["forward.billing"], setting.found_lanes["forward.billing"]
    assert (limits.concurrency, limits.rates, limits.timeout_s) == (100, ("50/s",), 3)
    assert (lanes.concurrency, lanes.patience_s) == (100, 1)
    assert built()[1].found_limits["forward.billing"].concurrency == 64


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"url": "billing.example"}, r"processors\.forward\.billing\.url must be http"),
        ({"types": ["tracks"]}, r"billing\.types: tracks is no message type; allowed: track,"),
        ({"where": {"path": "plan", "equals": 1}}, r"billing\.where\.path must be one of type, event"),
        ({"secrets": []}, r"processors\.forward\.billing\.secrets is not a setting; did you mean secret\?"),
    ],
)
def test_what_is_wrong_in_its_table_is_named(table: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        built(**table)


def test_one_without_a_url_is_named() -> None:
    with pytest.raises(ConfigError, match=r"processors\.forward\.billing\.url is missing"):
        forward.build(Setting(Config(), {}), {"billing": {}})
