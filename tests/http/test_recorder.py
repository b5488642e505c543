"""The dry run: everything is asked and shown, nothing is sent."""

import base64

import msgspec
import pytest

from stream.connector import Request
from stream.errors import Dead, Refused, Skip
from stream.http import Recorder, Shown
from stream.http.recorder import shown
from tests.http.conftest import always, answer

URL = "http://192.0.2.1/people"


async def test_a_flow_is_shown_request_by_request_and_goes_on():
    def flow():
        first = yield Request(destination="crm", method="GET", url=URL)
        second = yield Request(destination="crm", method="POST", url=URL, headers={"X-A": "1"}, body=b'{"b":2}')
        return first.json(), second.status

    seen = []
    assert await Recorder(seen.append).perform(flow(), always, gives=True) == ({}, 200)
    assert seen == [
        Shown(destination="crm", method="GET", url=URL, headers={}, body=None),
        Shown(destination="crm", method="POST", url=URL, headers={"X-A": "1"}, body='{"b":2}'),
    ]


async def test_what_is_not_allowed_is_not_shown():
    async def refuse(request):
        raise Skip("no_consent")

    def flow():
        yield Request(destination="crm", method="POST", url=URL)

    seen = []
    with pytest.raises(Skip, match="no_consent"):
        await Recorder(seen.append).perform(flow(), refuse, gives=True)
    assert seen == []


@pytest.mark.parametrize("secret", ["s3cret/+=?", 'pa"ss\\word', "pâss wörd", "k"])
def test_no_form_of_a_secret_is_shown(secret):
    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    request = Request(
        destination="crm",
        method="POST",
        url=f"{URL}?key={msgspec.json.encode(secret).decode()[1:-1]}",
        headers={"Authorization": f"Basic {basic}", "X-Key": secret, "Cookie": "a=b"},
        body=msgspec.json.encode({"n": 1, "v": secret}),
        secrets=(secret, ""),
    )
    found = shown(request)
    assert found.headers == {"Authorization": "***", "X-Key": "***", "Cookie": "***"}
    assert found.body == '{"n":1,"v":"***"}'
    assert found.url == f"{URL}?***ey=***" if secret == "k" else found.url == f"{URL}?key=***"


def test_the_longer_of_two_secrets_is_masked_first():
    request = Request(destination="crm", method="POST", url=URL, body=b"ab abc", secrets=("ab", "abc"))
    assert shown(request).body == "*** ***"


def test_a_secret_in_a_url_is_masked_as_a_url_writes_it():
    request = Request(destination="crm", method="GET", url=f"{URL}?k=a%2Fb%20c&l=a/b+c", secrets=("a/b c",))
    assert shown(request).url.count("***") >= 1
    assert "a%2Fb%20c" not in shown(request).url


def test_a_body_that_is_no_text_is_shown_in_escapes():
    assert shown(Request(destination="crm", method="POST", url=URL, body=b"\xffok")).body == "\\xffok"


async def test_what_only_reads_can_be_made_meanwhile(opened, remote):
    def flow():
        found = yield Request(destination="crm", method="GET", url=f"{remote.url}/id")
        yield Request(destination="crm", method="PUT", url=f"{remote.url}/{found.json()['id']}")

    seen = []
    remote.answers = [answer(body=b'{"id":7}')]
    async with opened() as client:
        await Recorder(seen.append, reads=client).perform(flow(), always, gives=True)
    assert [(one.method, one.url) for one in seen] == [("PUT", f"{remote.url}/7")]
    assert [(one.method, one.path) for one in remote.received] == [("GET", "/id")]


async def test_a_read_that_is_refused_is_thrown_into_the_flow(opened, remote):
    def flow():
        try:
            yield Request(destination="crm", method="GET", url=remote.url)
        except Refused as refused:
            return refused.status

    def careless():
        yield Request(destination="crm", method="HEAD", url=remote.url)

    remote.answers = [answer(404), answer(404, body=b"")]
    async with opened() as client:
        recorder = Recorder([].append, reads=client)
        assert await recorder.perform(flow(), always, gives=True) == 404
        with pytest.raises(Dead, match="http_404"):
            await recorder.perform(careless(), always, gives=True)
