"""What an answer, or the lack of one, means for whoever asked."""

from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientSSLError,
    InvalidURL,
    NonHttpUrlClientError,
)

from stream.connector import Response
from stream.errors import Dead, Outcome, Refused, Retry
from stream.http.addresses import PrivateAddress

_LATER: Final = (408, 423, 425, 429)
_KEYS: Final = (401, 403)
_BUSY: Final = (429, 503)
_RESETS: Final = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
_LONGEST_S: Final = 86_400.0  # a destination that asks for more is asked again after a day
_EPOCH: Final = 1e9  # as seconds from now, thirty years: so it is a time
_MILLISECONDS: Final = 1e12


def judge(answer: Response, now: float) -> Response:
    """The answer, if it is one to go on with. Otherwise raises Retry, or Refused for what the flow may know about."""
    status = answer.status
    if 200 <= status < 300:
        return answer
    if status < 200:
        raise Retry("broken_response")
    if status in _KEYS:
        raise Retry(f"http_{status}", after=_wait(answer, now), outage=True)
    if status in _LATER or status >= 500:
        raise Retry(f"http_{status}", after=_wait(answer, now))
    raise Refused(status, answer.body)


def pause(answer: Response, now: float) -> float | None:
    """How long nobody should send to this destination: it is busy, not this one request wrong."""
    return _wait(answer, now) if answer.status in _BUSY else None


def failure(error: Exception) -> Outcome:
    """What a request without an answer comes to. Its text names nothing of the request."""
    match error:
        case InvalidURL() | NonHttpUrlClientError():
            return Dead("bad_request")
        case TimeoutError():
            return Retry("timeout")
        case ClientSSLError():
            return Retry("tls_failed", outage=True)
        case ClientConnectorError(os_error=PrivateAddress()):
            return Retry("private_address", outage=True)
        case ClientConnectorError():
            return Retry("unreachable", outage=True)
        case ClientConnectionError() | OSError():
            return Retry("disconnected")
        case ClientError():
            return Retry("broken_response")
        case _:  # ValueError: a header or method that cannot be written
            return Dead("bad_request")


def _wait(answer: Response, now: float) -> float | None:
    found = _seconds(answer.headers.get("retry-after", ""), now)
    if found is None and answer.status == 429:  # on other answers they say when the window ends, used up or not
        waits = (_seconds(answer.headers.get(name, ""), now) for name in _RESETS)
        found = next((wait for wait in waits if wait is not None), None)
    return found


def _seconds(text: str, now: float) -> float | None:
    """From now: of seconds, of a time in seconds or milliseconds, or of an HTTP date. None if past or senseless."""
    try:
        number = float(text)
    except ValueError:
        number = _date(text)
    if number >= _MILLISECONDS:
        number /= 1_000
    wait = number - now if number >= _EPOCH else number
    return min(wait, _LONGEST_S) if isfinite(wait) and wait > 0 else None


def _date(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
