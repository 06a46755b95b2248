"""Published reports, kept in memory until the server ends, with the summary worked out from their figures.

RULE: a report is never changed once it is published.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Which metric speaks for which line of the summary.
_SUMMARY_LINES = {
    "cpu": "node_cpu",
    "memory": "node_memory_used_percent",
    "disk": "node_filesystem_used_percent",
}


@dataclass(slots=True)
class Reports:
    keep: int = 100
    _published: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def publish(self, body: Mapping[str, Any], at_s: float) -> Mapping[str, Any]:
        report = {
            "report": f"r{next(self._numbers)}",
            "title": body["title"],
            "cluster": body["cluster"],
            "published_at": at_s,
            "summary": summarise(body["metrics"]),
            "metrics": body["metrics"],
            "anomalies": body.get("anomalies", []),
        }
        if len(self._published) >= self.keep:
            del self._published[next(iter(self._published))]
        self._published[report["report"]] = report
        return report

    def find(self, report: str) -> Mapping[str, Any] | None:
        return self._published.get(report)


def summarise(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, float]]:
    """`{"cpu": {"avg": …}, …}` for the lines whose metric the report holds."""
    averages = {metric["name"]: metric["avg"] for metric in metrics}
    return {line: {"avg": averages[name]} for line, name in _SUMMARY_LINES.items() if name in averages}
