"""A batch's rows: what one event put is the batch's only if it ended well, and never about the deleted."""

import pytest
from msgspec import Struct

from stream.core.sheet import Loaded, Missing, Sheet

KEY, OTHER = ("t", "user:1"), ("t", "user:2")


class Row(Struct):
    values: list[int] = []


class Split(Struct):
    """A row that can tell old from new."""

    times: list[float] = []

    def without(self, time):
        left = [each for each in self.times if each > time]
        return Split(left) if left else None


@pytest.fixture
def sheet():
    sheet = Sheet()
    sheet.load({KEY: Loaded(7, '{"values":[1]}'), OTHER: Loaded(None, None)}, {})
    return sheet


def put(sheet, key, row, changed=None, time=9.0, keep=True):
    sheet.begin(time)
    sheet.put(*key, row, changed)
    if keep:
        sheet.keep()
    else:
        sheet.drop()


def test_a_row_is_a_copy_and_what_is_not_put_has_no_effect(sheet):
    sheet.begin(9.0)
    sheet.get("t", Row, "user:1").values.append(2)
    sheet.keep()
    assert sheet.get("t", Row, "user:1") == Row([1])
    assert sheet.puts == {}


def test_what_is_changed_after_it_was_put_has_no_effect(sheet):
    row = Row([2])
    put(sheet, KEY, row)
    row.values.append(3)
    sheet.get("t", Row, "user:1").values.append(4)
    assert sheet.get("t", Row, "user:1") == Row([2])


def test_an_event_sees_its_own_puts_and_those_of_events_before_it(sheet):
    put(sheet, KEY, Row([2]))
    sheet.begin(9.0)
    assert sheet.get("t", Row, "user:1") == Row([2])
    sheet.put("t", "user:1", None, None)
    assert sheet.get("t", Row, "user:1") is None
    sheet.drop()
    assert sheet.get("t", Row, "user:1") == Row([2])


def test_what_a_dropped_event_asked_for_is_nowhere(sheet):
    sheet.begin(9.0)
    sheet.put("t", "user:1", Row([2]), "traits")
    sheet.link("anon:1", "user:1", 9.0)
    sheet.forget("user:1", 9.0, "r", "segment")
    sheet.address("user:1", "email:a@b.c")
    sheet.drop()
    put(sheet, OTHER, Row([3]))
    changes = sheet.changes
    assert sheet.puts.keys() == {OTHER}
    assert not (changes.marks or changes.links or changes.forgets or changes.addresses)


def test_an_event_that_begins_forgets_one_that_never_ended(sheet):
    sheet.begin(9.0)
    sheet.put("t", "user:1", Row([2]), "traits")
    put(sheet, OTHER, Row([3]), "consent")
    assert sheet.puts.keys() == {OTHER}
    assert list(sheet.changes.marks) == [("user:2", "consent")]


def test_marks_are_kept_once_in_the_order_in_which_they_came(sheet):
    for key, facet in ((OTHER, "traits"), (KEY, "traits"), (OTHER, "traits"), (KEY, None), (OTHER, "consent")):
        put(sheet, key, Row(), facet)
    assert list(sheet.changes.marks) == [("user:2", "traits"), ("user:1", "traits"), ("user:2", "consent")]


def test_links_are_joined_to_their_first_and_last_time(sheet):
    for time in (5.0, 3.0, 4.0):
        sheet.begin(9.0)
        sheet.link("anon:1", "user:1", time)
        sheet.keep()
    assert sheet.changes.links == {("anon:1", "user:1"): (3.0, 5.0)}


def test_a_row_that_was_not_loaded_is_missing_for_get_and_put(sheet):
    sheet.begin(9.0)
    for touch in (lambda: sheet.get("t", Row, "user:3"), lambda: sheet.put("t", "user:3", Row(), None)):
        with pytest.raises(Missing) as missing:
            touch()
        assert missing.value.key == ("t", "user:3")
    assert not isinstance(missing.value, Exception)  # no author's `except Exception` catches it


def test_lacking_keys_are_named_once(sheet):
    assert sheet.lacks([("t", "user:3"), KEY, ("u", "user:1"), ("t", "user:3")]) == [("t", "user:3"), ("u", "user:1")]


@pytest.mark.parametrize(("time", "kept"), [(4.9, False), (5.0, False), (5.1, True)])
def test_nothing_that_is_not_younger_than_the_tombstone_is_put_about_its_subject(sheet, time, kept):
    sheet.load({}, {"user:1": 5.0})
    put(sheet, KEY, Row([2]), "traits", time)
    put(sheet, OTHER, Row([3]), None, time)
    assert (KEY in sheet.puts) == (("user:1", "traits") in sheet.changes.marks) == kept
    assert OTHER in sheet.puts


def test_a_row_that_is_not_erased_yet_is_read_as_if_it_were():
    sheet = Sheet()
    sheet.load({KEY: Loaded(7, '{"times":[4.0,6.0]}'), OTHER: Loaded(8, '{"values":[1]}')}, {"user:1": 5.0}, {"user:1"})
    sheet.begin(9.0)
    assert sheet.get("t", Split, "user:1") == Split([6.0])
    sheet.load({}, {"user:2": 5.0}, {"user:2"})
    assert sheet.get("t", Row, "user:2") is None


def test_a_row_that_was_made_after_the_erasure_is_read_whole():
    sheet = Sheet()
    sheet.load({KEY: Loaded(7, '{"values":[1]}')}, {"user:1": 5.0})
    sheet.begin(9.0)
    assert sheet.get("t", Row, "user:1") == Row([1])
