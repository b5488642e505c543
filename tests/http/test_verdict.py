"""What an answer means, and until when."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from stream.connector import Response
from stream.errors import Refused, Retry
from stream.http import verdict

NOW = 1_800_000_000.0
IN_A_MINUTE = format_datetime(datetime.fromtimestamp(NOW + 60, UTC), usegmt=True)


def after(status, **headers):
    """How long the judge says to wait, and everybody."""
    answer = Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with pytest.raises(Retry) as caught:
        verdict.judge(answer, NOW)
    return caught.value.after, verdict.pause(answer, NOW)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        (IN_A_MINUTE, 60.0),
        (str(int(NOW) + 60), 60.0),
        (str(int(NOW + 60) * 1_000), 60.0),
        ("9999999", 86_400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("0", None),
        ("-7", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Xxx, 99 Foo 2026 99:99:99 GMT", None),
        ("1e999", None),
    ],
)
def test_retry_after_is_seconds_or_a_time_and_at_most_a_day(text, wait):
    assert after(503, retry_after=text) == (wait, wait)
    assert after(429, x_ratelimit_reset=text) == (wait, wait)


@pytest.mark.parametrize("name", ["x_ratelimit_reset", "x_rate_limit_reset", "ratelimit_reset"])
def test_a_vendors_reset_counts_when_the_rate_is_used_up(name):
    assert after(429, **{name: str(int(NOW) + 30)}) == (30.0, 30.0)
    assert after(500, **{name: str(int(NOW) + 30)}) == (None, None)


def test_retry_after_outranks_a_reset():
    assert after(429, retry_after="5", x_ratelimit_reset="30") == (5.0, 5.0)
    assert after(429, retry_after="soon", x_ratelimit_reset="30") == (30.0, 30.0)


def test_only_a_busy_destination_is_left_alone_by_everybody():
    assert after(500, retry_after="5") == (5.0, None)
    assert after(408, retry_after="5") == (5.0, None)
    assert after(401, retry_after="5") == (5.0, None)


@pytest.mark.parametrize("status", range(200, 300))
def test_an_answer_below_300_is_one_to_go_on_with(status):
    answer = Response(status=status)
    assert verdict.judge(answer, NOW) is answer
    assert verdict.pause(answer, NOW) is None


@pytest.mark.parametrize("status", sorted({*range(300, 500)} - {401, 403, 408, 423, 425, 429}))
def test_what_is_about_this_request_is_refused(status):
    with pytest.raises(Refused) as caught:
        verdict.judge(Response(status=status, body=b"why"), NOW)
    assert (caught.value.status, caught.value.body, str(caught.value)) == (status, b"why", f"http_{status}")


@pytest.mark.parametrize("status", range(500, 600))
def test_what_is_about_the_destination_is_a_retry(status):
    assert after(status) == (None, None)
