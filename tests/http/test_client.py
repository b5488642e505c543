"""Flows, from the first request to what they return, against a server on loopback."""

import traceback

import pytest

from stream.connector import Request, Response
from stream.errors import ConfigError, Dead, Refused, Retry, Skip
from tests.http.conftest import OK, Names, always, answer, asked

SAID = {"X-Key": "k", "Content-Type": "text/plain"}


async def test_a_flow_is_given_each_answer_and_what_it_returns_comes_back(opened, remote):
    def flow():
        found = yield Request(destination="crm", method="GET", url=f"{remote.url}/people/1")
        yield Request(destination="crm", method="PUT", url=f"{remote.url}/people/{found.json()['id']}", body=b"x")
        return found.headers["x-trace"]

    remote.answers = [answer(headers={"X-Trace": "t1"}, body=b'{"id":7}'), OK]
    async with opened() as client:
        assert await client.perform(flow(), always, gives=True) == "t1"
    assert [(r.method, r.path, r.body) for r in remote.received] == [
        ("GET", "/people/1", b""),
        ("PUT", "/people/7", b"x"),
    ]
    assert "content-type" not in remote.received[0].headers
    assert remote.connections == 1


async def test_a_request_goes_out_as_it_was_said_and_names_who_sends_it(opened, remote):
    remote.answers = [answer(headers={"Set-Cookie": "id=1"})]
    url = remote.url.replace("127.0.0.1", "crm.example.com")  # cookies are for names
    async with opened(Names("127.0.0.1")) as client:
        for _ in range(2):
            await client.perform(asked(url, headers=SAID, body=b"\x00\xff"), always, gives=True)
    for received in remote.received:
        assert received.body == b"\x00\xff"
        assert received.headers.pop("user-agent").startswith("segment-stream")
        assert received.headers.pop("host") == url.removeprefix("http://")
        assert received.headers == {
            "x-key": "k",
            "content-type": "text/plain",
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-length": "2",
        }


async def test_a_large_body_goes_out_whole(opened, remote):
    async with opened() as client:
        await client.perform(asked(remote.url, body=b"x" * 1_500_000), always, gives=True)
    assert remote.received[0].body == b"x" * 1_500_000


@pytest.mark.parametrize(
    ("status", "outage"),
    [(408, False), (423, False), (425, False), (429, False), (500, False), (503, False), (401, True), (403, True)],
)
async def test_what_means_later_is_a_retry(opened, remote, status, outage):
    remote.answers = [answer(status)]
    async with opened() as client:
        with pytest.raises(Retry) as caught:
            await client.perform(asked(remote.url), always, gives=True)
    assert (caught.value.reason, caught.value.after, caught.value.outage) == (f"http_{status}", None, outage)


@pytest.mark.parametrize("status", [300, 302, 304, 400, 404, 409, 410, 422])
async def test_what_is_refused_is_thrown_into_the_flow_which_may_go_on(opened, remote, status):
    def flow():
        try:
            yield Request(destination="crm", method="POST", url=remote.url)
        except Refused as refused:
            found = yield Request(destination="crm", method="PUT", url=remote.url)
            return refused.status, refused.body, found.status

    remote.answers = [answer(status, body=b"" if status == 304 else b"why"), OK]
    async with opened() as client:
        found = await client.perform(flow(), always, gives=True)
    assert found == (status, b"" if status == 304 else b"why", 200)


async def test_what_is_refused_and_not_caught_is_dead(opened, remote):
    remote.answers = [answer(404, body=b"ada@example.com is not known")]
    async with opened() as client:
        with pytest.raises(Dead, match=r"^http_404$"):
            await client.perform(asked(remote.url), always, gives=True)


async def test_a_body_is_read_up_to_a_bound(opened, remote):
    remote.answers = [answer(body=b"x" * 100_000), answer(body=b"y" * 1_000), answer(400, body=b"z" * 5_000)]
    async with opened(max_response_bytes=1_000) as client:
        first = await client.perform(asked(remote.url), always, gives=True)
        second = await client.perform(asked(remote.url), always, gives=True)
        assert (first.body, first.cut) == (b"x" * 1_000, True)
        assert (second.body, second.cut) == (b"y" * 1_000, False)

        def flow():
            try:
                yield Request(destination="crm", method="POST", url=remote.url)
            except Refused as refused:
                return len(refused.body)

        assert await client.perform(flow(), always, gives=True) == 1_000


@pytest.mark.parametrize("error", [Skip("no_consent"), Retry("gate"), ValueError("a bug")])
async def test_what_is_not_allowed_is_not_sent_and_closes_the_flow(opened, remote, error):
    closed = []

    def flow():
        try:
            yield Request(destination="crm", method="POST", url=remote.url)
        finally:
            closed.append(True)

    async def refuse(request):
        raise error

    async with opened() as client:
        with pytest.raises(type(error)) as caught:
            await client.perform(flow(), refuse, gives=True)
    assert caught.value is error
    assert closed == [True]
    assert remote.received == []


async def test_each_request_of_a_flow_is_allowed_by_itself(opened, remote):
    seen = []

    def flow():
        yield Request(destination="crm", method="POST", url=remote.url)
        yield Request(destination="crm", method="POST", url=remote.url)

    async def allow(request):
        seen.append(len(remote.received))

    async with opened() as client:
        await client.perform(flow(), allow, gives=True)
    assert seen == [0, 1]


@pytest.mark.parametrize("error", [Retry("not_now"), Dead("no_email"), KeyError("a bug")])
async def test_what_a_flow_raises_is_passed_on(opened, remote, error):
    def flow():
        yield Request(destination="crm", method="POST", url=remote.url)
        raise error

    async with opened() as client:
        with pytest.raises(type(error)) as caught:
            await client.perform(flow(), always, gives=True)
    assert caught.value is error


async def test_a_flow_without_a_request_returns_what_it_returns(opened):
    def flow():
        return "nothing to do"
        yield

    async with opened() as client:
        assert await client.perform(flow(), always, gives=True) == "nothing to do"


async def test_a_flow_is_closed_when_the_answer_ends_it(opened, remote):
    closed = []

    def flow():
        try:
            yield Request(destination="crm", method="POST", url=remote.url)
        finally:
            closed.append(True)

    remote.answers = [answer(500)]
    async with opened() as client:
        with pytest.raises(Retry):
            await client.perform(flow(), always, gives=True)
    assert closed == [True]


async def test_an_unknown_destination_is_named(opened):
    def flow():
        yield Request(destination="sailthru", method="POST", url="http://127.0.0.1:1/")

    async with opened() as client:
        with pytest.raises(ConfigError, match=r"connectors\.sailthru"):
            await client.perform(flow(), always, gives=True)


@pytest.mark.parametrize(
    "request_of",
    [
        {"url": "https-no-scheme/s3cret"},
        {"url": "ftp://127.0.0.1/s3cret"},
        {"url": "http://[s3cret"},
        {"headers": {"X-Key": "s3cret\r\nX-Other: 1"}},
        {"headers": {"X-Key\r\nX-Other: s3cret": "1"}},
        {"method": "PO ST s3cret"},
    ],
)
async def test_a_request_that_cannot_be_written_is_dead_and_its_text_stays_inside(opened, remote, request_of):
    async with opened() as client:
        with pytest.raises(Dead, match=r"^bad_request$") as caught:
            await client.perform(asked(**{"url": remote.url, **request_of}), always, gives=True)
    assert remote.received == []
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_requests_are_counted_by_what_came_back(opened, remote, metrics):
    remote.answers = [OK, OK, answer(429), answer(404), b"nonsense\r\n\r\n"]
    async with opened() as client:
        for _ in range(2):
            await client.perform(asked(remote.url), always, gives=True)
        for error in (Retry, Dead, Retry):
            with pytest.raises(error):
                await client.perform(asked(remote.url), always, gives=True)
    counted = {
        sample.labels["outcome"]: sample.value
        for metric in metrics.requests_sent.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"http_200": 2, "http_429": 1, "http_404": 1, "broken_response": 1}
    assert metrics.registry.get_sample_value("stream_request_seconds_count", {"destination": "crm"}) == 5


async def test_an_answer_is_below_300(opened, remote):
    remote.answers = [answer(204, body=b"")]
    async with opened() as client:
        found = await client.perform(asked(remote.url), always, gives=True)
    assert isinstance(found, Response)
    assert found.status == 204
