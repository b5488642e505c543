"""What every connector keeps to, whatever it talks to (stream/connector.py says it in words)."""

import inspect
import logging
import socket
import traceback
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from structlog.testing import capture_logs

from stream.connector import Limits, Request, can
from stream.errors import Dead, Outcome, Refused, Retry
from stream.http.recorder import shown
from tests.contracts.connectors import VERBS, Forbidden, Sample, driven, event, no_io, samples

SAMPLES = samples()
CASES = [(name, verb) for name, sample in SAMPLES.items() for verb in VERBS if can(sample.connector, verb)]
CHANGES = [(name, verb) for name, verb in CASES if verb != "send_event"]
BULK = [(name, verb) for name, verb in CHANGES if verb in SAMPLES[name].connector.bulk]
TWO_WAYS = [(name, verb) for name, verb in CHANGES if verb in ("set_membership", "set_consent")]
NOBODY = "q7x-nobody@example.com"
ODD = ("..", ".", "a/b", "a?b=c", "a#b", "a%2Fb", "a\r\nX: y", "é\u202e", "{$.id}", "$.id", "'\"\\", " ", "a" * 2_000)


def cases(pairs):
    return pytest.mark.parametrize(("name", "verb"), pairs)


def test_the_samples_have_every_verb_and_both_sorts_of_bulk():
    assert {verb for _, verb in CASES} == set(VERBS)
    assert BULK and set(BULK) < set(CHANGES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_connector_says_who_it_is_and_what_it_bears(name):
    connector = SAMPLES[name].connector
    assert connector.name and connector.kinds and isinstance(connector.limits, Limits)
    assert SAMPLES[name].kind in connector.kinds
    assert all(can(connector, verb) and many > 1 for verb, many in connector.bulk.items())


@cases(CASES)
def test_a_flow_is_a_generator_of_requests_to_its_own_destination(name, verb):
    flow = SAMPLES[name].flow(verb)
    assert inspect.isgenerator(flow)
    asked = driven(flow)
    assert asked
    for request in asked:
        assert isinstance(request, Request) and request.destination == SAMPLES[name].connector.name
        assert request.method == request.method.upper() and urlsplit(request.url).hostname
        assert request.body is None or isinstance(request.body, bytes)


@cases(CASES)
def test_a_flow_does_no_io(name, verb):
    sample = SAMPLES[name]
    driven(sample.flow(verb))  # what is imported when it is first needed is
    with no_io():
        driven(sample.flow(verb))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Path(__file__).read_text(),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("localhost", 80),
    ],
)
def test_a_flow_that_does_io_is_found(wrong):
    def flow():
        wrong()
        yield Request(destination="d", method="GET", url="https://a.example")

    with pytest.raises(Forbidden), no_io():
        driven(flow())


@cases(CASES)
def test_the_same_changes_are_the_same_requests(name, verb):
    first, second = (driven(SAMPLES[name].flow(verb)) for _ in range(2))
    assert first == second


@cases(CASES)
@pytest.mark.parametrize("status", [302, 400, 409, 422])
def test_what_is_refused_is_never_taken_for_done(name, verb, status):
    with pytest.raises((Refused, Retry, Dead)) as raised:
        driven(SAMPLES[name].flow(verb), status)
    assert not isinstance(raised.value, Refused) or raised.value.status == status


@cases([(name, verb) for name, verb in CHANGES if verb == "delete_person"])
def test_somebody_who_is_not_there_is_deleted(name, verb):
    assert driven(SAMPLES[name].flow(verb), 404)


@cases(CASES)
def test_nothing_that_is_secret_is_left_once_a_request_is_masked(name, verb):
    sample = SAMPLES[name]
    for request in driven(sample.flow(verb)):
        assert set(sample.secrets) <= set(request.secrets) | _not_in(request, sample.secrets)
        told = msgspec.json.encode(shown(request)).decode()
        assert not [secret for secret in sample.secrets if secret in told or secret in unquote(told)]


@cases(CASES)
def test_no_secret_and_nobody_is_in_a_repr_an_exception_or_a_log_line(name, verb, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    sample, told = SAMPLES[name], []
    with capture_logs() as lines:
        for changes in _awkward(sample, verb):
            flow = sample.flow(verb, *changes)
            told += [repr(sample.connector), repr(flow)]
            for status in (200, 400, 302):
                told += _said(sample.flow(verb, *changes), status)
    told += [repr(lines), caplog.text, *capsys.readouterr()]
    whole = "\n".join(told)
    assert not [secret for secret in (*sample.secrets, NOBODY) if secret in whole]


@cases(CHANGES)
@pytest.mark.parametrize("person", ODD)
def test_an_odd_id_leads_nowhere_else(name, verb, person):
    sample = SAMPLES[name]
    [usual, *_] = driven(sample.flow(verb))
    try:
        asked = driven(sample.flow(verb, sample.change(verb, person)))
    except Dead:
        return
    for request in asked:
        mine, there = urlsplit(request.url), urlsplit(usual.url)
        assert (mine.scheme, mine.netloc, mine.path.count("/")) == (there.scheme, there.netloc, there.path.count("/"))
        assert not {".", ".."} & set(unquote(mine.path).split("/")[:-1])
        assert all(text.isprintable() for text in request.headers.values())


@cases(CHANGES)
@pytest.mark.parametrize("kind", ["carrier_pigeon", ""])
def test_an_address_of_a_foreign_kind_is_dead_before_anything_is_asked(name, verb, kind):
    sample = SAMPLES[name]
    change = msgspec.structs.replace(sample.change(verb), address=f"{kind}:ada@example.com")
    with pytest.raises(Dead):
        next(sample.flow(verb, change))


@cases(TWO_WAYS)
def test_what_is_set_can_be_taken_away(name, verb):
    sample = SAMPLES[name]
    on, off = (driven(sample.flow(verb, sample.change(verb, value=value))) for value in (True, False))
    assert on and off and on != off


@cases(CHANGES)
def test_nobody_may_be_left_to_tell_more_about(name, verb):
    sample = SAMPLES[name]
    assert driven(sample.flow(verb, msgspec.structs.replace(sample.change(verb), person=None)))


@cases(BULK)
def test_one_flow_carries_as_many_changes_as_the_connector_says(name, verb):
    sample = SAMPLES[name]
    people = [f"person{number}@example.com" for number in range(sample.connector.bulk[verb])]
    for value in (True, False):
        [request] = driven(sample.flow(verb, *[sample.change(verb, person, value) for person in people]))
        told = unquote(request.url) + (request.body or b"").decode()
        assert [person for person in people if person not in told] == []


@cases(CASES)
def test_what_may_not_be_done_twice_says_so(name, verb):
    sample = SAMPLES[name]
    assert {request.repeatable for request in driven(sample.flow(verb))} == {verb not in sample.once}


def test_every_built_in_connector_is_among_the_samples():
    files = {file.stem for file in (Path(__file__).parent.parent.parent / "connectors").glob("*.py")}
    assert files == {type(sample.connector).__module__.rpartition(".")[2] for sample in SAMPLES.values()} - {
        "newsletter"
    }


def _awkward(sample: Sample, verb: str):
    """Changes of which some can be done, and some cannot; all are about NOBODY."""
    if verb == "send_event":
        return [[event(NOBODY)]]
    return [
        [sample.change(verb, NOBODY)],
        [sample.change(verb, f"{NOBODY}/..", kind="foreign")],
        [sample.change(verb, ".."), sample.change(verb, NOBODY)],
        [sample.change(verb, f"{NOBODY}\r\nX: y")],
    ]


def _said(flow, status: int) -> list[str]:
    """All that could be written to a log of a flow and its end."""
    try:
        asked = driven(flow, status, NOBODY.encode())
    except (Outcome, Refused) as error:
        return [str(error), repr(error), "".join(traceback.format_exception(error))]
    return [*map(repr, asked), f"{asked}"]


def _not_in(request: Request, secrets) -> set[str]:
    text = request.url + repr(request.headers) + (request.body or b"").decode()
    return {secret for secret in secrets if secret not in text}
