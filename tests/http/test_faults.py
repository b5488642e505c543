"""Whatever a destination does, the outcome is named, once, and says nothing of the request."""

import gzip
import shutil
import ssl
import subprocess
import traceback
import zlib

import pytest

from stream.connector import Request
from stream.errors import Dead, Refused, Retry
from tests.http.conftest import OK, always, answer, asked, listening

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"
CUT_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"

SECRET = "ada-s3cret"


async def fails(client, url, error=Retry, **request):
    """The outcome of a POST, whose every text is looked through for what must stay inside."""
    secret = {"headers": {"Authorization": SECRET}, "body": SECRET.encode(), **request}
    with pytest.raises(error) as caught:
        await client.perform(asked(f"{url}/people/{SECRET}", **secret), always, gives=True)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert url.partition("//")[2] not in shown
    return caught.value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "disconnected"),
        (CUT, "broken_response"),
        (BAD_CHUNK, "broken_response"),
        (CUT_CHUNKS, "broken_response"),
        (TWO_LENGTHS, "broken_response"),
        (b"220 mail.example.com ESMTP\r\n\r\n", "broken_response"),
        (answer(headers={"X-Long": "x" * 100_000}), "broken_response"),
        (answer(headers={"Content-Encoding": "gzip"}), "broken_response"),
        (answer(headers={"Content-Encoding": "br"}), "broken_response"),
        (answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"{}" * 99, mtime=0)[:-9]), "broken_response"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "broken_response"),
    ],
)
async def test_an_answer_that_is_none_is_a_retry(opened, remote, text, reason):
    remote.answers, remote.drops = [text], True
    async with opened() as client:
        error = await fails(client, remote.url)
    assert (error.reason, error.outage) == (reason, False)
    assert len(remote.received) == 1


async def test_a_status_that_says_enough_needs_no_body(opened, remote):
    cut = CUT.replace(b"200 OK", b"404 .")
    remote.answers, remote.drops = (
        [cut, cut.replace(b"404", b"429").replace(b"\r\n", b"\r\nRetry-After: 7\r\n", 1)],
        True,
    )
    async with opened() as client:
        assert (await fails(client, remote.url, Dead)).reason == "http_404"
        error = await fails(client, remote.url)
    assert (error.reason, error.after) == ("http_429", 7.0)


async def test_no_answer_in_time_is_a_retry(opened, remote):
    remote.answers = [None]
    async with opened(timeout_s=0.05) as client:
        assert (await fails(client, remote.url)).reason == "timeout"


async def test_a_body_that_does_not_end_in_time_is_a_retry(opened, remote):
    remote.answers = [CUT]
    async with opened(timeout_s=0.05) as client:
        assert (await fails(client, remote.url)).reason == "timeout"


async def test_nobody_there_is_an_outage(opened):
    async with opened() as client:
        error = await fails(client, "http://127.0.0.1:1")
    assert (error.reason, error.outage) == ("unreachable", True)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
async def test_a_body_that_was_compressed_unasked_is_read(opened, remote, compress):
    encoding = "gzip" if compress is gzip.compress else "deflate"
    remote.answers = [answer(headers={"Content-Encoding": encoding}, body=compress(b'{"id":7}'))]
    async with opened() as client:
        found = await client.perform(asked(remote.url), always, gives=True)
    assert (found.json(), found.cut) == ({"id": 7}, False)


async def test_a_bomb_is_read_up_to_the_bound(opened, remote):
    bomb = gzip.compress(bytes(10_000_000))
    remote.answers = [answer(headers={"Content-Encoding": "gzip"}, body=bomb)]
    async with opened(max_response_bytes=20_000) as client:
        found = await client.perform(asked(remote.url), always, gives=True)
    assert (len(found.body), found.cut) == (20_000, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "GET"])
async def test_nothing_is_sent_twice_when_a_kept_connection_turns_out_to_be_gone(opened, remote, method):
    remote.answers = [OK, b""]
    async with opened() as client:
        await client.perform(asked(remote.url), always, gives=True)
        remote.drops = True
        assert (await fails(client, remote.url, method=method)).reason == "disconnected"
    assert [r.method for r in remote.received] == ["POST", method]
    assert remote.connections == 1


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_within_the_origin_is_followed_with_the_same_request(opened, remote, status):
    allowed = []

    async def allow(request):
        allowed.append(len(remote.received))

    remote.answers = [answer(status, {"Location": "/v2/people?x=1"}), OK]
    async with opened() as client:
        found = await client.perform(asked(f"{remote.url}/v1", headers={"X-Key": "k"}, body=b"x"), allow, gives=True)
    assert found.status == 200
    assert [(r.method, r.path, r.headers["x-key"], r.body) for r in remote.received] == [
        ("POST", "/v1", "k", b"x"),
        ("POST", "/v2/people?x=1", "k", b"x"),
    ]
    assert allowed == [0, 1]


async def test_a_redirect_to_another_host_port_or_scheme_is_not_followed(opened, remote):
    def flow(url):
        try:
            yield Request(destination="crm", method="POST", url=url)
        except Refused as refused:
            return refused.status

    async with listening() as other, opened() as client:
        port = other.url.rpartition(":")[2]
        for target in (
            other.url,
            f"http://localhost:{port}/",
            f"//localhost:{port}/",
            "https://127.0.0.1/",
            "http://[x",
        ):
            remote.answers = [answer(307, {"Location": target})]
            assert await client.perform(flow(remote.url), always, gives=True) == 307
        assert other.received == []


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_would_change_the_request_is_refused(opened, remote, status):
    remote.answers = [answer(status, {"Location": "/elsewhere"})]
    async with opened() as client:
        assert (await fails(client, remote.url, Dead)).reason == f"http_{status}"
    assert len(remote.received) == 1


async def test_redirects_are_followed_three_times(opened, remote):
    remote.answers = [answer(308, {"Location": "/again"})]
    async with opened() as client:
        assert (await fails(client, remote.url, Dead)).reason == "http_308"
    assert len(remote.received) == 4


@pytest.fixture
def nobodys(tmp_path):
    """TLS with a certificate that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_an_outage(opened, nobodys):
    async with listening(ssl=nobodys) as remote, opened() as client:
        error = await fails(client, remote.url.replace("http:", "https:"))
    assert (error.reason, error.outage) == ("tls_failed", True)
    assert remote.received == []
