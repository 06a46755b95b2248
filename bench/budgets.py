"""A gate that counts: budgets, limits and loops that cover every call, with balances in the journal's file or in memory.

RULE: nothing here is ever used up, so that every call is permitted: what is measured is counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import workload
from bench.workload import Case

_BUDGETS = """\
budgets:
  - {name: run-calls, scope: [run], calls: 900000000}
  - {name: run-spend, scope: [run], usd: "900000000"}
  - {name: daily-spend, scope: [principal], usd: "900000000", window: day}
  - {name: hourly-calls, scope: [principal, tool], calls: 900000000, window: {rolling_s: 3600}}
limits:
  - {name: pace, scope: [principal, tool], rate: 900000/s, burst: 900000}
  - {name: in-flight, scope: [run], concurrency: 1000}
loops: {identical_calls: 1000000, window_s: 60, denied_attempts: 1000000}
"""
_RUNS = "runs: {max_open: 1000000}\n"  # one principal opens all that are weighed


def write_policies(folder: Path) -> None:
    """Write the budgets beside the statements."""
    (folder / "policies" / "budgets.yaml").write_text(_BUDGETS)


def write_gate(folder: Path, *, operations: int, upstream: int, ports: Sequence[int], ledger: str) -> Path:
    """Write what a gate with budgets reads; return the settings file."""
    settings = workload.write_gate(folder, operations=operations, upstream=upstream, ports=ports)
    write_policies(folder)
    settings.write_text(f"{settings.read_text()}{ledger}{_RUNS}")
    return settings


def cases(operations: int, port: int, name: str) -> Sequence[Case]:
    """What the bare gate is asked and permits without a flush."""
    get, post, *_ = workload.cases(operations, port)
    return tuple(Case(f"{name}: {each.name}", each.requests, each.status, 1.5) for each in (get, post))
