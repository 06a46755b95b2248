"""The gate's clock: it never goes back, never jumps, and goes on where the journal ended (FT31, FT33)."""

from __future__ import annotations

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from toolgate.clock import JUMP_MS, SLEW, Steady, watch
from toolgate.core.model import Event

START_MS = 1_795_362_879_123
HOUR_MS = 3_600_000
MS = 1_000_000


class Machine:
    """A machine whose two clocks a test moves."""

    def __init__(self, at_ms: int = START_MS) -> None:
        self.wall_ns = at_ms * MS
        self.monotonic_ns = 5_000 * MS

    def clock(self) -> Steady:
        return Steady(lambda: self.wall_ns, lambda: self.monotonic_ns)

    def pass_ms(self, passed_ms: int) -> None:
        self.wall_ns += passed_ms * MS
        self.monotonic_ns += passed_ms * MS

    def jump_ms(self, by_ms: int) -> None:
        self.wall_ns += by_ms * MS


def test_it_shows_the_machines_time() -> None:
    """As long as nothing jumps, it is wall time to the millisecond."""
    machine = Machine()
    clock = machine.clock()
    for passed_ms in (0, 1, 998, 1, 1_000, 60_000, HOUR_MS):
        machine.pass_ms(passed_ms)
        assert clock.now_ms() == machine.wall_ns // MS
    assert clock.offset_ms() == 0


def test_a_jump_forward_is_followed_slowly() -> None:
    """An hour forward is made good by a thousandth of what passes, so no window ends early."""
    machine = Machine()
    clock = machine.clock()
    machine.jump_ms(HOUR_MS)
    assert clock.now_ms() == START_MS
    assert clock.offset_ms() == HOUR_MS
    for _ in range(100):
        machine.pass_ms(10_000)
        clock.now_ms()
    ahead_ms = clock.now_ms() - START_MS - 1_000_000
    assert 0 < ahead_ms <= 1_000_000 // SLEW


def test_a_jump_back_never_turns_time_back() -> None:
    """Two hours back: the clock goes on, a little slower, and no period comes again."""
    machine = Machine()
    clock = machine.clock()
    machine.jump_ms(-2 * HOUR_MS)
    shown = [clock.now_ms()]
    for _ in range(200):
        machine.pass_ms(500)
        shown.append(clock.now_ms())
    assert shown == sorted(shown)
    assert 100_000 - 100_000 // SLEW - 1 <= shown[-1] - shown[0] <= 100_000


def test_it_meets_the_machines_clock_and_stays_with_it() -> None:
    """A small difference is made good whole, and not passed over."""
    machine = Machine()
    clock = machine.clock()
    machine.jump_ms(20)
    for _ in range(60):
        machine.pass_ms(1_000)
        clock.now_ms()
    assert clock.now_ms() == machine.wall_ns // MS


def test_what_was_journaled_is_the_floor_of_a_start() -> None:
    """A restart with a clock set back goes on from the last line; one that is ahead already stays."""
    machine = Machine()
    clock = machine.clock()
    clock.not_before(START_MS + HOUR_MS)
    assert clock.now_ms() == START_MS + HOUR_MS
    machine.pass_ms(250)
    assert clock.now_ms() == START_MS + HOUR_MS + 250
    clock.not_before(START_MS)
    assert clock.now_ms() == START_MS + HOUR_MS + 250


def test_what_has_expired_stays_expired() -> None:
    """`latest_ms` has seen every time either clock has shown: no jump revives a token, no suspension keeps one alive."""
    machine = Machine()
    clock = machine.clock()
    machine.jump_ms(HOUR_MS)
    assert clock.latest_ms() == START_MS + HOUR_MS
    machine.jump_ms(-3 * HOUR_MS)
    assert clock.latest_ms() == START_MS + HOUR_MS


def test_a_wall_clock_at_either_end_of_time_breaks_nothing() -> None:
    """2038, 9999 and before 1970 are times like others."""
    for at_ms in (-1, 0, 2**31 * 1000, 253_402_300_799_999):
        machine = Machine(at_ms)
        clock = machine.clock()
        machine.jump_ms(-at_ms)
        machine.pass_ms(1_500)
        assert clock.now_ms() >= at_ms


MOVES = st.lists(st.tuples(st.integers(0, 5_000), st.integers(-2 * HOUR_MS, HOUR_MS)), max_size=60)


@given(MOVES)
def test_no_move_of_the_machine_turns_it_back_or_hurries_it(moves: list[tuple[int, int]]) -> None:
    """Whatever the machine's clock does: never back, and never faster than the monotonic clock and a thousandth."""
    machine = Machine()
    clock = machine.clock()
    before_ms, passed_ms = clock.now_ms(), 0
    for step_ms, jump_ms in moves:
        machine.pass_ms(step_ms)
        machine.jump_ms(jump_ms)
        passed_ms += step_ms
        now_ms = clock.now_ms()
        assert now_ms >= before_ms
        assert now_ms - START_MS <= passed_ms + passed_ms // SLEW + 1
        assert now_ms - START_MS >= passed_ms - passed_ms // SLEW - 1
        before_ms = now_ms


def test_many_threads_may_ask() -> None:
    """The journal's writer asks too: nobody sees time go back."""
    clock = Steady()
    wrong: list[int] = []

    def ask() -> None:
        last = clock.now_ms()
        for _ in range(20_000):
            now = clock.now_ms()
            if now < last:
                wrong.append(last - now)
            last = now

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_a_jump_is_written_once() -> None:
    """Whoever reads the journal learns when the machine's clock jumped, and how far."""
    machine, written = Machine(), []
    clock = machine.clock()
    told = asyncio.Event()

    async def record(event: Event) -> None:
        written.append(event)
        told.set()

    watching = asyncio.ensure_future(watch(clock, record, look_s=0))
    await asyncio.sleep(0)
    machine.jump_ms(-JUMP_MS)
    await asyncio.wait_for(told.wait(), 10)
    for _ in range(5):
        await asyncio.sleep(0)
    watching.cancel()
    assert written == [Event("ClockJumped", START_MS, {"offset_ms": -JUMP_MS, "before_ms": 0})]
