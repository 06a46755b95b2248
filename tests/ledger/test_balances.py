"""Balances by themselves: what a call takes, it takes whole or not at all."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from toolgate.core.guards import first_short
from toolgate.core.model import Charge, Guard, Pace, Place, Rolling, Short
from toolgate.ledger.balances import Balances, Window
from toolgate.ledger.redo import redo_of, redone
from toolgate.ledger.taken import Taken, changes_of

AT_MS = 1_700_000_000_000
BUCKET = AT_MS // 1000
_NAMES = st.sampled_from("xy")


def _charge(name: str, amount: int, most: int, rolling: Rolling | None) -> Charge:
    return Charge(f"b:{name}:calls:{'a' if rolling is None else 'b'}", amount, most, rolling)


def _guards(bucket: int) -> st.SearchStrategy[list[Guard]]:
    """What one call takes: of rolling windows the bucket of its time."""
    rolling = st.sampled_from((None, Rolling(BUCKET + bucket, 3)))
    charges = st.builds(_charge, _NAMES, st.integers(-1, 4), st.integers(0, 9), rolling)
    return st.lists(charges | paces | places, max_size=6)


paces = st.builds(lambda name, burst: Pace(f"r:{name}:a", 500_000, burst), _NAMES, st.integers(1, 3))
places = st.builds(lambda name, most: Place(f"c:{name}:a", most), _NAMES, st.integers(1, 3))
calls = st.lists(st.integers(0, 5).flatmap(_guards), max_size=8)


def levels(balances: Balances, guards: list[Guard]) -> list[int]:
    """Everything these guards are asked of."""
    found: list[int] = []
    for guard in guards:
        match guard:
            case Charge():
                found += [
                    balances.taken(guard),
                    *(
                        balances.taken(guard._replace(rolling=Rolling(BUCKET + at, 3)))
                        for at in range(9)
                        if guard.rolling
                    ),
                ]
            case Pace():
                found.append(balances.arrival_us(guard))
            case Place():
                found.append(balances.held(guard))
    return found


@given(calls)
@example([[Charge("b:x:calls:a", -1, 0), Charge("b:x:calls:a", 1, 0)]])  # no charge is a refund
def test_a_call_that_is_short_leaves_every_level_as_it_was(asked: list[list[Guard]]) -> None:
    """And one that is not is what `core.guards` says holds: one arithmetic, whether it is asked or taken."""
    balances = Balances(lambda _run, _now_ms: False)
    everything = [guard for guards in asked for guard in guards]
    for number, guards in enumerate(asked):
        at_ms = AT_MS + number
        before, amounts, held = levels(balances, everything), balances.amounts(), balances.places()
        expected = first_short(guards, balances, at_ms)
        taken = balances.take(guards, at_ms)
        assert (expected is None) == isinstance(taken, Taken)
        if isinstance(taken, Short):
            assert expected is not None
            assert expected.guard == taken.guard
            assert before == levels(balances, everything)
            assert held == balances.places()
            assert {key: each for key, each in amounts.items() if each} == {
                key: each for key, each in balances.amounts().items() if each
            }


@given(calls)
def test_what_is_given_back_is_what_was_taken(asked: list[list[Guard]]) -> None:
    """A record that could not be written took nothing."""
    balances = Balances(lambda _run, _now_ms: False)
    everything = [guard for guards in asked for guard in guards]
    before = levels(balances, everything)
    answers = [balances.take(guards, AT_MS) for guards in asked]
    for taken in reversed(answers):
        if isinstance(taken, Taken):
            balances.give_back(taken)
    paced = [at for at, guard in enumerate(everything) if isinstance(guard, Pace)]
    assert [0] * len(before) == before
    assert not any(balances.amounts().values())
    assert {} == balances.places()
    assert all(balances.arrival_us(everything[at]) <= AT_MS * 1000 for at in paced)


@given(calls)
def test_what_is_written_together_is_the_sum_of_what_was_taken(asked: list[list[Guard]]) -> None:
    """One row for each key and bucket, however many calls took of it."""
    balances = Balances(lambda _run, _now_ms: False)
    taken = [each for each in (balances.take(guards, AT_MS) for guards in asked) if isinstance(each, Taken)]
    expected: dict[tuple[str, int], int] = {}
    for change in (change for each in taken for change in changes_of(each)):
        expected[change.key, change.bucket] = expected.get((change.key, change.bucket), 0) + change.amount
    redo = redo_of(taken, ())
    found = redone([] if redo is None else [redo]).changes()

    assert {at: amount for at, amount in expected.items() if amount} == {
        (key, bucket): amount for key, bucket, amount, _ in found
    }
    assert len(found) == len({(key, bucket) for key, bucket, *_ in found})


@example([(0, 1, 1), (1, 1, 2), (4, 1, 1), (3, 1, 3), (0, 0, 0)])
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-2, 3), st.integers(0, 9)), max_size=20))
def test_what_a_window_takes_at_once_is_what_it_takes_the_long_way(asked: list[tuple[int, int, int]]) -> None:
    """`take` is only a shorter way: it adds to the last bucket what fits, and otherwise changes nothing."""
    short, long = Window(), Window()
    for bucket, amount, most in asked:
        rolling = Rolling(BUCKET + bucket, 3)
        total = long.total(rolling)
        fits = 0 < amount <= most - total
        took = short.take(rolling, amount, most)
        assert fits or not took
        assert took or total == short.total(rolling)  # as a ledger goes on; asking forgets what has left the window
        if fits:
            long.add(rolling.bucket, amount, None)
            if not took:
                short.add(rolling.bucket, amount, None)
        assert long.sum() == short.sum()
        assert long.total(rolling) == short.total(rolling)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-4, 4)), max_size=60))
def test_a_window_sums_what_was_added_to_each_of_its_buckets(asked: list[tuple[int, int, int]]) -> None:
    """In whatever order: calls of an earlier bucket come late, and what they held is given back later still."""
    window, known, newest = Window(), dict[int, int](), BUCKET
    for later, late, amount in asked:
        newest += later
        bucket = newest - late
        window.add(bucket, amount, None)
        known[bucket] = max(known.get(bucket, 0) + amount, 0)
        inside = {each: held for each, held in known.items() if each > newest - 5}
        assert sum(inside.values()) == window.total(Rolling(newest, 5))
        assert inside == {each: window.amount(each) for each in inside}
