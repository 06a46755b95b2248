"""What was measured, as medians over the rounds, a table and JSON.

RULE: a ratio is taken within each round and then the median, never the ratio of two medians.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

PASS_THROUGH = 0  # the size that stands for the pass-through
_MEMORY_ABOVE_MB = 15.0
_READY_ABOVE_S = 0.25
_FLAT_WITHIN = 0.10
_BEGIN, _END = "```text results", "```\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement of one side: `size` operations in the gate, or 0 for the pass-through."""

    case: str
    size: int
    loop: Literal["closed", "open"]
    at_most: float | None
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Started:
    name: str
    ready_s: float
    rss_mb: float
    own_mb: float  # of it, what is no page of a file: the price of a library's code is its file's


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """What a gate weighs with so many runs open: before, with all of them opened, and after one call in each."""

    gate: str
    count: int
    before_mb: float
    opened_mb: float
    called_mb: float

    @property
    def per_run_bytes(self) -> float:
        return (self.called_mb - self.before_mb) * (1 << 20) / self.count


@dataclass(frozen=True, slots=True)
class Report:
    measured: Sequence[Measured]
    started: Sequence[Started]
    rounds: int
    runs: Sequence[OpenRuns] = ()

    def cases(self) -> Sequence[str]:
        return tuple(dict.fromkeys(entry.case for entry in self.measured))

    def sizes(self, case: str) -> Sequence[int]:
        """The pass-through, then every gate this was asked of, the smallest first."""
        return tuple(dict.fromkeys(sorted(entry.size for entry in self.measured if entry.case == case)))

    def figures(self, case: str, size: int, loop: str, figure: str) -> Sequence[float]:
        """One figure, round by round."""
        wanted = (case, size, loop)
        return [entry.figures[figure] for entry in self.measured if (entry.case, entry.size, entry.loop) == wanted]

    def ratio(self, case: str, size: int, *, to: int = PASS_THROUGH, figure: str = "cpu_us") -> float:
        mine, theirs = self.figures(case, size, "closed", figure), self.figures(case, to, "closed", figure)
        return median(a / b for a, b in zip(mine, theirs, strict=True))

    def missed(self) -> Sequence[str]:
        """The targets of the design that this run did not meet."""
        return [*self._too_dear(), *self._not_flat(), *self._too_heavy()]

    def _too_dear(self) -> Iterator[str]:
        limits = {entry.case: entry.at_most for entry in self.measured if entry.at_most is not None}
        for case, at_most in limits.items():
            for size in self.sizes(case)[1:]:
                if (ratio := self.ratio(case, size)) > at_most:
                    yield f"{case} at {size:,} operations costs {ratio:.2f} of the pass-through, more than {at_most}"

    def _not_flat(self) -> Iterator[str]:
        for case in self.cases():
            _, *gates = self.sizes(case)
            if len(gates) < 2:
                continue
            smallest, largest = gates[0], gates[-1]
            if (ratio := self.ratio(case, largest, to=smallest)) > 1 + _FLAT_WITHIN:
                yield f"{case} costs {ratio:.2f} times as much at {largest:,} operations as at {smallest:,}"

    def _too_heavy(self) -> Iterator[str]:
        if len(self.started) < 2:
            return
        imports, gate = self.started[0], self.started[1]
        if (above := gate.rss_mb - imports.rss_mb) > _MEMORY_ABOVE_MB:
            yield f"idle memory is {above:.1f} MB above a process that only imports, more than {_MEMORY_ABOVE_MB:.0f}"
        if (above := gate.ready_s - imports.ready_s) > _READY_ABOVE_S:
            yield f"ready {above:.2f} s after a process that only imports, more than {_READY_ABOVE_S}"

    def as_json(self) -> Mapping[str, Any]:
        return {
            "python": platform.python_version(),
            "machine": platform.platform(),
            "rounds": self.rounds,
            "started": [asdict(entry) for entry in self.started],
            "runs": [asdict(entry) for entry in self.runs],
            "measured": [asdict(entry) for entry in self.measured],
            "missed": list(self.missed()),
        }


def table(report: Report) -> str:
    """The report as text a person reads and `docs/performance.md` quotes."""
    parts = [_cost(report), _latency(report), _starts(report), _open_runs(report), _verdict(report)]
    return "\n\n".join(part for part in parts if part)


def with_results(page: str, report: Report) -> str:
    """The page with this run's table between its marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no {_BEGIN} … {_END}")
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {report.rounds} rounds"
    return f"{before}{begin}\n{machine}\n\n{table(report)}\n{end}{after}"


def _cost(report: Report) -> str:
    head = ("closed loop, 32 connections", "CPU µs/call", "ratio", "calls/s")
    rows = []
    for case in report.cases():
        for size in report.sizes(case):
            cpu_us = median(report.figures(case, size, "closed", "cpu_us"))
            per_s = median(report.figures(case, size, "closed", "per_s"))
            rows.append((_label(case, size), f"{cpu_us:.0f}", f"{report.ratio(case, size):.2f}", f"{per_s:,.0f}"))
    return _columns(head, rows) if rows else ""


def _latency(report: Report) -> str:
    head = ("open loop, 500 calls/s", "p50 ms", "p99 ms", "CPU µs/call")
    rows = []
    for case in report.cases():
        for size in report.sizes(case):
            if report.figures(case, size, "open", "p50_ms"):
                figures = [median(report.figures(case, size, "open", name)) for name in ("p50_ms", "p99_ms", "cpu_us")]
                rows.append((_label(case, size), f"{figures[0]:.2f}", f"{figures[1]:.2f}", f"{figures[2]:.0f}"))
    return _columns(head, rows) if rows else ""


def _starts(report: Report) -> str:
    rows = [
        (entry.name, f"{entry.ready_s:.2f}", f"{entry.rss_mb:.0f}", f"{entry.own_mb:.0f}") for entry in report.started
    ]
    return _columns(("process", "ready s", "memory MB", "its own MB"), rows) if rows else ""


def _open_runs(report: Report) -> str:
    rows = [
        (
            f"{entry.count:,} open runs · {entry.gate}",
            *(f"{mb:.0f}" for mb in (entry.before_mb, entry.opened_mb, entry.called_mb)),
            f"{entry.per_run_bytes:,.0f}",
        )
        for entry in report.runs
    ]
    head = ("memory MB", "before", "opened", "a call in each", "bytes per run")
    return _columns(head, rows) if rows else ""


def _verdict(report: Report) -> str:
    missed = report.missed()
    return "\n".join(f"missed: {sentence}" for sentence in missed) if missed else "every target met"


def _label(case: str, size: int) -> str:
    return f"{case} · {'pass-through' if size == PASS_THROUGH else f'{size:,} operations'}"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others])
