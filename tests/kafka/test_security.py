"""Every way to say who we are works against a real broker; every wrong one ends with one message that helps."""

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka.admin import NewTopic
from prometheus_client import CollectorRegistry

from stream import topics
from stream.config import Config
from stream.errors import LogRefused
from stream.log.kafka import Kafka
from stream.log.opening import looked_at, opened
from stream.message import Message
from stream.places import KafkaConfig, LogConfig
from stream.telemetry import Metrics
from tests.brokers.kafka import Broker, cluster
from tests.brokers.parts import toml
from tests.brokers.run import Run
from tests.kafka import secured
from tests.kafka.secured import EXPIRED, PASSWORD, USER, Authority, Issuer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Site:
    """A broker with a listener for each way, and who signs what it trusts."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.issuer = Authority(folder), Issuer()
        self.stranger = Authority(folder)  # signs certificates that nobody here trusts
        self.keys = folder / "keys.json"
        self.keys.write_text(self.issuer.published())
        self.broker: Broker

    def kafka(self, listener: str, **settings: Any) -> Kafka:
        """A client of ours; trusts the broker's authority unless `settings` says otherwise."""
        config = {"security_protocol": secured.LISTENERS[listener], "ca_file": self.authority.file, **settings}
        return Kafka([self.broker.at(listener)], KafkaConfig(**config), {}, time.time)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka_on_java: None, test_run: Run, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    site = Site(tmp_path_factory.mktemp("secured"))
    properties = secured.properties(site.authority, site.keys)
    folder = test_run.new_folder("kafka")
    async with cluster(test_run, folder, 1, properties, secured.extras(site.keys)) as (site.broker,):
        yield site


async def test_a_broker_with_a_certificate_of_the_authority_is_trusted(site: Site) -> None:
    await _let_in(site.kafka("TLS"))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["PASSWORD", "SECRET"])
async def test_a_password_lets_in(site: Site, listener: str, mechanism: str) -> None:
    await _let_in(site.kafka(listener, sasl_mechanism=mechanism, username=USER, password=PASSWORD))


async def test_a_certificate_of_our_own_lets_in(site: Site) -> None:
    cert_file, key_file = site.authority.client()
    await _let_in(site.kafka("MUTUAL", cert_file=cert_file, key_file=key_file))


async def test_a_token_lets_in(site: Site) -> None:
    await _let_in(site.kafka("TOKEN", sasl_mechanism="OAUTHBEARER", token=site.issuer.token()))


async def test_a_token_file_lets_in(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(site.issuer.token() + "\n")
    await _let_in(site.kafka("TOKEN", sasl_mechanism="OAUTHBEARER", token_file=str(file)))


async def test_a_token_from_an_address_lets_in(site: Site) -> None:
    async with _gives(site.issuer.token()) as url:
        asks = {"sasl_mechanism": "OAUTHBEARER", "token_url": url, "username": USER, "scope": "kafka"}
        await _let_in(site.kafka("TOKEN", **asks, password=PASSWORD))
        assert "token_url" in await _refused(site.kafka("TOKEN", **asks, password="a wrong one"), ["a wrong one"])


async def test_messages_are_written_and_read_by_a_client_that_was_let_in(site: Site) -> None:
    kafka = site.kafka("SECRET", sasl_mechanism="SCRAM-SHA-512", username=USER, password=PASSWORD)
    async with kafka.admin() as admin:
        await admin.create_topics([NewTopic(name, 1, 1) for name in topics.ALL])
    config, before = Config(log=LogConfig(url=f"kafka://{kafka.brokers[0]}"), kafka=kafka.config), _sockets()
    written = Message(topics.RAW["track"], b"user", b"{}")
    async with opened(config, time.time, Metrics(CollectorRegistry())) as log:
        await log.append([written])
    async with looked_at(config) as log:
        assert [found.message async for found in log.read(written.topic)] == [written]
    await _closed(before)


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_wrong_password_is_refused(site: Site, mechanism: str) -> None:
    kafka = site.kafka("SECRET", sasl_mechanism=mechanism, username=USER, password="a wrong one")
    assert "password" in await _refused(kafka, secrets=["a wrong one"])


async def test_a_mechanism_that_the_listener_lacks_is_refused(site: Site) -> None:
    kafka = site.kafka("TOKEN", sasl_mechanism="PLAIN", username=USER, password=PASSWORD)
    assert "sasl_mechanism" in await _refused(kafka, secrets=[PASSWORD])


async def test_a_broker_of_an_unknown_authority_is_not_trusted(site: Site) -> None:
    assert "ca_file" in await _refused(site.kafka("TLS", ca_file=site.stranger.file))


async def test_a_broker_whose_certificate_has_expired_is_not_trusted(site: Site) -> None:
    assert "expired" in await _refused(site.kafka("EXPIRED"))


async def test_without_a_certificate_of_our_own_a_broker_that_wants_one_refuses(site: Site) -> None:
    assert "cert_file" in await _refused(site.kafka("MUTUAL"))


async def test_a_certificate_of_our_own_that_nobody_trusts_is_refused(site: Site) -> None:
    cert_file, key_file = site.stranger.client()
    assert "cert_file" in await _refused(site.kafka("MUTUAL", cert_file=cert_file, key_file=key_file))


async def test_a_certificate_of_our_own_that_has_expired_is_refused(site: Site) -> None:
    cert_file, key_file = site.authority.client(not_after=EXPIRED)
    assert "cert_file" in await _refused(site.kafka("MUTUAL", cert_file=cert_file, key_file=key_file))


async def test_a_token_that_somebody_else_signed_is_refused(site: Site) -> None:
    token = Issuer().token()
    kafka = site.kafka("TOKEN", sasl_mechanism="OAUTHBEARER", token=token)
    assert "token" in await _refused(kafka, secrets=[token])


async def test_a_token_that_has_expired_is_refused(site: Site) -> None:
    token = site.issuer.token(lives_s=-600.0)
    kafka = site.kafka("TOKEN", sasl_mechanism="OAUTHBEARER", token=token)
    assert "token" in await _refused(kafka, secrets=[token])


@pytest.mark.parametrize("command", [["run"], ["check"], ["topics", "create"], ["tail", "track"]], ids=" ".join)
def test_a_command_that_is_refused_says_so_once_and_stops(site: Site, tmp_path: Path, command: list[str]) -> None:
    kafka = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "ca_file": site.authority.file}
    kafka |= {"username": USER, "password": "a wrong one"}
    sections = {"receiver": {"port": 0}, "log": {"url": f"kafka://{site.broker.at('SECRET')}"}, "kafka": kafka}
    (tmp_path / "stream.toml").write_text(toml(sections))
    words = [sys.executable, "-m", "stream", "--config", str(tmp_path / "stream.toml"), *command]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert told.returncode == 1, told.stderr
    assert "password" in told.stderr and "a wrong one" not in told.stdout + told.stderr
    assert len(told.stderr.splitlines()) == 1, told.stderr
    assert told.stderr.startswith("Error: ")


@asynccontextmanager
async def _gives(token: str) -> AsyncIterator[str]:
    """Where the token is given for client credentials (RFC 6749, 4.4): the address."""

    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        if request.headers["Authorization"] != f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}":
            return web.Response(status=401)
        assert dict(form) == {"grant_type": "client_credentials", "scope": "kafka"}
        return web.json_response({"access_token": token, "expires_in": 300})

    app = web.Application()
    app.router.add_post("/token", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/token"))


async def _let_in(kafka: Kafka) -> None:
    assert await kafka.trouble() is None
    async with kafka.admin() as admin:
        assert len((await admin.describe_cluster())["brokers"]) == 1


async def _refused(kafka: Kafka, secrets: list[str] | None = None) -> str:
    """What we are told; every way to open a client tells it, soon, and without what is secret."""
    started, before = time.monotonic(), _sockets()
    with pytest.raises(LogRefused) as refused:
        async with kafka.admin():
            pass
    assert time.monotonic() - started < 10
    for secret in secrets or ():
        assert secret not in str(refused.value)
    assert isinstance(await kafka.trouble(), LogRefused)
    await _closed(before)
    return str(refused.value)


def _sockets() -> int:
    """How many this loop looks at."""
    return len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]


async def _closed(before: int) -> None:
    """The client closes a TLS connection that was refused without waiting for the broker's goodbye; a loop that ends
    before it leaves a socket open, which is an error in some later test."""
    async with asyncio.timeout(10):
        while _sockets() > before:
            await asyncio.sleep(0.01)
