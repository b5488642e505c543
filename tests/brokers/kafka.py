"""Kafka for a test to stop, kill, freeze and start again: one broker, or several as one cluster."""

import asyncio
import base64
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from tests.brokers import java
from tests.brokers.process import Process, accepts, free_port
from tests.brokers.run import Run

_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGING = """
<Configuration status="ERROR">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c: %m%n"/></Console></Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
_SMALL = {
    "num.partitions": "4",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "log.index.size.max.bytes": "65536",  # a file of this size for each partition, and tests make many
    "log.segment.delete.delay.ms": "1000",
    "log.message.timestamp.after.max.ms": str(2**63 - 1),  # time is put forward in tests; usual: an hour
    "controlled.shutdown.max.retries": "1",
    "broker.session.timeout.ms": "4000",  # so long is a killed broker still thought to be there, even by itself anew
    "broker.heartbeat.interval.ms": "500",
}
_REPLICATED = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")


class Node(Struct, frozen=True):
    """One broker of a cluster, and the ports where it listens."""

    number: int
    port: int
    controller: int
    others: dict[str, int]


class Extras(Struct, frozen=True):
    """What few tests want of their brokers."""

    listeners: Mapping[str, str] = {}  # beside the plain one: name → security protocol
    formatting: tuple[str, ...] = ()  # options of Kafka's storage tool
    java: tuple[str, ...] = ()


class Broker:
    """A Kafka server with a port and data that stay its own over every stop and start."""

    def __init__(
        self, run: Run, folder: Path, node: Node, properties: Mapping[str, str], options: Sequence[str] = ()
    ) -> None:
        self.node = node
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log4j2.xml").write_text(_LOGGING)
        lines = (f"{name}={_escaped(value)}" for name, value in properties.items())
        (folder / "server.properties").write_text("\n".join(lines))
        self._java = [java.java(), *_JVM, *options, f"-Dlog4j2.configurationFile={folder / 'log4j2.xml'}"]
        self._java += ["-cp", f"{java.libraries()}/*"]
        self._process = Process(run, [*self._java, "kafka.Kafka", "server.properties"], folder / "output")

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.node.port}"

    def at(self, listener: str) -> str:
        """Where one of the test's own listeners is."""
        return f"127.0.0.1:{self.node.others[listener]}"

    async def format(self, *options: str) -> None:
        """Makes its data folder, once, by Kafka's storage tool."""
        command = [*self._java, "kafka.tools.StorageTool", "format", "-c", "server.properties", *options]
        tool = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        told, _ = await tool.communicate()
        assert tool.returncode == 0, told.decode()

    async def start(self) -> None:
        """Starts, and waits until it accepts connections everywhere."""
        self._process.start()
        for port in (*self.node.others.values(), self.node.port):
            await self._process.ready(partial(accepts, port))

    async def stop(self) -> None:
        """SIGTERM: an orderly end."""
        await self._process.end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._process.end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.signal(signal.SIGCONT)

    def said(self) -> str:
        """Its warnings and errors."""
        return self._process.said()


@contextlib.asynccontextmanager
async def cluster(
    run: Run, folder: Path, count: int = 3, properties: Mapping[str, str] | None = None, extras: Extras | None = None
) -> AsyncIterator[list[Broker]]:
    """So many brokers as one cluster, all started; killed at the end, whatever the test did to them."""
    extras = extras or Extras()
    nodes = [_node(number, extras) for number in range(1, count + 1)]
    brokers = [
        Broker(run, folder / f"kafka-{node.number}", node, _properties(node, nodes, extras, properties), extras.java)
        for node in nodes
    ]
    try:
        await _begun(brokers, extras.formatting)
        yield brokers
    finally:
        await asyncio.gather(*(broker.kill() for broker in brokers))


async def alone(run: Run, folder: Path) -> Broker:
    """One broker, started, that ends with the run."""
    node = _node(1, Extras())
    broker = Broker(run, folder, node, _properties(node, [node], Extras(), None))
    await _begun([broker], ())
    return broker


async def _begun(brokers: Sequence[Broker], formatting: Sequence[str]) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    await asyncio.gather(*(broker.format(f"--cluster-id={cluster_id}", *formatting) for broker in brokers))
    await asyncio.gather(*(broker.start() for broker in brokers))


def _node(number: int, extras: Extras) -> Node:
    return Node(number, free_port(), free_port(), {name: free_port() for name in extras.listeners})


def _properties(
    node: Node, nodes: Sequence[Node], extras: Extras, properties: Mapping[str, str] | None
) -> dict[str, str]:
    copies = str(len(nodes))
    durable = str(min(2, len(nodes)))
    replicated = {f"{topic}.replication.factor": copies for topic in _REPLICATED}
    replicated |= {f"{topic}.min.isr": durable for topic in _REPLICATED if topic != "offsets.topic"}
    protocols = {"PLAINTEXT": "PLAINTEXT", **extras.listeners}
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in {"PLAINTEXT": node.port, **node.others}.items())
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.number),
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{node.controller}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{other.number}@127.0.0.1:{other.controller}" for other in nodes),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in {"CONTROLLER": "PLAINTEXT", **protocols}.items()
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": "data",
        "default.replication.factor": copies,
        "min.insync.replicas": durable,
        **_SMALL,
        **replicated,
        **(properties or {}),
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
