"""connectors/webhook.py: what its configuration makes of changes and events. What all connectors share is in
tests/contracts/test_connectors.py."""

import json
from base64 import b64decode

import pytest

from connectors import webhook
from stream.connector import Change, Response, can
from stream.core import signature
from stream.errors import ConfigError, Dead, Refused
from stream.events import decode
from stream.message import Message
from stream.person import Person

URL = "https://api.example/people/{$.id}"
ADA = Person(
    key="user:1",
    subjects=("user:1",),
    identifiers={"email": ("ada@example.com", "a@b.c")},
    traits={"plan": "pro", "tags": ["x", "y"], "odd": "\ud800"},
)


def built(kinds=("email",), **settings):
    return webhook.build("crm", {"kinds": list(kinds), **settings})


def change(thing="list:vip", value=True, address="email:ada@example.com", person=ADA):
    return Change(address, thing, value, person)


def asked(connector, verb, *changes):
    return next(getattr(connector, verb)(changes or [change()]))


def body(connector, verb, *changes):
    return json.loads(asked(connector, verb, *changes).body)


def event(value):
    return decode(Message("segment.track", b"ada", value, ()))


def test_a_request_is_filled_in_from_the_change_and_the_person():
    template = {
        "email": "$.id",
        "list": "$.name",
        "thing": "$.thing",
        "by": "$.kind",
        "on": "$.value",
        "plan": "$.person.traits.plan",
        "tags": "$.person.traits.tags",
        "all": "$.person.identifiers.email[*]",
        "first": "$.person.identifiers.email[0]",
        "nothing": "$.person.traits.nothing",
        "source": "segment",
        "price": "$$5",
    }
    request = asked(built(set_membership={"url": URL, "method": "PATCH", "body": template}), "set_membership")
    assert (request.method, request.url) == ("PATCH", "https://api.example/people/ada%40example.com")
    assert request.headers == {"Content-Type": "application/json"}
    assert json.loads(request.body) == {
        "email": "ada@example.com",
        "list": "vip",
        "thing": "list:vip",
        "by": "email",
        "on": True,
        "plan": "pro",
        "tags": ["x", "y"],
        "all": ["ada@example.com", "a@b.c"],
        "first": "ada@example.com",
        "source": "segment",
        "price": "$5",
    }


def test_without_a_body_there_is_none_and_no_content_type():
    request = asked(built(delete_person={"url": URL, "method": "DELETE"}), "delete_person")
    assert (request.body, request.headers) == (None, {})


def test_of_a_person_who_is_not_known_nothing_is_said():
    connector = built(upsert_profile={"url": URL, "body": {"person": "$.person", "plan": "$.person.traits.plan"}})
    assert body(connector, "upsert_profile", change(person=None)) == {"person": None}


def test_to_take_away_is_another_request_where_there_are_two():
    two = {"true": {"url": URL, "method": "PUT"}, "false": {"url": URL + "?gone=1", "method": "DELETE"}}
    connector = built(set_membership=two)
    assert asked(connector, "set_membership", change(value=True)).method == "PUT"
    gone = asked(connector, "set_membership", change(value=False))
    assert (gone.method, gone.url) == ("DELETE", "https://api.example/people/ada%40example.com?gone=1")


def test_at_once_puts_many_into_one_request_and_what_is_more_into_the_next():
    one = {"url": "https://api.example/{$.name}", "body": {"list": "$.name", "on": "$.value", "ids": {"$each": "$.id"}}}
    connector = built(set_membership={**one, "at_once": 2})
    assert connector.bulk == {"set_membership": 2}
    flow = connector.set_membership([change(address=f"email:{n}") for n in range(3)])
    requests = [next(flow), flow.send(Response(status=200))]
    assert [json.loads(request.body) for request in requests] == [
        {"list": "vip", "on": True, "ids": ["0", "1"]},
        {"list": "vip", "on": True, "ids": ["2"]},
    ]


def test_one_at_a_time_may_be_a_list_of_one():
    connector = built(delete_person={"url": "https://api.example/forget", "body": {"$each": {"id": "$.id"}}})
    assert connector.bulk == {}
    assert body(connector, "delete_person") == [{"id": "ada@example.com"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"userId":"1","properties":{"n":1.50}}', {"userId": "1", "properties": {"n": 1.5}}),
        (
            b'{"userId":"1","big":123456789012345678901234567890}',
            {"userId": "1", "big": 123456789012345678901234567890},
        ),
        (b'{"userId":"1","odd":"\\ud800","far":1e999}', {"userId": "1", "odd": "\ufffd", "far": None}),
    ],
)
def test_an_event_is_sent_as_it_came(value, expected):
    connector = built((), send_event={"url": "https://api.example/e", "body": "$.event"})
    assert json.loads(next(connector.send_event(event(value))).body) == expected


def test_segments_signature_is_the_one_that_the_receiver_checks():
    connector = built(
        (), signature="segment", secret="teehee", send_event={"url": "https://a.example", "body": "$.event"}
    )
    request = next(connector.send_event(event(b'{"type":"track","userId":"1"}')))
    assert signature.signed_part(request.body, request.headers["X-Signature"], ["teehee"]) == request.body


def test_a_signature_of_sha256_stands_in_the_header_that_was_chosen():
    # From `printf '{"id":"ada@example.com"}' | openssl dgst -sha256 -hmac teehee`
    connector = built(
        signature="sha256",
        signature_header="X-Hub",
        secret="teehee",
        upsert_profile={"url": URL, "body": {"id": "$.id"}},
        delete_person={"url": URL},
    )
    assert asked(connector, "upsert_profile").headers["X-Hub"] == OPENSSL
    assert asked(connector, "delete_person").headers == {}


OPENSSL = "215d62d3f77bb79b2d5f819aaaff738d62e5b2645338acde623b881b3ae906eb"


def test_basic_and_bearer_say_who_is_asking():
    basic = asked(built(basic="ada:pass:word", delete_person={"url": URL}), "delete_person")
    word, _, coded = basic.headers["Authorization"].partition(" ")
    assert (word, b64decode(coded)) == ("Basic", b"ada:pass:word")
    bearer = asked(built(bearer="token", delete_person={"url": URL}), "delete_person")
    assert bearer.headers == {"Authorization": "Bearer token"}


def test_headers_of_a_verb_come_before_those_of_all_whatever_their_case():
    verb = {
        "url": URL,
        "headers": {"content-type": "application/vnd.api+json", "X-KEY": "2", "X-Id": "{$.id}"},
        "body": {},
    }
    request = asked(built(headers={"X-Key": "1", "Accept": "*/*"}, upsert_profile=verb), "upsert_profile")
    assert request.headers == {
        "content-type": "application/vnd.api+json",
        "X-KEY": "2",
        "Accept": "*/*",
        "X-Id": "ada@example.com",
    }


def end(flow, status):
    next(flow)
    with pytest.raises((StopIteration, Refused, Dead)) as raised:
        flow.send(Response(status=status)) if status < 300 else flow.throw(Refused(status))
    return type(raised.value) if isinstance(raised.value, StopIteration) else raised.value.args[0]


@pytest.mark.parametrize(
    ("verb", "settings", "status", "expected"),
    [
        ("upsert_profile", {}, 204, StopIteration),
        ("upsert_profile", {}, 302, "http_302"),
        ("upsert_profile", {}, 404, "http_404"),
        ("upsert_profile", {"missing": [404]}, 404, StopIteration),
        ("upsert_profile", {"missing": [404]}, 410, "http_410"),
        ("upsert_profile", {"success": [202]}, 202, StopIteration),
        ("upsert_profile", {"success": [202]}, 200, "http_200"),
        ("upsert_profile", {"success": [200, 409]}, 409, StopIteration),
        ("delete_person", {}, 404, StopIteration),
        ("delete_person", {}, 410, StopIteration),
        ("delete_person", {"missing": []}, 404, "http_404"),
        ("delete_person", {"success": [202]}, 404, StopIteration),
        ("delete_person", {"success": [202]}, 200, "http_200"),
    ],
)
def test_which_statuses_are_success(verb, settings, status, expected):
    connector = built(**{verb: {"url": URL, **settings}})
    assert end(getattr(connector, verb)([change()]), status) == expected


def test_it_has_the_verbs_of_its_tables_and_no_others():
    connector = built(set_consent={"url": URL, "body": "$.value"}, delete_person={"url": URL})
    found = [verb for verb in webhook._VERBS if can(connector, verb)]
    assert found == ["set_consent", "delete_person"]


@pytest.mark.parametrize(("verb", "settings", "expected"), [
    ("set_membership", {}, True),
    ("set_membership", {"repeatable": False}, False),
    ("send_event", {}, False),
    ("send_event", {"repeatable": True}, True),
])  # fmt: skip
def test_an_event_is_not_repeated_unless_that_is_allowed(verb, settings, expected):
    connector = built(**{verb: {"url": "https://a.example", **settings}})
    about = event(b"{}") if verb == "send_event" else [change()]
    assert next(getattr(connector, verb)(about)).repeatable is expected


def test_what_no_json_can_hold_is_dead_and_said_without_it():
    connector = built(upsert_profile={"url": URL, "body": {"odd": "$.person.traits.odd"}})
    with pytest.raises(Dead, match=r"^bad_value$"):
        asked(connector, "upsert_profile")
    connector = built(upsert_profile={"url": URL, "body": "$.person.traits.nothing"})
    with pytest.raises(Dead, match=r"^no_value$"):
        asked(connector, "upsert_profile")


ONE = {"url": URL}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "connectors.crm can do nothing: it needs a table [connectors.crm.VERB], of upsert_profile, "),
        ({"kinds": [], "set_consent": ONE}, "connectors.crm.kinds: by what does it know people"),
        ({"set_membershp": ONE}, "connectors.crm.set_membershp is not a setting; did you mean set_membership?"),
        ({"set_membership": "https://a"}, "connectors.crm.set_membership: expected object"),
        ({"set_membership": {}}, "connectors.crm.set_membership: object missing required field url"),
        ({"set_membership": {"url": "a"}}, "connectors.crm.set_membership.url must be http:// or https://"),
        ({"set_membership": {**ONE, "metod": "PUT"}}, "connectors.crm.set_membership.metod is not a setting; did you"),
        (
            {"set_membership": {**ONE, "method": "FETCH"}},
            "set_membership.method: must be one of POST, PUT, PATCH, DELETE",
        ),
        ({"set_membership": {**ONE, "success": [99]}}, "connectors.crm.set_membership.success[0]: expected int >= 200"),
        (
            {"set_membership": {**ONE, "success": [429]}},
            "set_membership: 429 means later, or that a key is wrong, and is",
        ),
        ({"set_membership": {**ONE, "at_once": 0}}, "connectors.crm.set_membership.at_once: expected int >= 1"),
        (
            {"set_membership": {**ONE, "at_once": 2}},
            "set_membership.url: there is no $.id outside $each; there are: $.th",
        ),
        ({"set_membership": {"true": ONE}}, "connectors.crm.set_membership: object missing required field false"),
        (
            {"set_membership": {**ONE, "true": ONE}},
            "connectors.crm.set_membership.url is not a setting; allowed: true,",
        ),
        (
            {"set_membership": {"true": ONE, "false": {}}},
            "connectors.crm.set_membership.false: object missing required",
        ),
        ({"upsert_profile": {"true": ONE, "false": ONE}}, "connectors.crm.upsert_profile.true is not a setting;"),
        (
            {"upsert_profile": {**ONE, "body": {"a": ["$.b"]}}},
            "connectors.crm.upsert_profile.body.a[0]: there is no $.b ",
        ),
        ({"send_event": {"url": URL}}, "connectors.crm.send_event.url: there is no $.id here; there are: $.event"),
        (
            {"send_event": {"url": "https://a.example", "at_once": 2}},
            "connectors.crm.send_event.at_once: events are sent",
        ),
        (
            {"delete_person": ONE, "bearer": "b", "basic": "a:b"},
            "connectors.crm.basic and connectors.crm.bearer are two",
        ),
        ({"delete_person": ONE, "basic": "ab"}, 'connectors.crm.basic must be "user:password"'),
        ({"delete_person": ONE, "bearer": "a\nb"}, "connectors.crm.headers: a header is"),
        ({"delete_person": ONE, "secret": "s"}, "connectors.crm.secret and connectors.crm.signature belong together"),
        ({"delete_person": ONE, "signature": "segment"}, "connectors.crm.secret and connectors.crm.signature belong"),
        ({"delete_person": ONE, "signature": "md5"}, "connectors.crm.signature: must be one of none, segment, sha256"),
        ({"delete_person": ONE, "signature_header": "a b"}, "connectors.crm.headers: a header is a name"),
        ({"delete_person": ONE, "headers": {"Host": "h"}}, "connectors.crm.headers.Host is set by the client"),
        ({"delete_person": ONE, "headers": {"X-Id": "{$.id}"}}, "connectors.crm.headers are the same for all requests"),
        (
            {"delete_person": {**ONE, "headers": {"X": "{$.x}"}}},
            "connectors.crm.delete_person.headers.X: there is no $.x",
        ),
    ],
)
def test_a_wrong_setting_is_an_error_at_start_that_names_it(settings, said):
    with pytest.raises(ConfigError) as raised:
        built(**{"kinds": ("email",), **settings})
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"bearer": "s3cret\n", "delete_person": ONE},
        {"basic": "s3cret", "delete_person": ONE},
        {"signature": "s3cret", "secret": "s3cret", "delete_person": ONE},
        {"headers": {"X-Key": "s3cr\u00e9t s3cret"}, "delete_person": ONE},
        {"delete_person": {"url": "ftp://s3cret@a.example"}},
        {"delete_person": {**ONE, "body": {"key": "$s3cret"}}},
        {"delete_person": {**ONE, "headers": {"X-Key": "{$s3cret}"}}},
        {"bearer": ["s3cret"], "delete_person": ONE},
    ],
)
def test_the_error_of_a_wrong_setting_shows_no_value(settings):
    with pytest.raises(ConfigError) as raised:
        built(**settings)
    assert "s3cret" not in str(raised.value)


def test_a_secret_that_looks_like_a_place_or_a_path_is_sent_as_it_is():
    request = asked(built(bearer="$.id{$.id}", delete_person=ONE), "delete_person")
    assert request.headers == {"Authorization": "Bearer $.id{$.id}"}
