"""Unclear: what was sent without an answer, and may still arrive. Pure.

A request that timed out may be carried out late, after one that was sent later with another value. So what was sent
since then is not believed to be the last word while that may happen.
"""

from collections.abc import Hashable

ANYTHING = ""
"""What another process sent, or an earlier one: any value. It is none itself."""

_MANY = 1_000


class Unclear:
    """What may still arrive, by key: each value, and until when."""

    def __init__(self) -> None:
        self._late: dict[Hashable, dict[str, float]] = {}
        self._prune_at = _MANY

    def note(self, key: Hashable, text: str, until: float, now: float) -> None:
        """This value was sent, and nobody answered. ANYTHING: nobody here knows what it was."""
        if len(self._late) >= self._prune_at:
            self._late = {k: v for k, v in self._late.items() if max(v.values()) > now}
            self._prune_at = max(_MANY, 2 * len(self._late))
        self._late.setdefault(key, {})[text] = until

    def until(self, key: Hashable) -> float | None:
        """Until when anything may still arrive; None: nothing can that is known of here."""
        return max(self._late[key].values()) if key in self._late else None

    def wait(self, key: Hashable, text: str, now: float) -> float:
        """For how long something else than this value may still arrive; 0.0: it cannot."""
        late = self._late.get(key)
        if late is None:
            return 0.0
        return max((until - now for other, until in late.items() if other != text and until > now), default=0.0)
