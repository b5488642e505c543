"""A delivery failed: wait, hold its lane, let it die, or leave it?"""

from msgspec import Struct

from stream.errors import Dead, NotYet, Refused, Retry, Skip

LONGEST_S = 30.0
"""Between two tries of what waits in memory."""
BUGS = 3
"""Tries of what fails for no named reason."""


class Tries(Struct, frozen=True):
    """How often a delivery has failed, since when, and how many of these were bugs."""

    failed: int = 0
    since: float = 0.0
    bugs: int = 0

    def another(self, error: Exception, now: float) -> "Tries":
        """With this failure counted. NotYet counts as none."""
        if isinstance(error, NotYet):
            return self
        bug = not isinstance(error, Retry)
        return Tries(self.failed + 1, self.since if self.failed else now, self.bugs + bug)


class Situation(Struct, frozen=True, kw_only=True):
    """What else matters at the moment of a failure."""

    time: float
    open: bool  # the breaker
    tells: bool  # the breaker: it is this one person, who fails since tries.since
    waiting: int  # deliveries of this lane in memory, those just tried among them
    window: int  # deliveries that may be in memory
    full: bool  # as many are: nothing is fetched
    room: bool  # may one more lane be held?
    patience_s: float
    stuck: bool = False  # nothing more is fetched, and all that is in memory fails


class Wait(Struct, frozen=True):
    """Try again then, in memory, those of the same key behind it."""

    until: float


class Hold(Struct, frozen=True):
    """It and all behind it of the same key go to the store, to be tried again from then on."""

    due: float


class Die(Struct, frozen=True):
    """It is kept as dead."""

    reason: str


class Leave(Struct, frozen=True):
    """It has ended in this fate."""

    fate: str


Decision = Wait | Hold | Die | Leave


def decide(error: Exception, tries: Tries, now: Situation, jitter: float) -> Decision:
    """What becomes of a delivery that raised this. `tries`: this failure included; `jitter`: 0 to 1.

    May be asked again of one that waits: as soon as its lane crowds the window, it need not wait for its next try."""
    match error:
        case Skip():
            return Leave(f"skipped:{error.reason}")
        case Dead():
            return Die(error.reason)
        case Refused():
            return Die(f"http_{error.status}")
        case NotYet():
            return Wait(now.time + (1.0 if error.after is None else error.after))
        case Retry():
            due = now.time + _pause(error, tries, jitter)
            return Hold(due) if _leaves_memory(tries, now, error.outage) else Wait(due)
    if tries.bugs >= BUGS:
        return Die(f"bug:{type(error).__name__}")
    return Wait(now.time + backoff(tries.bugs, jitter, LONGEST_S))


def backoff(attempt: int, jitter: float, longest: float) -> float:
    """Seconds to wait after the n-th failure (1 …): 0.2, 0.4 … up to `longest`, less up to half by jitter, so that
    those who failed together come back apart."""
    return min(0.2 * 2.0 ** min(attempt - 1, 60), longest) * (1 - jitter / 2)


def crowds(waiting: int, window: int) -> bool:
    """Does a lane with so many deliveries keep others out of the window? More than a tenth of it does."""
    return waiting * 10 > window


def _pause(error: Retry, tries: Tries, jitter: float) -> float:
    if error.after is None:
        return backoff(tries.failed, jitter, LONGEST_S)
    return error.after * (1 + jitter / 10)  # never earlier than it was told


def _leaves_memory(tries: Tries, now: Situation, outage: bool) -> bool:
    """Only where it is this one person. While the breaker is open it is not, and lag belongs in the log. Where nobody
    can tell, it waits; but once the window is full of such lanes, nobody else would ever be seen: then they leave, one
    for each who is asked, unless what they say is that of an outage."""
    if not now.room:
        return False
    impatient = now.time - tries.since > now.patience_s
    if now.stuck and not outage and impatient:
        return True
    if now.open:
        return False
    crowding = crowds(now.waiting, now.window)
    return crowding or impatient if now.tells else crowding and now.full
