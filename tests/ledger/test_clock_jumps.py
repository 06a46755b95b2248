"""FT31 and FT33 on every ledger: whatever the machine's clock does, no window is opened again and none is passed over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.ledger.world import decided, opened
from tests.test_clock import HOUR_MS, Machine

from toolgate.core.model import Charge, Event, Pace, Rolling, Short
from toolgate.core.window import period

GIVEN = 3
LATE_MS = 1_795_390_800_000  # 2026-11-22T23:40:00Z: an hour on, and two hours back across midnight twice
MINUTE_MS = 60_000
JUMPS_MS = (HOUR_MS, -2 * HOUR_MS, -24 * HOUR_MS, 400 * 24 * HOUR_MS)


def daily(at_ms: int) -> Charge:
    return Charge(f"b:daily:calls:ann:{period('day', at_ms)}", 1, GIVEN)


def last_hour(at_ms: int) -> Charge:
    return Charge("b:hour:calls:ann", 1, GIVEN, Rolling(at_ms // MINUTE_MS, 61))


def at(number: int, now_ms: int) -> Event:
    return decided(number)._replace(at_ms=now_ms)


@pytest.mark.parametrize("jump_ms", JUMPS_MS)
@pytest.mark.parametrize("window", [daily, last_hour])
async def test_a_jump_opens_no_window(url: str, window: Callable[[int], Charge], jump_ms: int) -> None:
    """What is spent is spent after the machine's clock has jumped, forwards or backwards."""
    machine = Machine(LATE_MS)
    clock = machine.clock()
    held = opened(url, clock=clock.now_ms)
    for number in range(GIVEN):
        now_ms = clock.now_ms()
        assert await held.record(at(number, now_ms), [window(now_ms)]) is None
    machine.jump_ms(jump_ms)
    for number in range(GIVEN, 2 * GIVEN):
        machine.pass_ms(1_000)
        now_ms = clock.now_ms()
        assert isinstance(await held.record(at(number, now_ms), [window(now_ms)]), Short)
    machine.pass_ms(2 * HOUR_MS)
    now_ms = clock.now_ms()
    assert await held.record(at(99, now_ms), [window(now_ms)]) is None
    await held.close()


@pytest.mark.parametrize("jump_ms", JUMPS_MS)
async def test_a_jump_is_no_burst_and_no_standstill(url: str, jump_ms: int) -> None:
    """A rate lets through what the time that passed allows, whatever the machine's clock shows."""
    machine = Machine(LATE_MS)
    clock = machine.clock()
    held = opened(url, clock=clock.now_ms)
    pace = Pace("r:pace:ann", 1_000_000, 2)
    answers = []
    for number, passed_ms in enumerate((0, 0, 0, 1_500, 0)):
        machine.pass_ms(passed_ms)
        if number == 2:
            machine.jump_ms(jump_ms)
        answers.append(await held.record(at(number, clock.now_ms()), [pace]) is None)
    await held.close()
    assert answers == [True, True, False, True, False]


@pytest.mark.parametrize("at_ms", [2**31 * 1_000 - 1, 2**31 * 1_000, 4_102_444_799_999, 253_402_300_799_000])
async def test_the_ends_of_time_break_nothing(url: str, at_ms: int) -> None:
    """FT33: 2038, the last second of a century, 9999: counted like any other time, and in UTC."""
    machine = Machine(at_ms)
    clock = machine.clock()
    held = opened(url, clock=clock.now_ms)
    guards = [daily(at_ms), last_hour(at_ms), Pace("r:pace:ann", 1_000, GIVEN)]
    answers = [await held.record(at(number, at_ms), guards) for number in range(GIVEN + 1)]
    await held.close()
    assert [answer is None for answer in answers] == [True] * GIVEN + [False]
