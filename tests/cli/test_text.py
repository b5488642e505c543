"""How commands read times and IDs, and write what may be anything."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cli.since import moment
from stream.cli.state import named
from stream.cli.text import columns, safe, shown, when

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - 7_200),
        ("2h ago", NOW - 7_200),
        ("30 minutes ago", NOW - 1_800),
        ("1.5d", NOW - 129_600),
        ("10s", NOW - 10),
        ("1w", NOW - 604_800),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14", 1_699_920_000.0),
        ("yesterday", None),
        ("", None),
        ("2 ago", None),
        ("-2h", None),
    ],
)
def test_a_time_is_read_as_people_write_it(text, expected):
    assert moment(text, NOW) == expected


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_that_is_shown_is_read_back(millis):
    assert moment(when(millis / 1000), NOW) == pytest.approx(millis / 1000, abs=0.0011)


def test_a_time_that_no_calendar_has_is_shown_as_a_number():
    assert when(1e18) == "1000000000000000000.000"
    assert when(None) == "-"


@given(st.binary())
def test_whatever_the_bytes_are_a_terminal_obeys_none_of_them(value):
    assert safe(value).isprintable()


def test_what_cannot_be_printed_is_escaped_and_the_rest_stays():
    assert safe(b"caf\xc3\xa9 \x1b[31m \xff \n") == r"café \x1b[31m \xff \n"
    assert safe("\u202egnp.exe") == r"\u202egnp.exe"
    assert safe(None) == "null"
    assert shown({"a": [1, None, "é"]}) == '{"a": [1, null, "é"]}'


def test_columns_are_aligned_and_plain_where_there_is_no_terminal():
    assert list(columns(("A", "LONG"), [("x\ty", 1), ("z", "")])) == ["A     LONG", r"x\ty  1", "z"]


@pytest.mark.parametrize(
    ("identifier", "space", "expected"),
    [
        ("ada", None, "user:ada"),
        ("user:ada", None, "user:ada"),
        ("anon:9", None, "anon:9"),
        ("group:acme", None, "group:acme"),
        ("staging/user:ada", None, "staging/user:ada"),
        ("ada", "staging", "staging/user:ada"),
        ("staging/anon:9", "staging", "staging/anon:9"),
        ("auth0|12:34", None, "user:auth0|12:34"),
        ("user:user:1", None, "user:user:1"),
        ("/user:1", None, "user:/user:1"),
    ],
)
def test_an_id_names_a_subject(identifier, space, expected):
    assert named(identifier, space) == expected


@pytest.mark.parametrize(("identifier", "space"), [("", None), ("anon:", None), ("staging/user:1", "live")])
def test_an_id_that_names_nobody_is_used_wrongly(identifier, space):
    with pytest.raises(click.UsageError):
        named(identifier, space)


def test_on_a_terminal_the_same_cells_are_drawn_and_none_of_them_is_markup(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    [head, row] = columns(("A", "LONG"), [("[red]x[/red]\x1b[0m", 1)])
    assert "\x1b[1m" in head and "LONG" in head
    assert row == r"[red]x[/red]\x1b[0m  1"
