"""A gate's ledger in a process of its own, for faults that only a process can have.

    python -m tests.ledger.victim kill PATH POINT     records until the seam POINT is passed once more, then kill -9
    python -m tests.ledger.victim room PATH BYTES     records until no file may grow beyond BYTES, then gets room again
    python -m tests.ledger.victim fill PATH FILLER    the same on a full file system: FILLER is removed to make room
    python -m tests.ledger.victim flush PATH          records effects and says how each one ended
    python -m tests.ledger.victim bill PATH           records, settles and refuses until it is killed from outside
    python -m tests.ledger.victim agree PATH          locks, asks, grants, attempts and ends until it is killed from outside

Each line it prints is written at once: what stands on standard output was acknowledged before the process died.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.ledger import agreed
from tests.ledger.world import START_MS, calling, decided, effect, finished, opened, take

from toolgate.core import runs
from toolgate.core.guards import taken_json
from toolgate.core.model import Charge, OpenedRun, Pace, Place, Rolling, Settlement
from toolgate.ledger import QueuedLedger
from toolgate.ports import LedgerError

ACKNOWLEDGED_BEFORE = 25
PATIENCE_S = 20.0


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def kill(path: Path, point: str) -> None:
    """Eight callers record with charges; once enough is acknowledged, passing the point is the end."""
    armed = False

    def at(reached: str) -> None:
        if armed and reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    held = opened(path, at=at, stdout=lambda _: None)

    async def call(first: int) -> None:
        nonlocal armed
        for n in range(first, 10_000, 8):
            held.next_in_run(calling(f"caller-{n}"))
            assert await held.record(decided(n), [take(1, 1_000_000)]) is None
            say(f"call-{n}")
            armed = armed or n > ACKNOWLEDGED_BEFORE

    await asyncio.gather(*(call(first) for first in range(8)))


async def until(held: QueuedLedger, ended: Callable[[str], bool]) -> str:
    """Record until one ends as wanted; poll, do not sleep blindly."""
    loop = asyncio.get_running_loop()
    limit_s = loop.time() + PATIENCE_S
    n = 0
    said = ""
    while loop.time() < limit_s:
        n += 1
        try:
            await held.record(decided(n, text="x" * 3000), [take(1, 1_000_000)])
            said = ""
            say(f"call-{n}")
        except LedgerError as error:
            said = str(error)
            await asyncio.sleep(0.01)
        if ended(said):
            return said
    raise SystemExit(f"not within {PATIENCE_S} s: {said}")


async def full(path: Path, shrink: Callable[[], None], make_room: Callable[[], None]) -> None:
    held = opened(path)
    await held.record(decided(0), ())
    shrink()
    say(f"refused: {await until(held, bool)}")
    say(f"not ready: {held.ready()}")
    await held.append(finished(0))
    make_room()
    await until(held, lambda said: not said)
    say(f"ready: {held.ready()}")
    await held.close()
    say("closed")


async def room(path: Path, size: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await full(
        path,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), hard)),
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)),
    )


async def fill(path: Path, filler: str) -> None:
    def until_full() -> None:
        with Path(filler).open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return

    await full(path, until_full, Path(filler).unlink)


async def flush(path: Path) -> None:
    held = opened(path)
    for n in range(40):
        try:
            await held.record(effect(n), ())
            say(f"call-{n}")
        except LedgerError as error:
            say(f"refused call-{n}: {error}")
            while held.ready() is not None:  # noqa: ASYNC110 (a condition of another thread)
                await asyncio.sleep(0.01)
    await held.close()
    say("closed")


async def bill(path: Path) -> None:
    """Twelve callers against budgets: each call holds 10 and costs 4, 10 or 17, and every fifth is refused."""
    held = opened(path)
    place = Place("c:in-flight:ann", 100)

    def usd(amount: int) -> tuple[Charge, ...]:
        rolling = Rolling(START_MS // 60_000, 61)
        return (take(amount, 1_000_000, "b:spend:usd:ann"), Charge("b:hour:usd:ann", amount, 1_000_000, rolling))

    async def call(first: int) -> None:
        for n in range(first, 1_000_000, 12):
            if n % 5 == 0:
                await held.append(decided(n, code="policy.denied"), [take(1, 1_000_000, "l:denied:ann")])
                continue
            guards = [take(1, 1_000_000, "b:calls:calls:ann"), *usd(10), Pace("r:burst:ann", 1, 1_000_000), place]
            said = taken_json(guards)
            assert await held.record(decided(n, charges=said), guards) is None
            say(f"call-{n}")
            cost = (4, 10, 17)[n % 3]
            settlement = Settlement(usd(max(10 - cost, 0)), usd(max(cost - 10, 0)), (place,))
            await held.finish(finished(n), settlement)

    await asyncio.gather(*(call(first) for first in range(12)))


async def agree(path: Path) -> None:
    """Six runs, each with a plan, whose steps are sent by approvals, and end in every way there is."""
    held = opened(path)

    async def run(number: int) -> None:
        of_run = OpenedRun(f"run_{os.urandom(13).hex().upper()}", START_MS + 3_600_000)
        plan = f"plan_{of_run.id[4:]}"
        await held.record(runs.opened(of_run, "ann", {}, START_MS), ())
        digest = None
        for n in range(number, 1_000_000, 6):
            if n % 24 < 6:
                locked = agreed.a_plan(id=plan, run=of_run.id, digest=f"sha256:{plan}{n}")
                await held.record(agreed.lock(locked, digest), ())
                digest = locked.digest
            name = f"apr_{of_run.id[4:16]}{n:014d}"
            asked = agreed.an_asking(f"sha256:{name}", of_run)
            await held.record(agreed.ask(name, asked), ())
            said = (agreed.decline if n % 7 == 0 else agreed.grant)(agreed.an_approval(name, asked))
            await held.record(said, ())
            step = f"s{n % 3}"
            guards = (*agreed.guards_of(step, n, plan), Charge(f"a:{name}", 1, 1))
            call = f"call-{of_run.id}-{n}"
            decided = agreed.attempt(call, step, plan, approval=name, charges=taken_json(guards))
            assert await held.record(decided._replace(run=of_run.id), guards) is None
            say(call)
            ended, refunds = ENDS[n % 5], guards if n % 5 == 2 else ()
            finished = agreed.end(call, step, plan, **ended)._replace(run=of_run.id)
            await held.finish(finished, Settlement(refunds))

    await asyncio.gather(*(run(number) for number in range(6)))


ENDS: tuple[dict[str, object], ...] = (
    {"outputs": {"series": "d1"}}, agreed.REFUSED, agreed.UNSENT, agreed.LOST, {"outputs": {}},
)  # fmt: skip
SCENES: dict[str, Callable[..., Awaitable[None]]] = {
    "kill": kill,
    "room": room,
    "fill": fill,
    "flush": flush,
    "bill": bill,
    "agree": agree,
}


if __name__ == "__main__":
    asyncio.run(SCENES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:]))  # type: ignore[arg-type]
