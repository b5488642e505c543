"""Are most deliveries dying? A bug is an outage, not a million dead letters."""

from collections import deque


class Deaths:
    """The last deliveries of one processor, and how many of them died. Pure."""

    def __init__(self, window: int = 100, share: float = 0.5, least: int = 20) -> None:
        self._recent: deque[bool] = deque(maxlen=window)
        self._dead = 0
        self._share = share
        self._least = least

    def copy(self) -> "Deaths":
        """The same memory, to go on with tentatively."""
        twin = Deaths(self._recent.maxlen or 0, self._share, self._least)
        twin._recent.extend(self._recent)
        twin._dead = self._dead
        return twin

    def add(self, died: bool) -> bool:
        """One more delivery. True: most of the recent ones died, and there are enough of them to tell."""
        if len(self._recent) == self._recent.maxlen:
            self._dead -= self._recent[0]
        self._recent.append(died)
        self._dead += died
        return self._dead >= self._least and self._dead > self._share * len(self._recent)
