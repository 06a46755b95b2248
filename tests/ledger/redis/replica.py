"""A gate's ledger over a shared store, in a process of its own.

    python -m tests.ledger.redis.replica spend URL JOURNAL CALLS GIVEN   so many calls at once, each with a charge of 1
    python -m tests.ledger.redis.replica load URL JOURNAL                calls without end, each said before and after; for kill -9
    python -m tests.ledger.redis.replica recover URL JOURNAL             begin, settle what was left, end

What stands on its standard output was true when it was written.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from tests.ledger.world import decided, finished, opened, take

from toolgate.core.model import Event, Place, Settlement
from toolgate.ledger.redis.ledger import SharedLedger

PLACE = Place("c:in-flight:ann", 64)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def of_this_process(event: Event) -> Event:
    return event._replace(call=f"{os.getpid()}-{event.call}")


async def spend(url: str, journal: str, calls: str, given: str) -> None:
    held = opened(url, journal=Path(journal))
    charge = take(1, int(given), "b:daily:calls:ann:2026-11-22")
    answers = await asyncio.gather(
        *(held.record(of_this_process(decided(n)), [charge]) for n in range(int(calls))), return_exceptions=True
    )
    say(f"admitted {answers.count(None)}")
    say(f"failed {sum(isinstance(answer, BaseException) for answer in answers)}")
    await held.close()


async def load(url: str, journal: str) -> None:
    held = opened(url, journal=Path(journal))
    numbers = count(1)
    await asyncio.gather(*(one_after_another(held, numbers) for _ in range(8)))


async def one_after_another(held: SharedLedger, numbers: count[int]) -> None:
    """Of every three calls one was surely not sent and is given back, and one costs more than was held."""
    for n in numbers:
        guards = [take(1, 10**9), take(10, 10**9, "usd"), PLACE]
        await held.record(of_this_process(decided(n)), guards)
        say(f"sent {os.getpid()}-call-{n}")
        refunds = (take(1, 10**9), take(10, 10**9, "usd")) if n % 3 == 0 else ()
        extra = (take(7, 10**9, "usd"),) if n % 3 == 1 else ()
        outcome = {"outcome": "failed", "sent": "no"} if n % 3 == 0 else {}
        await held.finish(of_this_process(finished(n, **outcome)), Settlement(refunds, extra, (PLACE,)))


async def recover(url: str, journal: str) -> None:
    held = opened(url, journal=Path(journal))
    await held.close()


SCENES: dict[str, Callable[..., Awaitable[None]]] = {"spend": spend, "load": load, "recover": recover}


if __name__ == "__main__":
    asyncio.run(SCENES[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type]
