"""Unclear: what was sent without an answer, and may still arrive. Pure.

A request that timed out may be carried out late, after one that was sent later with another value. So what was sent
since then is not believed to be the last word while that may happen.
"""

from collections.abc import Hashable

_MANY = 1_000


class Unclear:
    """What may still arrive, by key: each value, and until when."""

    def __init__(self) -> None:
        self._late: dict[Hashable, dict[str, float]] = {}
        self._prune_at = _MANY

    def note(self, key: Hashable, text: str, until: float, now: float) -> None:
        """This value was sent, and nobody answered."""
        if len(self._late) >= self._prune_at:
            self._late = {k: v for k, v in self._late.items() if max(v.values()) > now}
            self._prune_at = max(_MANY, 2 * len(self._late))
        self._late.setdefault(key, {})[text] = until

    def wait(self, key: Hashable, text: str, now: float) -> float:
        """For how long something else than this value may still arrive; 0.0: it cannot."""
        late = self._late.get(key)
        if late is None:
            return 0.0
        return max((until - now for other, until in late.items() if other != text and until > now), default=0.0)
