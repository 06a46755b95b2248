"""Three gates, one plan, whatever happens in whatever order: what each of them knows, and what was sent.

RULE: a model counts what was let through. Seeds are fixed, so that what fails once fails again.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.agreed import LOST, PLAN, REFUSED, RUN, UNSENT, a_plan, attempt, end, guards_of, lock, steps_of
from tests.ledger.redis.stores import PATIENT_S, kept, made_ready, settled
from tests.ledger.world import START_MS, calling, opened
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.model import PLAN_KEY, Charge, Overtaken, Settlement
from toolgate.core.plan import Attempted, Step

ATTEMPTS = 3
STEPS = tuple(Step(f"s{n}", f"s{n}", "a.b", attempts=ATTEMPTS) for n in range(4))
OUTCOMES: dict[str | None, dict[str, Any]] = {"done": {}, "failed": REFUSED, "unknown": LOST, None: UNSENT}


class Three:
    """Gates with journals, and the model of the plan they follow."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self.url, self.folder, self.dice = url, folder, random.Random(seed)
        self.gates = [self._opened(n) for n in range(3)]
        self.open: dict[str, tuple[int, str]] = {}  # by call: its gate and step
        self.attempts: Counter[str] = Counter()
        self.done: set[str] = set()
        self.calls = count()
        self.versions = 1

    def _opened(self, number: int) -> Any:
        held = opened(self.url, journal=self.folder / f"{number}.db")
        held.next_in_run(calling("ann", run=RUN))
        return held

    async def begin(self) -> None:
        await self.gates[0].record(told.opened(RUN, "ann", {}, START_MS), ())
        await self.gates[0].record(lock(a_plan(steps=STEPS)), (Charge(f"v:{RUN.id}:none", 1, 1),))

    async def attempt(self) -> None:
        number, step, call = self.dice.randrange(3), self.dice.choice(STEPS).id, f"c{next(self.calls)}"
        gate = self.gates[number]
        answer: Any = Overtaken(RUN.id)
        while isinstance(answer, Overtaken):
            if self.is_refused(gate, step):
                return
            answer = await gate.record(attempt(call, step), guards_of(step, self.next_at(gate, step)))
        is_running = step in {each for _, each in self.open.values()}
        if answer is None:
            assert not is_running
            assert step not in self.done
            self.open[call] = number, step
            self.attempts[step] += 1
            assert self.attempts[step] <= ATTEMPTS
        else:
            assert is_running or step in self.done or self.attempts[step] == ATTEMPTS

    def next_at(self, gate: Any, step: str) -> int:
        """Which attempt the next one is, by what a gate knows."""
        plan = gate.facts((PLAN_KEY + PLAN,), START_MS).plan
        return 1 if plan is None else plan.steps.get(step, Attempted()).attempts + 1

    def is_refused(self, gate: Any, step: str) -> bool:
        """Whether a gate sends no call of a step by what it knows, as `core.cursor` decides."""
        if gate.facts((PLAN_KEY + PLAN,), START_MS).plan is None:
            return False
        tried = steps_of(gate).get(step, Attempted())
        return tried.state in {"running", "done"} or tried.attempts == ATTEMPTS

    async def end(self) -> None:
        if not self.open:
            return
        call = self.dice.choice(sorted(self.open))
        number, step = self.open.pop(call)
        state = self.dice.choice([*OUTCOMES])
        turn = guards_of(step, self.attempts[step])
        if state == "done":
            self.done.add(step)
        if state is None:
            self.attempts[step] -= 1
        settlement = Settlement(turn if state is None else ())
        await self.gates[number].finish(end(call, step, **OUTCOMES[state]), settlement)
        if self.dice.random() < 0.7:
            await settled(self.gates[number])

    async def revise(self) -> None:
        gate = self.gates[self.dice.randrange(3)]
        plan = a_plan(steps=STEPS, digest=f"sha256:{self.versions}", locked_ms=START_MS + self.versions)
        turn = Charge(f"v:{PLAN}:{self.versions}", 1, 1)
        while await gate.record(lock(plan), (turn,)) is not None:
            pass
        self.versions += 1

    async def restart(self) -> None:
        """One that has no call under way: what it knows is in its file and in the store."""
        number = self.dice.randrange(3)
        if number in {each for each, _ in self.open.values()}:
            return
        await settled(self.gates[number])
        await self.gates[number].close()
        self.gates[number] = self._opened(number)

    async def compare(self) -> None:
        """At rest all of them know the same, and it is what happened."""
        while self.open:
            await self.end()
        for gate in self.gates:
            await settled(gate)
        for gate in self.gates:
            await gate.catch_up(RUN.id)
        known = [steps_of(gate) for gate in self.gates]
        assert known[0] == known[1] == known[2]
        assert {step: each.attempts for step, each in known[0].items()} == {
            step.id: self.attempts[step.id] for step in STEPS if step.id in known[0]
        }
        assert self.done == {step for step, each in known[0].items() if each.state == "done"}
        taken = kept(self.url)
        for step in STEPS:
            given = [taken.get(f"p:{PLAN}:{step.id}#{number + 1}", 0) for number in range(ATTEMPTS)]
            assert sum(given) == self.attempts[step.id]


@pytest.mark.parametrize("seed", range(12))
async def test_three_gates_know_one_plan(redis_server: RedisServer, tmp_path: Path, seed: int) -> None:
    """Attempts, ends of all kinds, revisions and restarts by turns: no step is sent too often, and all agree."""
    three = Three(made_ready(redis_server.url, PATIENT_S), tmp_path, seed)
    await three.begin()
    moves = [three.attempt, three.attempt, three.attempt, three.end, three.end, three.revise, three.restart]
    for turn in range(60):
        await three.dice.choice(moves)()
        if turn % 20 == 0:
            await three.compare()
    await three.compare()
    for gate in three.gates:
        await gate.close()
