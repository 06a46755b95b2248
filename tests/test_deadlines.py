"""Deadlines: one timer for many calls, and the same promise as `asyncio.timeout`."""

from __future__ import annotations

import asyncio

import pytest

from toolgate.deadlines import Deadlines


async def test_what_takes_too_long_ends_in_a_timeout() -> None:
    """The block is cancelled where it waits, and raises TimeoutError."""
    deadlines = Deadlines(0.02)
    with pytest.raises(TimeoutError), deadlines.one():
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert (task.cancelling(), len(deadlines.open)) == (0, 0)


async def test_what_ends_in_time_is_left_alone() -> None:
    """A block that ended is not cancelled later: what its task does next has a deadline of its own."""
    deadlines = Deadlines(0.02)
    with deadlines.one():
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), Deadlines(0.06).one():  # long enough for the first to have passed
        await asyncio.Event().wait()
    assert not deadlines.open


async def test_a_cancelled_call_stays_cancelled() -> None:
    """Who gives a call up gets a cancellation, not a timeout."""
    deadlines = Deadlines(10.0)

    async def call() -> None:
        with deadlines.one():
            await asyncio.Event().wait()

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines.open


async def test_an_error_of_the_block_passes_through() -> None:
    """A block that fails by itself fails as it did."""
    with pytest.raises(ValueError, match="broken"), Deadlines(10.0).one():
        raise ValueError("broken")
