"""The run: start upstream, pass-through and gates, then measure them in turns.

RULE: within a round every side is asked the same, and the side that goes first changes from round to round, so that
whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Running, free_port, imports_only, module, opened, rss_mb, toolgate
from bench.report import Measured, Report, Started
from bench.workload import CASES, cases, write_gate

_PASS_THROUGH_SIZE = 0


@dataclass(frozen=True, slots=True)
class Side:
    """What is asked: the gate with `size` operations, or the pass-through."""

    size: int
    process: Running


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    sizes: tuple[int, ...]
    connections: int = 32
    warm_up_s: float = 0.2
    open_cases: int = 4  # the permitted ones: these are also asked in an open loop
    rate: int = 500  # of the open loop: well under what either side can do, so that percentiles are not queueing


FULL = Effort(rounds=5, seconds=1.5, sizes=(10, 1000, 10_000))
QUICK = Effort(rounds=3, seconds=0.4, sizes=(10, 10_000), warm_up_s=0.1, open_cases=2)


def run(effort: Effort, *, with_gate: bool) -> Report:
    with contextlib.ExitStack() as running, tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        upstream = running.enter_context(module("bench.upstream", port=free_port()))
        sides = [Side(_PASS_THROUGH_SIZE, running.enter_context(_pass_through(upstream.port)))]
        weighed = []
        if with_gate:
            weighed.append(_weighed("imports only", running.enter_context(imports_only())))
            for size in effort.sizes:
                sides.append(Side(size, running.enter_context(_gate(Path(folder), size, upstream.port))))
                weighed.append(_weighed(f"{size:,} operations", sides[-1].process))
        generator = running.enter_context(opened("bench.load"))
        measured = tuple(_rounds(effort, sides, generator))
        weighed += [_weighed(f"{side.size:,} operations, after the run", side.process) for side in sides[1:]]
    return Report(measured, weighed, effort.rounds)


def _pass_through(upstream: int) -> contextlib.AbstractContextManager[Running]:
    return module("bench.passthrough", f"http://127.0.0.1:{upstream}", port=free_port())


def _gate(folder: Path, size: int, upstream: int) -> contextlib.AbstractContextManager[Running]:
    ports = (free_port(), free_port(), free_port())
    home = folder / str(size)
    settings = write_gate(home, operations=size, upstream=upstream, ports=ports)
    return toolgate(settings, agent=ports[0], health=ports[2], log=home / "log")


def _weighed(name: str, process: Running) -> Started:
    return Started(name, process.ready_s, rss_mb(process.pid))


def _rounds(effort: Effort, sides: Sequence[Side], generator: subprocess.Popen[str]) -> Iterator[Measured]:
    """Every case against every side: closed loops for cost, then an open loop for latency."""
    compared = (_PASS_THROUGH_SIZE, effort.sizes[0])
    for number in range(effort.rounds):
        in_turn = sides if number % 2 == 0 else sides[::-1]
        for case, side in itertools.product(range(CASES), in_turn):
            yield _measure(effort, side, case, generator, rate=None)
            if side.size in compared and case < effort.open_cases:
                yield _measure(effort, side, case, generator, rate=effort.rate)
        print(f"round {number + 1} of {effort.rounds}", file=sys.stderr)


def _measure(
    effort: Effort, side: Side, number: int, generator: subprocess.Popen[str], *, rate: int | None
) -> Measured:
    case = cases(side.size or effort.sizes[0], side.process.port)[number]
    order = {
        "port": side.process.port,
        "pid": side.process.pid,
        "requests": [request.decode() for request in case.requests],
        "connections": effort.connections,
        "warm_up_s": effort.warm_up_s,
        "seconds": effort.seconds,
        "rate": rate,
    }
    answer = _answer(generator, order)
    expected = {"200" if side.size == _PASS_THROUGH_SIZE else str(case.status)}
    if set(answer["statuses"]) != expected or answer["lost"]:
        name = f"{case.name}, {side.size or 'pass-through'}"
        raise RuntimeError(f"{name}: answered {answer['statuses']}, lost {answer['lost']}, expected {expected}")
    return Measured(case.name, side.size, "open" if rate else "closed", case.at_most, answer)


def _answer(generator: subprocess.Popen[str], order: Mapping[str, Any]) -> Mapping[str, Any]:
    if generator.stdin is None or generator.stdout is None:
        raise RuntimeError("the load generator was started without pipes")
    generator.stdin.write(json.dumps(order) + "\n")
    generator.stdin.flush()
    answer = generator.stdout.readline()
    if not answer:
        raise RuntimeError("the load generator ended; what it said stands above")
    return dict(json.loads(answer))
