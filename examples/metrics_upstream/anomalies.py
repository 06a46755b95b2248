"""Which values of a series do not belong to it: modified z-scores over the median absolute deviation.

*Warning:* it judges each value against the whole series, so a slow drift or a change of level is not seen,
and with fewer than five values nothing is called an anomaly.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH_VALUES = 5
# Iglewicz and Hoaglin (1993): 0.6745 scales the deviations so that a score reads like a number of standard
# deviations for normal data. Where more than half of the values are equal the median deviation is 0: the mean
# absolute deviation stands in, scaled the same way.
_MEDIAN_SCALE = 0.6745
_MEAN_SCALE = 0.7979


@dataclass(frozen=True, slots=True)
class Judged:
    median: float
    deviation: float
    scores: tuple[float, ...]  # one for each value, signed


def judge(values: Sequence[float]) -> Judged:
    """Score every value by its distance from the median."""
    median = statistics.median(values)
    distances = [abs(value - median) for value in values]
    deviation, scale = statistics.median(distances), _MEDIAN_SCALE
    if deviation == 0:
        deviation, scale = statistics.fmean(distances), _MEAN_SCALE
    if deviation == 0 or len(values) < ENOUGH_VALUES:
        return Judged(median, deviation, (0.0,) * len(values))
    return Judged(median, deviation, tuple(scale * (value - median) / deviation for value in values))
