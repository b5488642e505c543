"""Somebody who sends as Segment does: signed, one event a request, again until it is acknowledged."""

import http.client
import itertools
import json
import random
import threading
import time
from collections import defaultdict
from types import TracebackType

from stream.core.signature import sign
from tests.compose.engine import RECEIVERS, Compose

SENDERS = 8
PAUSE_S = 0.05  # of each sender, between two events
PEOPLE = 1_000  # few events of each: what comes twice is counted once, if less than 64 of the person lie in between
EVENT = "Sent While It Broke"


class Sender:
    """Sends while the context is open. Leaving it waits until all that was begun is acknowledged."""

    def __init__(self, system: Compose, name: str) -> None:
        self.acknowledged: dict[str, set[str]] = defaultdict(set)
        """messageIds by userId."""
        self.repeats = 0
        """Answers other than 200, and none."""
        self._system, self._name = system, name
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]

    def __enter__(self) -> "Sender":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def messages(self) -> set[str]:
        """All that were acknowledged."""
        return set().union(*self.acknowledged.values())

    def people(self) -> dict[str, int]:
        """How many of each subject."""
        return {f"user:{user}": len(ids) for user, ids in self.acknowledged.items()}

    @property
    def amount(self) -> int:
        """Of events that were acknowledged."""
        return sum(map(len, list(self.acknowledged.values())))

    def more(self, amount: int) -> None:
        """Returns once so many more are acknowledged."""
        wanted = self.amount + amount
        self._system.until(lambda: self.amount >= wanted, f"{amount} more events are taken")

    def _send(self, number: int) -> None:
        chosen = random.Random(number)
        for count in itertools.count():
            if self._ended.is_set():
                return
            user, message = f"user-{chosen.randrange(PEOPLE)}", f"{self._name}-{number}-{count}"
            self._deliver(user, message, RECEIVERS[(number + count) % len(RECEIVERS)])
            time.sleep(PAUSE_S)

    def _deliver(self, user: str, message: str, receiver: str) -> None:
        body = json.dumps({"type": "track", "userId": user, "messageId": message, "event": EVENT, "properties": {}})
        given_up = time.monotonic() + 300
        while not self._posted(body.encode(), receiver):
            assert time.monotonic() < given_up, "nobody takes it"
            self.repeats += 1
            receiver = RECEIVERS[1 - RECEIVERS.index(receiver)]  # as what spreads requests over both would
            time.sleep(0.2)
        self.acknowledged[user].add(message)

    def _posted(self, body: bytes, receiver: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._system.ports[receiver], timeout=10)
        try:
            connection.request("POST", "/segment", body, {"X-Signature": sign(body, self._system.secret)})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
