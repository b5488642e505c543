"""Most deliveries die: an outage. Some do: dead letters."""

from stream.core.deaths import Deaths


def last(deaths, *died):
    """What the last of these answers."""
    return [deaths.add(one) for one in died][-1]


def test_too_few_deaths_tell_nothing():
    assert not last(Deaths(window=100, share=0.5, least=20), *[True] * 19)
    assert last(Deaths(window=100, share=0.5, least=20), *[True] * 20)


def test_half_is_not_most():
    deaths = Deaths(window=10, share=0.5, least=2)
    assert not last(deaths, *[True, False] * 20)
    assert last(deaths, True, True)


def test_what_lies_before_the_window_is_forgotten():
    deaths = Deaths(window=10, share=0.5, least=6)
    last(deaths, *[True] * 5, *[False] * 10)
    assert not last(deaths, *[True] * 5)
    assert last(deaths, True)


def test_a_copy_goes_on_alone_from_the_same_memory():
    deaths = Deaths(window=10, share=0.5, least=3)
    last(deaths, True, True)
    twin = deaths.copy()
    assert last(twin, True)
    assert not last(deaths, False)
    assert deaths.copy().add(True)
