"""Which topics the configuration wants on Kafka, how those that are there differ, and what each difference costs."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from stream import topics
from stream.config import Config
from stream.log.kafka_admin import Topic, create, extend, set_up, settings
from stream.log.kafka_lookup import look
from stream.log.opening import kafka

_DAY_MS = 86_400_000
_CLEANUP, _TIME, _BYTES = "cleanup.policy", "retention.ms", "retention.bytes"
_LARGEST, _SYNC, _ELECTION = "max.message.bytes", "min.insync.replicas", "unclean.leader.election.enable"
_TIMES = "message.timestamp.type"


class There(Struct, frozen=True):
    """The topics as they are, by our names; and how many brokers there are."""

    topics: Mapping[str, Topic]
    brokers: int


class Step(Struct, frozen=True):
    """One thing to be done to a topic: it is made (`partitions`, `copies`), gets more `partitions`, or `settings`.
    `topic`: its name on Kafka."""

    topic: str
    what: str
    partitions: int = 0
    copies: int = 0
    settings: Mapping[str, str] = {}


def wanted(config: Config) -> dict[str, Topic]:
    """The topics as the configuration wants them, by our names."""
    return {name: _wanted(config, name) for name in topics.wanted(config.publish.profile)}


async def there(config: Config) -> There:
    """Those of the topics that exist."""
    called = {topic.name: name for name, topic in wanted(config).items()}
    async with kafka(config) as brokers, brokers.admin() as admin:
        found = await look(admin, called)
        given = await settings(admin, found.topics)
    every = {
        called[name]: Topic(name, len(one.copies), min(one.copies.values()), given[name])
        for name, one in found.topics.items()
    }
    return There(every, found.brokers)


def plan(config: Config, there: There, more_partitions: bool = False) -> list[Step]:
    """What makes the topics as they are wanted and loses nothing: what is missing is made; retention and sizes are
    raised, never lowered; partitions are added only where that is asked for."""
    steps: list[Step] = []
    for name, topic in wanted(config).items():
        found = there.topics.get(name)
        if found is None:
            what = f"make it: {topic.partitions} partitions, {topic.copies} copies, {_told(topic.settings)}"
            steps.append(Step(topic.name, what, topic.partitions, topic.copies, topic.settings))
            continue
        if more_partitions and found.partitions < topic.partitions:
            what = f"add partitions: {found.partitions} → {topic.partitions}. KEYS MOVE: see docs/deploy.md"
            steps.append(Step(topic.name, what, topic.partitions))
        if changed := dict(_raised(topic, found)):
            what = f"set {', '.join(f'{key}: {found.settings.get(key)} → {changed[key]}' for key in changed)}"
            steps.append(Step(topic.name, what, settings=changed))
    return steps


async def carry_out(config: Config, steps: Sequence[Step]) -> None:
    """Does what was planned. Raises LogError where the brokers refuse."""
    async with kafka(config) as brokers, brokers.admin() as admin:
        if made := [Topic(one.topic, one.partitions, one.copies, one.settings) for one in steps if one.copies]:
            await create(admin, made)
        for one in steps:
            if one.copies:
                continue
            if one.partitions:
                await extend(admin, one.topic, one.partitions)
            if one.settings:
                await set_up(admin, one.topic, one.settings)


async def differences(config: Config) -> list[str]:
    """How the topics differ from what is configured, each with what that costs."""
    return list(costs(config, await there(config)))


def costs(config: Config, there: There) -> Iterator[str]:
    """See differences."""
    every = wanted(config)
    if missing := [topic.name for name, topic in every.items() if name not in there.topics]:
        yield f"{', '.join(missing)}: not there, so nothing is received. stream topics create makes what is missing"
    raw = {name: there.topics[name].partitions for name in topics.RAW.values() if name in there.topics}
    if len(set(raw.values())) > 1:
        counts = ", ".join(f"{there.topics[name].name} {count}" for name, count in raw.items())
        yield (
            f"raw topics have different numbers of partitions ({counts}): members of a processor share people, so their"
            " batches conflict and are done again; and nothing of a person is dealt with side by side in one member"
        )
    for name, found in there.topics.items():
        for cost in _costs(every[name], found, config):
            yield f"{found.name}: {cost}"


def _costs(topic: Topic, found: Topic, config: Config) -> Iterator[str]:
    yield from _lost(topic, found)
    yield from _kept(topic, found, config)
    if found.partitions != topic.partitions:
        yield (
            f"{found.partitions} partitions, log.partitions is {topic.partitions}: at most {found.partitions} members"
            " of a processor work at once"
        )
    if int(found.settings.get(_LARGEST, topic.settings[_LARGEST])) < int(topic.settings[_LARGEST]):
        yield (
            f"{_LARGEST} is {found.settings[_LARGEST]}, kafka.max_message_bytes is {topic.settings[_LARGEST]}: what is"
            " larger is not processed, it goes to `refused`"
        )
    if found.settings.get(_TIMES) == "LogAppendTime":
        yield f"{_TIMES} is LogAppendTime: what was spilled or moved gets the time at which it came to Kafka"


def _lost(topic: Topic, found: Topic) -> Iterator[str]:
    """What a broker that dies may take with it."""
    sync = int(found.settings.get(_SYNC, "1"))
    if found.copies < topic.copies:
        yield (
            f"{found.copies} copies, kafka.replication_factor is {topic.copies}: {found.copies} lost disks take what"
            " was acknowledged; Kafka's own tools can add copies"
        )
    if sync < int(topic.settings[_SYNC]) and found.copies > 1:
        yield (
            f"{_SYNC} is {sync} with {found.copies} copies: what was acknowledged may be on {sync} disks only, and lost"
            " with them"
        )
    if sync >= found.copies > 1:
        yield f"{_SYNC} is {sync} with {found.copies} copies: one broker away, and nothing is taken"
    if found.settings.get(_ELECTION) == "true":
        yield f"{_ELECTION} is true: a copy that was behind may become the leader, and what it lacked is lost"


def _kept(topic: Topic, found: Topic, config: Config) -> Iterator[str]:
    """How long messages stay."""
    policy, wanted_policy = found.settings.get(_CLEANUP, "delete"), topic.settings[_CLEANUP]
    if policy != wanted_policy:
        yield f"{_CLEANUP} is {policy}, not {wanted_policy}: " + (
            "older messages of a person vanish before they are processed or replayed"
            if wanted_policy == "delete"
            else "who was not changed for long is missing in it"
        )
    if wanted_policy != "delete":
        return
    kept, days = int(found.settings.get(_TIME, "-1")), config.log.retention_days
    if 0 <= kept < int(topic.settings[_TIME]):
        yield (
            f"kept for {kept / _DAY_MS:g} days, log.retention_days is {days:g}: replays reach back no further, and a"
            f" processor that stands still for {kept / _DAY_MS:g} days loses messages"
        )
    if kept < 0 or kept > int(topic.settings[_TIME]):
        kept_for = "for ever" if kept < 0 else f"for {kept / _DAY_MS:g} days"
        yield f"kept {kept_for}, log.retention_days is {days:g}: what a deleted person sent stays longer than that"
    bound, wanted_bound = int(found.settings.get(_BYTES, "-1")), int(topic.settings[_BYTES])
    if bound >= 0 and (wanted_bound < 0 or bound < wanted_bound):
        yield f"{_BYTES} is {bound} for each partition: under load messages go before their time, read or not"


def _raised(topic: Topic, found: Topic) -> Iterator[tuple[str, str]]:
    now = found.settings
    if now.get(_CLEANUP, "delete") != topic.settings[_CLEANUP]:
        yield _CLEANUP, topic.settings[_CLEANUP]
    for key in sorted({_TIME, _BYTES, _LARGEST} & topic.settings.keys()):
        have, want = int(now.get(key, "-1")), int(topic.settings[key])
        if have >= 0 and (want < 0 or have < want):
            yield key, topic.settings[key]
    if now.get(_SYNC) != topic.settings[_SYNC] and int(topic.settings[_SYNC]) <= found.copies:
        yield _SYNC, topic.settings[_SYNC]


def _wanted(config: Config, name: str) -> Topic:
    log, brokers = config.log, config.kafka
    retention = int(log.retention_days * _DAY_MS)
    given = {_SYNC: str(brokers.min_insync_replicas), _LARGEST: str(brokers.max_message_bytes)}
    if name == topics.PERSON_PROFILE:  # an erased person's value is overwritten by a null: it is gone after that long
        given |= {_CLEANUP: "compact", "max.compaction.lag.ms": str(retention)}
    else:
        segment = max(_DAY_MS // 24, min(7 * _DAY_MS, retention // 10))  # whole segments go: so much later at most
        given |= {_CLEANUP: "delete", _TIME: str(retention), _BYTES: str(log.retention_bytes or -1)}
        given |= {"segment.ms": str(segment)}
    return Topic(config.topics.get(name, name), log.partitions, brokers.replication_factor, given)


def _told(given: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in given.items())
