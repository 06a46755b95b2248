"""ULIDs: sorted by time, never twice, from an injected clock and injected randomness."""

from __future__ import annotations

import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.ids import ALPHABET, Ulids


def decode_ms(ulid: str) -> int:
    value = 0
    for character in ulid[:10]:
        value = value * 32 + ALPHABET.index(character)
    return value


def test_is_the_ulid_of_its_time_and_randomness() -> None:
    """The first ten characters are the milliseconds, the other sixteen the random bits, in Crockford's base 32."""
    ids = Ulids(lambda: 1_469_918_176_385, lambda count: b"\x00" * count)
    assert ids.next() == "01ARYZ6S41" + "0" * 16


def test_all_bits_set_is_the_largest_ulid() -> None:
    """48 bits of time and 80 of randomness fit 26 characters exactly."""
    ids = Ulids(lambda: (1 << 48) - 1, lambda count: b"\xff" * count)
    assert ids.next() == "7" + "Z" * 25


def test_an_id_of_a_time_asked_before_never_sorts_backwards() -> None:
    """Whoever knows the time already gets ids of the same sequence, also when another asked later and came first."""
    ids = Ulids(lambda: 2_000, os.urandom)
    made = [ids.at(1_000), ids.next(), ids.at(1_500), ids.next()]
    assert made == sorted(set(made))


@given(st.lists(st.integers(min_value=0, max_value=1 << 41), min_size=1, max_size=50))
def test_ids_sort_in_the_order_they_were_made_whatever_the_clock_does(times: list[int]) -> None:
    """A clock set back never makes an id that sorts before, or equals, an earlier one."""
    clock = itertools.cycle(times)
    ids = Ulids(lambda: next(clock), os.urandom)
    made = [ids.next() for _ in range(200)]
    assert made == sorted(set(made))


def test_goes_on_in_the_next_millisecond_when_one_is_used_up() -> None:
    """The last random value of a millisecond is followed by a later time, not by a shorter or repeated id."""
    ids = Ulids(lambda: 1000, lambda count: b"\xff" * count)
    first, second = ids.next(), ids.next()
    assert (decode_ms(first), decode_ms(second)) == (1000, 1001)


def test_neighbours_differ_by_a_random_step() -> None:
    """Within one millisecond the next id cannot be guessed from the last."""
    ids = Ulids(lambda: 1000, os.urandom)
    made = [int.from_bytes(ids.next().encode(), "big") for _ in range(50)]
    assert len({after - before for before, after in itertools.pairwise(made)}) > 40


def test_a_step_carries() -> None:
    """The random part is one number of sixteen characters: the next id is that number and the step."""
    drawn = iter([bytes(8) + b"\xff" * 8 + bytes(1008)])
    ids = Ulids(lambda: 1000, lambda _: next(drawn))
    first, second = ids.next(), ids.next()
    assert (decode_ms(second), "0" * 8 + "Z" * 8, "0" * 7 + "1" + "0" * 8) == (1000, first[10:], second[10:])
