import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.core.recent import LIMIT, noted
from stream.core.register import Register, Settled, keep_newest, merged, newer, newest, same, settle, younger

FEW = st.sampled_from([0.0, 1.0, 2.0])
VALUES = st.sampled_from([None, True, 1, 1.0, "a", {"a": 1, "b": 2}, {"b": 2, "a": 1}, [1]])
REGISTERS = st.builds(Register, VALUES, FEW, FEW, st.sampled_from(["m1", "m2"]))
NAMED = st.lists(st.tuples(st.sampled_from("abcdef"), REGISTERS), max_size=14)


def settled(named, limit=None):
    found = {}
    for name, register in named:
        settle(found, name, register)
        if limit is not None:
            keep_newest(found, limit)
    return {name: msgspec.json.encode(register, order="deterministic") for name, register in found.items()}


@given(REGISTERS, REGISTERS)
def test_of_two_registers_that_differ_exactly_one_is_newer(one, other):
    differ = msgspec.json.encode(one, order="deterministic") != msgspec.json.encode(other, order="deterministic")
    assert newer(one, other) + newer(other, one) == differ


@given(NAMED, st.data())
def test_any_order_and_duplication_settles_the_same(named, data):
    shuffled = data.draw(st.permutations(named + named[: data.draw(st.integers(0, len(named)))]))
    assert settled(shuffled) == settled(named)


@given(NAMED, st.integers(1, 4), st.data())
def test_a_cap_keeps_the_same_ones_in_any_order(named, limit, data):
    shuffled = data.draw(st.permutations(named + named[: data.draw(st.integers(0, len(named)))]))
    assert settled(shuffled, limit) == settled(named, limit)
    assert len(settled(named, limit)) <= limit


@given(NAMED, st.integers(0, 14))
def test_merging_two_halves_is_as_settling_all(named, cut):
    halves = [dict[str, Register](), dict[str, Register]()]
    for index, (name, register) in enumerate(named):
        settle(halves[index >= cut], name, register)
    together = merged(halves)
    assert {n: msgspec.json.encode(r, order="deterministic") for n, r in together.items()} == settled(named)


def test_event_time_then_received_then_message_id_decide():
    assert newer(Register("b", 2, 0, "a"), Register("a", 1, 9, "z"))
    assert newer(Register("b", 1, 2, "a"), Register("a", 1, 1, "z"))
    assert newer(Register("b", 1, 1, "b"), Register("a", 1, 1, "a"))


def test_settling_says_whether_the_value_changed_not_whether_the_stamp_did():
    registers = {}
    assert settle(registers, "plan", Register("pro", 1, 1, "m1")) == Settled.CHANGED
    assert settle(registers, "plan", Register("pro", 2, 2, "m2")) == Settled.RENEWED
    assert registers["plan"].time == 2
    assert settle(registers, "plan", Register("free", 1, 1, "m0")) == Settled.OLDER
    assert settle(registers, "plan", Register(None, 3, 3, "m3")) == Settled.CHANGED
    assert registers["plan"].value is None


def test_one_is_not_true_and_the_order_of_keys_does_not_matter():
    assert not same(1, True)
    assert not same([0], [False])
    assert not same(1, 1.0)
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_the_newest_of_none_is_none():
    assert newest([]) is None
    assert newest([Register("a", 1, 1, "m"), Register("b", 3, 1, "m"), Register("c", 2, 1, "m")]).value == "b"


def test_younger_leaves_nothing_of_the_very_time():
    registers = {"a": Register(1, 1, 1, "m"), "b": Register(1, 2, 1, "m")}
    assert younger(registers, 1).keys() == {"b"}


def test_a_message_is_noted_once_while_it_is_recent():
    recent = noted("", "m0")
    assert noted(recent, "m0") is None
    for number in range(1, LIMIT):
        recent = noted(recent, f"m{number}")
    assert noted(recent, "m0") is None
    recent = noted(recent, "one more")
    assert noted(recent, "m0") is not None
    assert noted(recent, "m1") is None


@given(st.lists(st.text(max_size=5), max_size=LIMIT, unique=True))
def test_different_messages_are_never_taken_for_repeats(ids):
    recent = ""
    for message_id in ids:
        recent = noted(recent, message_id)
        assert recent is not None
    assert all(noted(recent, message_id) is None for message_id in ids)
