"""Templates: values and texts filled in from a document."""

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.template import ABSENT, Headers, Scope, Text, Url, value
from stream.errors import ConfigError, Dead

SCOPE = Scope(("id", "n", "person"), ("id",))
DOCUMENT = {
    "id": "a@b.c",
    "n": 2,
    "person": {"traits": {"plan": None, "a-b": [1, 2]}, "orders": [{"sku": "x"}, {"sku": "y"}], "yes": True},
}


def filled(template, each=(), scope=SCOPE):
    return value("here", template, scope)(DOCUMENT, each)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("$.id", "a@b.c"),
        ("$.person.traits.plan", None),
        ("$.person.traits['a-b'][1]", 2),
        ("$$.id", "$.id"),
        ("$$", "$"),
        ("costs $5", "costs $5"),
        (True, True),
        ([1, "$.n", {"a": "$.id"}], [1, 2, {"a": "a@b.c"}]),
        ({"a": {"b": "$.n"}}, {"a": {"b": 2}}),
        ("$", DOCUMENT),
    ],
)
def test_a_value_is_filled_in(template, expected):
    assert filled(template) == expected


def test_what_is_not_there_is_left_out_of_its_table_and_its_list():
    assert filled({"a": "$.person.nothing", "b": ["$.id", "$.person.nothing"]}) == {"b": ["a@b.c"]}
    assert filled("$.person.nothing") is ABSENT


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.person.orders[*].sku", ["x", "y"]),
        ("$.person.orders[?@.sku=='y'].sku", ["y"]),
        ("$.person.orders[?@.sku=='z'].sku", []),
        ("$..sku", ["x", "y"]),
    ],
)
def test_a_path_that_may_find_several_is_a_list_whatever_it_finds(path, expected):
    assert filled({"skus": path}) == {"skus": expected}


def test_each_is_filled_in_once_for_each_document():
    each = [{"id": "1"}, {"id": "2"}, {}]
    assert filled({"n": "$.n", "ids": {"$each": "$.id"}}, each) == {"n": 2, "ids": ["1", "2"]}
    assert filled({"$each": {"id": "$.id"}}, each) == [{"id": "1"}, {"id": "2"}, {}]


def test_a_template_can_be_filled_in_again_for_another_document():
    template = value("here", {"same": "$.person.orders[?@.sku == $.id].sku"}, SCOPE)
    orders = [{"sku": "x"}, {"sku": "y"}]
    answers = [template({"id": name, "person": {"orders": orders}}, ()) for name in "xyx"]
    assert answers == [{"same": ["x"]}, {"same": ["y"]}, {"same": ["x"]}]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"a": "$5 off"}, 'here.a begins with $ and is no JSONPath (RFC 9535), such as "$.id"; "$$"'),
        ("$.a |", "is no JSONPath"),
        ("$" + "[?(" * 5_000, "is no JSONPath"),
        ([{"a": "$.idd"}], "here[0].a: there is no $.idd outside $each; there are: $.id, $.n, $.person"),
        ({"$each": "$.n"}, "here.$each: there is no $.n here; there are: $.id"),
        ({"$each": {"$each": "$.id"}}, "here.$each: $each has no place here"),
        ({"$each": "$.id", "b": 1}, "here: $each stands alone in its table"),
        ({"$eahc": "$.id"}, "here.$eahc is not a setting; did you mean $each?"),
    ],
)
def test_a_wrong_template_is_an_error_at_start_that_says_where(template, said):
    with pytest.raises(ConfigError) as raised:
        filled(template)
    assert said in str(raised.value)


def test_the_error_of_a_wrong_path_does_not_show_it():
    with pytest.raises(ConfigError) as raised:
        filled({"key": "$ecret-of-somebody"})
    assert "ecret-of" not in str(raised.value)


def test_a_text_takes_texts_numbers_and_yes_or_no():
    assert Text("here", "{$.id}/{$.n}/{$.person.yes}", SCOPE).fill(DOCUMENT) == "a@b.c/2/true"


@pytest.mark.parametrize("path", ["$.person", "$.person.orders", "$.person.traits.plan", "$.person.nothing"])
def test_a_text_is_dead_where_there_is_nothing_to_write(path):
    with pytest.raises(Dead, match="no_value"):
        Text("here", f"a{{{path}}}", SCOPE).fill(DOCUMENT)


def test_an_empty_id_is_no_value_since_it_would_be_another_url():
    with pytest.raises(Dead, match="no_value"):
        Url("here", "https://a.example/people/{$.id}", SCOPE).fill({"id": ""})


def test_a_path_in_a_text_must_find_one_thing():
    with pytest.raises(ConfigError, match="must find one thing"):
        Text("here", "{$.person.orders[*].sku}", SCOPE)


@pytest.mark.parametrize(
    "url",
    [
        "a.example/x",
        "ftp://a.example",
        "//a.example/x",
        "https://",
        "https://{$.id}/x",
        "https://{$.id}.example/x",
        "https://a.example:{$.n}/x",
        "https://user:password@a.example/x",
        "https://a.example:99999/x",
        "https://a.example:0/x",
        "https://a.example/{id}",
        "https://a.example/x y",
        "https://a.example/x#y",
        "https://a.example\\@b.example/{$.id} ",
    ],
)
def test_a_wrong_url_is_an_error_at_start(url):
    with pytest.raises(ConfigError, match=r"^here must be http:// or https://") as raised:
        Url("here", url, SCOPE)
    assert "password" not in str(raised.value).replace("user or password", "")


@given(st.text())
def test_nothing_that_fills_a_url_leads_to_another_host_or_path(text):
    url = Url("here", "https://a.example/lists/vip/members/{$.id}?of={$.id}", Scope(("id",)))
    try:
        found = urlsplit(url.fill({"id": text}))
    except Dead as dead:
        assert text in ("", ".", "..")
        assert dead.reason == ("bad_url" if text else "no_value")
    else:
        assert (found.scheme, found.netloc, found.fragment) == ("https", "a.example", "")
        assert found.path.split("/")[:4] == ["", "lists", "vip", "members"] and found.path.count("/") == 4
        assert found.query.startswith("of=") and not set(found.query) & set("&# ")
        json.dumps(found.path).encode("ascii")


@pytest.mark.parametrize("text", ["a\r\nEvil: 1", "é", "\0"])
def test_what_cannot_stand_in_a_header_is_dead(text):
    headers = Headers("here", {"X-Id": "id {$.id}"}, Scope(("id",)))
    assert headers.fill({"id": "1"}) == {"X-Id": "id 1"}
    with pytest.raises(Dead, match="bad_header"):
        headers.fill({"id": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [("X Id", "1"), ("", "1"), ("X-Id", "a\nb"), ("X-Id", "é"), ("Host", "1"), ("content-length", "1")],
)
def test_a_wrong_header_is_an_error_at_start(name, text):
    with pytest.raises(ConfigError, match=r"^here"):
        Headers("here", {name: text}, SCOPE)
