"""The run: start upstream, pass-through and gates, then measure them in turns.

RULE: within a round every side is asked the same, and the side that goes first changes from round to round, so that
whatever else the machine does falls on all of them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import budgets, everything, workload
from bench.everything import Issuer
from bench.plans import Planned
from bench.processes import Running, free_port, free_ports, imports_only, memory_mb, module, opened, toolgate
from bench.report import Measured, OpenRuns, Report, Started
from bench.runs import weigh
from bench.workload import Case

_PASS_THROUGH_SIZE = 0
_OPEN_RUNS = "open runs"  # by what name they are asked for
_OK = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to set up a gate, and what it is asked: by the number of operations and a port."""

    name: str
    write: Callable[..., Path]
    cases: Callable[[int, int], Sequence[Case]]
    only_smallest: bool = False
    weigh_runs: bool = False
    renewed: Callable[[Case, int, float], Case] | None = None  # where a request can be sent once only: fresh ones

    def sizes(self, asked: Sequence[int]) -> Sequence[int]:
        return asked[:1] if self.only_smallest else asked

    def is_asked(self, only: str) -> bool:
        weighed = self.weigh_runs and only in _OPEN_RUNS
        return weighed or any(only in case.name for case in self.cases(1, 0))


def _kinds() -> Sequence[Kind]:
    issuer = Issuer()
    token, planned = issuer.token(), Planned(issuer)
    return (
        Kind("", workload.write_gate, workload.cases),
        Kind(
            ", everything on",
            partial(everything.write_gate, issuer=issuer),
            lambda operations, port: everything.cases(operations, port, token),
        ),
        Kind(", planned", planned.write_gate, planned.cases, only_smallest=True, renewed=planned.renewed),
        _counting("budgets", ""),
        _counting("budgets in memory", "ledger: 'memory:'\n"),
    )


def _counting(name: str, ledger: str) -> Kind:
    write = partial(budgets.write_gate, ledger=ledger)
    return Kind(f", {name}", write, partial(budgets.cases, name=name), only_smallest=True, weigh_runs=True)


@dataclass(frozen=True, slots=True)
class Side:
    """What is asked: the gate with `size` operations, or the pass-through."""

    size: int
    process: Running
    kind: Kind | None  # None: the pass-through, which is asked everything


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    sizes: tuple[int, ...]
    connections: int = 32
    warm_up_s: float = 0.2
    open_runs: int = 100_000
    open_cases: int = 4  # so many of each kind, if permitted, are also asked in an open loop
    rate: int = 500  # of the open loop: well under what either side can do, so that percentiles are not queueing


FULL = Effort(rounds=5, seconds=1.2, sizes=(10, 1000, 10_000))
QUICK = Effort(rounds=3, seconds=0.4, sizes=(10, 10_000), warm_up_s=0.1, open_cases=2, open_runs=10_000)


def run(effort: Effort, *, with_gate: bool, only: str = "") -> Report:
    """Measure every case and what open runs weigh, or that of it whose name has `only` in it."""
    with contextlib.ExitStack() as running, tempfile.TemporaryDirectory(prefix="toolgate-bench-") as folder:
        upstream = running.enter_context(module("bench.upstream", port=free_port()))
        sides = [Side(_PASS_THROUGH_SIZE, running.enter_context(_pass_through(upstream.port)), None)]
        weighed = []
        kinds = [kind for kind in _kinds() if kind.is_asked(only)]
        if with_gate:
            weighed.append(_weighed("imports only", running.enter_context(imports_only())))
            for kind in kinds:
                for size in kind.sizes(effort.sizes):
                    gate = running.enter_context(_gate(Path(folder), kind, size, upstream.port))
                    sides.append(Side(size, gate, kind))
                    weighed.append(_weighed(_name(sides[-1]), gate))
        generator = running.enter_context(opened("bench.load"))
        measured = tuple(_rounds(effort, kinds, sides, generator, only))
        weighed += [_weighed(f"{_name(side)}, after the run", side.process) for side in sides[1:]]
        heavy = [side for side in sides if side.kind is not None and side.kind.weigh_runs and only in _OPEN_RUNS]
        runs = [_weigh_runs(effort, side) for side in heavy]
    return Report(measured, weighed, effort.rounds, runs)


def _weigh_runs(effort: Effort, side: Side) -> OpenRuns:
    call = workload.cases(side.size, side.process.port)[0].requests[0]
    return weigh(_name(side), side.process, call, effort.open_runs)


def _pass_through(upstream: int) -> contextlib.AbstractContextManager[Running]:
    return module("bench.passthrough", f"http://127.0.0.1:{upstream}", port=free_port())


def _gate(folder: Path, kind: Kind, size: int, upstream: int) -> contextlib.AbstractContextManager[Running]:
    ports = free_ports(3)
    home = folder / f"{size}{kind.name}"
    settings = kind.write(home, operations=size, upstream=upstream, ports=ports)
    return toolgate(settings, agent=ports[0], health=ports[2], log=home / "log")


def _weighed(name: str, process: Running) -> Started:
    return Started(name, process.ready_s, *memory_mb(process.pid))


def _name(side: Side) -> str:
    return f"{side.size:,} operations{side.kind.name if side.kind else ''}"


def _rounds(
    effort: Effort, kinds: Sequence[Kind], sides: Sequence[Side], generator: subprocess.Popen[str], only: str
) -> Iterator[Measured]:
    for number in range(effort.rounds):
        for kind in kinds:
            asked = [side for side in sides if side.kind in {None, kind}]
            yield from _round(effort, kind, asked if number % 2 == 0 else asked[::-1], generator, only)
        print(f"round {number + 1} of {effort.rounds}", file=sys.stderr)


def _round(
    effort: Effort, kind: Kind, sides: Sequence[Side], generator: subprocess.Popen[str], only: str
) -> Iterator[Measured]:
    """Every case of a kind against every side: closed loops for cost, then an open loop for latency."""
    compared = (_PASS_THROUGH_SIZE, effort.sizes[0])
    asked = [kind.cases(side.size or effort.sizes[0], side.process.port) for side in sides]
    for number in [number for number, case in enumerate(asked[0]) if only in case.name]:
        for side, cases in zip(sides, asked, strict=True):
            yield _measure(effort, side, cases[number], generator, rate=None)
            if side.size in compared and number < effort.open_cases and cases[number].status == _OK:
                yield _measure(effort, side, cases[number], generator, rate=effort.rate)


def _measure(effort: Effort, side: Side, case: Case, generator: subprocess.Popen[str], *, rate: int | None) -> Measured:
    if side.kind is not None and side.kind.renewed is not None:
        case = side.kind.renewed(case, side.process.port, effort.warm_up_s + effort.seconds)
    order = {
        "port": side.process.port,
        "pid": side.process.pid,
        "requests": [request.decode() for request in case.requests],
        "counted": case.counted,
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
