"""What may still arrive."""

from stream.core.unclear import ANYTHING, Unclear


def test_what_was_sent_since_is_not_the_last_word_while_another_value_may_arrive() -> None:
    unclear = Unclear()
    unclear.note("ada", "true", until=10.0, now=0.0)
    assert unclear.wait("ada", "false", now=4.0) == 6.0
    assert unclear.wait("ada", "false", now=10.0) == 0.0


def test_the_same_value_may_arrive_as_often_as_it_likes() -> None:
    unclear = Unclear()
    unclear.note("ada", "true", until=10.0, now=0.0)
    assert unclear.wait("ada", "true", now=1.0) == 0.0
    assert unclear.wait("bob", "false", now=1.0) == 0.0


def test_of_several_values_the_last_to_arrive_counts() -> None:
    unclear = Unclear()
    unclear.note("ada", "true", until=10.0, now=0.0)
    unclear.note("ada", "false", until=12.0, now=2.0)
    assert unclear.wait("ada", "true", now=3.0) == 9.0
    assert unclear.wait("ada", '"x"', now=3.0) == 9.0


def test_what_cannot_arrive_any_more_is_forgotten() -> None:
    unclear = Unclear()
    for number in range(5_000):
        unclear.note(number, "true", until=number + 1.0, now=float(number))
    assert len(unclear._late) <= 1_000


def test_of_what_another_one_sent_nobody_knows_the_value() -> None:
    unclear = Unclear()
    assert unclear.until("ada") is None
    unclear.note("ada", ANYTHING, until=10.0, now=0.0)
    assert unclear.until("ada") == 10.0
    assert unclear.wait("ada", "true", now=4.0) == unclear.wait("ada", "false", now=4.0) == 6.0
