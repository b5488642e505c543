"""Kafka's client as we set it up. The only file that imports aiokafka; its errors leave as ours."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.abc import ConsumerRebalanceListener as ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import TopicPartition as TopicPartition

from stream.errors import LogError, LogRefused, LogUnavailable
from stream.log.kafka_client import Consumer, OnChange, Producer
from stream.log.kafka_closing import abandon, heed_commits, leave, unbroken, watch_topics
from stream.log.kafka_security import Bearer, Tokens, certificates, refusal
from stream.places import KafkaConfig

_BATCH_BYTES = 512 * 1024  # of one partition; the producer sends one of each partition at once
_FETCH_BYTES = 4 * 1024 * 1024  # of one partition
_METADATA_S = 30.0  # an added partition is noticed after so long
_CONNECT_S = 10.0
_CONSUME_S = 15.0  # a broker that is frozen is left after so long; to join takes longer, and is then asked for again


class Kafka:
    """The brokers that the configuration names. Everything opened here is closed with its context. What fails raises
    LogRefused where it stays so until somebody changes something, LogUnavailable otherwise."""

    def __init__(
        self,
        brokers: Sequence[str],
        config: KafkaConfig,
        names: Mapping[str, str],  # our name of a topic → what it is called there, where that differs
        clock: Callable[[], float],
    ) -> None:
        """Raises ConfigError if a certificate cannot be read."""
        # Its lines repeat what we raise, name keys and values when asked for more, and come several times a second
        # while a broker is away.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
        AIOKafkaConnection.authenticator_oauth = lambda one: Bearer(one._sasl_oauth_token_provider.token)
        self.brokers = list(brokers)
        self.config = config
        self._names = dict(names)
        self._topics = {called: topic for topic, called in names.items()}
        self._login = {
            "security_protocol": config.security_protocol,
            "ssl_context": certificates(config),
            "sasl_mechanism": config.sasl_mechanism or "PLAIN",
            "sasl_plain_username": config.username,
            "sasl_plain_password": config.password,
            "sasl_oauth_token_provider": _Provider(Tokens(config, clock)),
        }

    @property
    def batch_bytes(self) -> int:
        """How large a batch of several messages gets."""
        return min(_BATCH_BYTES, self.config.max_message_bytes)

    def called(self, topic: str) -> str:
        """What the company calls our topic."""
        return self._names.get(topic, topic)

    def topic(self, called: str) -> str:
        """Which of our topics that is."""
        return self._topics.get(called, called)

    @asynccontextmanager
    async def producer(
        self, called: Sequence[str], on_change: OnChange, patience: float, once: bool = False
    ) -> AsyncIterator[Producer]:
        """Writes to the topics of these names; `on_change` hears how many partitions they have, at each look.

        A request without an answer is repeated for `patience` seconds; `once`: what it carries is there once even so.
        Leaving waits for none of it."""
        producer = AIOKafkaProducer(
            **self._settings(request_timeout_ms=_ms(patience)),
            acks="all",
            enable_idempotence=once,
            max_batch_size=self.batch_bytes,
            compression_type=None if self.config.compression == "none" else self.config.compression,
            linger_ms=0,
        )
        async with self._started(
            producer, lambda: abandon(producer, errors.KafkaConnectionError("it was closed"), errors.KafkaError)
        ):
            with translated("which topics are there"):
                await watch_topics(producer.client, called, on_change)
            yield producer

    @asynccontextmanager
    async def consumer(
        self, group: str | None = None, rebalance_s: float = 60.0, **more: Any
    ) -> AsyncIterator[Consumer]:
        """Reads what is committed; never moves a position by itself. With `group`, the name of a processor, a member of
        its group, which has `rebalance_s` to let go of its partitions. `more`: settings of AIOKafkaConsumer."""
        consumer = AIOKafkaConsumer(
            **self._settings(request_timeout_ms=_ms(_CONSUME_S)),
            group_id=None if group is None else self.config.group_prefix + group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=_ms(self.config.session_timeout_s),
            heartbeat_interval_ms=_ms(self.config.session_timeout_s / 10),
            rebalance_timeout_ms=_ms(rebalance_s),
            max_partition_fetch_bytes=max(_FETCH_BYTES, self.config.max_message_bytes),
            client_rack=self.config.client_rack or None,
            **more,
        )
        async with self._started(consumer, lambda: leave(consumer, errors.KafkaError)):
            if group is not None:
                heed_commits(consumer)
            yield consumer

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """An AIOKafkaAdminClient."""
        admin = AIOKafkaAdminClient(**self._settings(request_timeout_ms=_ms(30.0)))
        async with self._started(admin, admin.close):
            yield admin

    async def trouble(self, patience: float = _CONNECT_S) -> LogError | None:
        """Asks each broker that is configured; None if one of them lets us in, else why not."""
        found = await asyncio.gather(*(self._trouble(broker, patience) for broker in self.brokers))
        if None in found:
            return None
        return next((one for one in found if isinstance(one, LogRefused)), found[0])

    async def _trouble(self, broker: str, patience: float) -> LogError | None:
        host, _, port = broker.rpartition(":")
        settings = {"request_timeout_ms": _ms(patience), "client_id": self.config.client_id, **self._login}
        try:
            with translated(f"connecting to {broker}"):
                connection = await create_conn(host.strip("[]"), int(port), **settings)
        except LogError as error:
            return error
        await connection.close()
        return None

    def _settings(self, request_timeout_ms: int) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.brokers,
            "client_id": self.config.client_id,
            "request_timeout_ms": request_timeout_ms,
            "metadata_max_age_ms": _ms(_METADATA_S),
            **self._login,
        }

    @asynccontextmanager
    async def _started(self, client: Any, stop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        try:
            try:
                with translated(f"connecting to {', '.join(self.brokers)}"):
                    await unbroken(client.start())
            except LogUnavailable as error:
                raise (await self.trouble()) or error from None  # the client itself does not say why
            yield
        finally:
            await stop()


class _Provider(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        """Raises the client's own errors: others would end its tasks."""
        try:
            return await self._tokens.token()
        except LogRefused as error:
            raise errors.AuthenticationFailedError(str(error)) from error
        except LogError as error:
            raise errors.KafkaConnectionError(str(error)) from error


_UNTRUSTED = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.IllegalSaslStateError,
    errors.SaslAuthenticationFailed,
    errors.UnsupportedSaslMechanismError,
)
_FORBIDDEN = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """What Kafka's client raises inside leaves as ours, and says that it happened while `doing`."""
    try:
        yield
    except (errors.KafkaError, OSError) as error:
        raise ours(error, doing) from error


def ours(error: BaseException, doing: str) -> LogError:
    """An error of the client as ours."""
    if isinstance(error, LogError):
        return error
    why = f"Kafka, {doing}: {str(error) or type(error).__name__}"
    if isinstance(error, _UNTRUSTED):
        return LogRefused(
            f"{why}: the brokers do not accept what [kafka] says of security_protocol, sasl_mechanism,"
            " username, password or token"
        )
    if isinstance(error, errors.InvalidSessionTimeoutError):
        return LogRefused(f"{why}: kafka.session_timeout_s is not within the brokers' group.min/max.session.timeout.ms")
    if isinstance(error, _FORBIDDEN):
        return LogRefused(f"{why}: this user has no right to do that; the cluster's administrator can give it")
    if (cause := refusal(error)) is not None:
        return LogRefused(f"{why} ({cause.reason}): see ca_file, cert_file, key_file in [kafka]")
    return LogUnavailable(why)


def out_of_range(error: LogError) -> Mapping[TopicPartition, int] | None:
    """The positions that a broker does not hold, if that is what an error says; empty: a consumer had none yet."""
    cause = error.__cause__
    if isinstance(cause, errors.OffsetOutOfRangeError):
        return dict(cause.args[0])
    return {} if isinstance(cause, errors.NoOffsetForPartitionError) else None


def too_large(error: BaseException) -> bool:
    """The broker refused a batch for its size."""
    return isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
