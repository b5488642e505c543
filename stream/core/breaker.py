"""Is the destination down, or is it this one person?

The last distinct people are looked at, not the last attempts: one person who fails a thousand times is one. When most
of them fail, it is the destination: the breaker opens, and one person after another is asked whether it is back.
"""

_PROBES = 3  # people for whom it must have worked
_FIRST_S, _LONGEST_S = 1.0, 30.0
_NEW_S = 5.0  # at most, after somebody new: a block of people who fail comes to an end
_NEW = 100  # but not after more of them than that
_KNOWN = 100_000  # people known to fail; beyond that all are news again, which costs some probes


class Breaker:
    """What one processor has lately seen of its destination: the last `people`, and whether each one's last attempt
    failed. It opens when more than `share` of at least `least` people failed. Times are seconds of one clock.

    The share is large: where it works for some, the destination is there, however many fail. While it is open nothing
    is fetched, unless nobody is left in memory but those who fail: it closes only when others are asked."""

    def __init__(self, people: int = 20, share: float = 0.8, least: int = 8) -> None:
        self.open = False
        self.since = 0.0
        """While open: since when."""
        self.next_probe = 0.0
        """While open: when the next may be asked."""
        self._people, self._share, self._least = people, share, least
        self._last: dict[str, bool] = {}  # person → failed, the longest ago first; while open, since it opened
        self._failing = 0
        self._known: set[str] = set()  # whose last attempt failed, however long ago
        self._back = False  # it was open once, and enough people said that it is back
        self._succeeded = float("-inf")
        self._not_before = 0.0  # what the destination itself asked for
        self._pause = _FIRST_S
        self._asked = False
        self._new = 0  # of those who were asked since it opened, and had not failed before

    def note(self, person: str, failed: bool, now: float, after: float | None = None, left: int | None = None) -> None:
        """How an attempt ended that asked the destination; what asked nothing (a skip, a bug, NotYet) is not noted,
        nor is the failure of a lane that is held: that one is known. `after`: what the destination asks everybody or
        this one to wait. `left`: how many other people could be asked; with none, fewer probes must do."""
        if not failed:
            self._succeeded = now
            self._not_before = 0.0
        elif after is not None:
            self._not_before = max(self._not_before, now + after)
        new = person not in self._known
        if self._is_news(person, failed):
            self._remember(person, failed)
        if self.open and failed:
            self._failed(new, now)
        elif self.open:
            self._worked(now, left)
        elif len(self._last) >= self._least and self._most_fail:
            self._trip(now)

    def tells(self, since: float) -> bool:
        """Of somebody who fails since then: is it this one person? Only if it is closed, saw enough people, and it
        worked for another one meanwhile."""
        enough = self._back or len(self._last) >= self._least
        return enough and not self.open and self._succeeded >= since

    def may_probe(self, now: float) -> bool:
        """While open: may one more person be asked? A yes is for one attempt; the next one waits for its note(), or
        for the pause, if none comes."""
        if not self.open or now < self.next_probe:
            return False
        self._asked = True
        self.next_probe = now + self._pause
        return True

    def unasked(self, now: float) -> None:
        """The attempt that may_probe() allowed did not ask the destination: another one may, at once."""
        if self.open and self._asked:
            self._asked = False
            self.next_probe = max(now, self._not_before)

    @property
    def _most_fail(self) -> bool:
        return self._failing > self._share * len(self._last)

    def _is_news(self, person: str, failed: bool) -> bool:
        """Somebody who fails again says nothing of others. Were it counted, the few who fail would soon be most of the
        last: they come back again and again, and others once."""
        if not failed:
            self._known.discard(person)
            return True
        known = person in self._known
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known.add(person)
        return self.open or not known

    def _remember(self, person: str, failed: bool) -> None:
        last = self._last
        self._failing += failed - last.pop(person, False)
        last[person] = failed
        if len(last) > self._people:
            self._failing -= last.pop(next(iter(last)))

    def _trip(self, now: float) -> None:
        self.open, self._back, self._asked = True, False, False
        self.since = now
        self._last, self._failing, self._new = {}, 0, 0
        self._pause = _FIRST_S
        self.next_probe = max(now + self._pause, self._not_before)

    def _failed(self, new: bool, now: float) -> None:
        """While open: a probe, or what was under way when it opened."""
        if self._asked:
            self._asked = False
            self._new += new
            longest = _NEW_S if new and self._new <= _NEW else _LONGEST_S
            self.next_probe = now + min(self._pause, longest)
            self._pause = min(self._pause * 2, _LONGEST_S)
        self.next_probe = max(self.next_probe, self._not_before)

    def _worked(self, now: float, left: int | None) -> None:
        self._pause, self._asked, self.next_probe = _FIRST_S, False, now
        self._close_if_back(left)

    def _close_if_back(self, left: int | None) -> None:
        worked = [person for person, failed in self._last.items() if not failed]
        if self._most_fail or (len(worked) < _PROBES and left != 0):
            return
        self.open, self._back = False, True
        self._last, self._failing = dict.fromkeys(worked, False), 0
