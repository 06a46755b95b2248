"""What the host's figures were: every metric sampled on one clock, the last hours kept.

RULE: a series holds only samples that were taken; a gap stays a gap.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from examples.metrics_upstream.readings import Metric, try_reading

AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "avg": statistics.fmean,
    "min": min,
    "max": max,
    "p95": lambda values: percentile(values, 0.95),
}


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is usual for a metric: everything remembered of it, summed up."""

    samples: int
    mean: float
    stddev: float
    p95: float


class History:
    def __init__(self, metrics: Iterable[Metric], clock: Callable[[], float], *, keep: int = 7200) -> None:
        self.metrics = {metric.name: metric for metric in metrics}
        self._clock = clock
        self._series: dict[str, deque[Sample]] = {name: deque(maxlen=keep) for name in self.metrics}

    def sample(self) -> None:
        """Take one sample of every metric."""
        at_s = round(self._clock(), 3)
        for metric in self.metrics.values():
            value = try_reading(metric)
            if value is not None:
                self._series[metric.name].append(Sample(at_s, value))

    def window(self, name: str, window_s: float) -> tuple[Sample, ...]:
        """The samples of the last `window_s` seconds, oldest first."""
        since_s = self._clock() - window_s
        return tuple(sample for sample in self._series[name] if sample.at_s >= since_s)

    def baseline(self, name: str) -> Baseline:
        values = [sample.value for sample in self._series[name]]
        return Baseline(len(values), statistics.fmean(values), statistics.pstdev(values), percentile(values, 0.95))

    def forget(self, name: str) -> None:
        """Remove the metric and all that was remembered of it."""
        del self.metrics[name], self._series[name]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: always a value that occurred."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
