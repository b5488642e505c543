"""How we prove to the brokers who we are, and they to us: certificates and tokens."""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from stream.errors import ConfigError, LogRefused, LogUnavailable
from stream.places import KafkaConfig

_EARLY_S = 60.0  # a token is replaced so long before it expires
_TIMEOUT = aiohttp.ClientTimeout(total=10)


def certificates(config: KafkaConfig) -> ssl.SSLContext | None:
    """What a TLS connection needs; None where there is no TLS. Raises ConfigError, which names the file."""
    if config.security_protocol not in ("SSL", "SASL_SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except OSError as error:
        raise ConfigError(f"kafka.ca_file {config.ca_file}: {_why(error)}") from None
    if config.cert_file:
        try:
            # Never None: OpenSSL would ask for the password at the terminal.
            context.load_cert_chain(config.cert_file, config.key_file, config.key_password)
        except OSError as error:
            files = f"kafka.cert_file {config.cert_file}, key_file {config.key_file}, key_password"
            raise ConfigError(f"{files}: {_why(error)}") from None
    return context


class Tokens:
    """The token for OAUTHBEARER, as the configuration says where it comes from: given, in a file, or from an address
    that gives one for client credentials (RFC 6749 §4.4), which is asked again shortly before its token expires."""

    def __init__(self, config: KafkaConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._token = ""
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """One that is valid now. Raises LogRefused where none is given to us, LogUnavailable where nobody answers."""
        if self._config.token:
            return self._config.token
        if self._config.token_file:
            return await asyncio.to_thread(self._read)
        async with self._asking:
            if self._clock() >= self._until:
                await self._ask()
            return self._token

    def _read(self) -> str:
        try:
            return Path(self._config.token_file).read_text("utf-8").strip()
        except OSError as error:
            raise LogRefused(f"kafka.token_file {self._config.token_file}: {_why(error)}") from None

    async def _ask(self) -> None:
        form = {"grant_type": "client_credentials"} | ({"scope": self._config.scope} if self._config.scope else {})
        login = base64.b64encode(f"{self._config.username}:{self._config.password}".encode()).decode()
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT, headers={"Authorization": f"Basic {login}"}) as session,
                session.post(self._config.token_url, data=form, allow_redirects=False) as response,
            ):
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LogUnavailable(f"kafka.token_url does not answer: {type(error).__name__}") from None
        if status in (400, 401, 403):
            raise LogRefused(f"kafka.token_url answers {status}: are username, password and scope right?")
        if status != 200:
            raise LogUnavailable(f"kafka.token_url answers {status}")
        self._keep(body)

    def _keep(self, body: bytes) -> None:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.MsgspecError:
            raise LogRefused("kafka.token_url answers something that is no token") from None
        self._token = answer.access_token
        self._until = self._clock() + max(answer.expires_in - _EARLY_S, answer.expires_in / 2)


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0


class Bearer:
    """One login by OAUTHBEARER (RFC 7628), as Kafka's client drives it. Its own takes a refused token for accepted: the
    refusal comes as an answer, and only what follows our reply to that is an error."""

    def __init__(self, token: Callable[[], Awaitable[str]]) -> None:
        self._token = token
        self._given = False

    async def step(self, answer: bytes | None) -> tuple[bytes, bool] | None:
        """What to send next; None: this was all."""
        if self._given:
            return (b"\x01", True) if answer else None
        self._given = True
        return f"n,,\x01auth=Bearer {await self._token()}\x01\x01".encode(), True


def refusal(error: BaseException | None) -> ssl.SSLError | None:
    """The disagreement over certificates that caused `error`; None if none did. A connection that merely ended is
    none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _why(error: Any) -> str:
    return str(getattr(error, "strerror", None) or error)
