"""A gate in front of the embedded system, and the events that tell it what people allow."""

from contextlib import asynccontextmanager

from stream.config import Config, GateConfig, PublishConfig, PurposeConfig, SourceConfig
from stream.errors import NotYet
from stream.gate import Gate, Question
from stream.reads import Reads
from tests.embedded import Clock, Embedded, message
from tests.engine.outcome import ready

NOW = 1_000_000.0
EMAIL = "email:a@b.c"
PURPOSES = {
    "ads": PurposeConfig(categories=("Advertising",)),
    "measuring": PurposeConfig(categories=("Analytics",), unknown="allow"),
    "both": PurposeConfig(categories=("Advertising", "Analytics")),
    "mail": PurposeConfig(channels=("email",)),
    "news": PurposeConfig(channels=("email", "list:news"), unknown="allow"),
    "service": PurposeConfig(),
}
CONFIG = Config(
    publish=PublishConfig(profile=True),
    gate=GateConfig(max_lag_s=60.0),
    purposes=PURPOSES,
    sources={"web": SourceConfig(secrets=("s",), space="staging")},
    processors={
        **{name: {} for name in ("profiles", "audiences", "deletion")},
        "consent": {"given_by": {"newsletter": "list:news"}, "withdrawn_by": {"email_opt_out": "email"}},
    },
)
STAGING = {"space": "staging"}


class Asking:
    """The embedded system, with a gate in front of it."""

    def __init__(self, system, clock):
        self.system, self.clock = system, clock
        self.reads = Reads(system.around.store)
        self.gate = Gate(system.around, CONFIG, self.reads)

    async def knows(self, *messages):
        """These are received, and everything reads them."""
        await self.system.send(*messages)
        await self.system.read()

    async def refuses(self, purpose="ads", subject="user:1", **more):
        """Why; None if it may be given."""
        return (await self.gate.refusals([Question("crm", subject, purpose, **more)]))[0]

    async def waits(self):
        """Why nobody is given anything; None if somebody may be."""
        try:
            await self.refuses("internal")
        except NotYet as error:
            assert error.after == 1.0
            return error.reason
        return None


@asynccontextmanager
async def opened(folder):
    clock = Clock(NOW)
    async with Embedded.open(folder, CONFIG, clock) as system:
        await ready(system)
        await system.read()
        yield Asking(system, clock)


def says(time=1.0, headers=None, kind="page", userId="1", given=None, **body):
    """An event that carries consent: of Advertising, Analytics …"""
    consent = {} if given is None else {"consent": {"categoryPreferences": given}}
    return message(kind, time, headers, userId=userId, context=consent | body.pop("context", {}), **body)


def signs_up(time=1.0, headers=None, userId="1", **traits):
    return message("identify", time, headers, userId=userId, traits=traits)


def subscribed(status, time=1.0, userId="1", kind="email", key=None):
    held = [{"type": kind, "status": status} | ({"key": key} if key else {})]
    return message("track", time, userId=userId, event="Updated", context={"messaging_subscriptions": held})
