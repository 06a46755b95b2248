"""The worked example's gate in this process, and what its APIs answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from toolgate.testing import Gate, Plan, read_plan

ROOT = Path(__file__).parents[2]
CRITICAL = {
    "node_cpu": 31.5,
    "node_cpu_throttle_time_seconds": 0.0,
    "node_memory_available_bytes": 2.0e9,
    "node_filesystem_available_bytes": 8.0e10,
}
SERIES = [{"at": 1.0 * at, "value": 30 + at % 3} for at in range(20)]


def queried(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `queryCluster` answers."""
    metric = arguments["body"]["metric"]
    aggregate = {"kind": "avg", "value": CRITICAL[metric]}
    return {"cluster": "eu-1", "metric": metric, "unit": "percent", "aggregate": aggregate, "series": SERIES}


def detected(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `detect` answers: it finds the last value odd, and bills for each."""
    series = arguments["body"]["series"]
    found = [{"at": series[-1]["at"], "value": series[-1]["value"], "score": 4.5}]
    figures = {"median": 31, "deviation": 1, "threshold": 3.5}
    return {"checked": len(series), **figures, "anomalies": found, "usage": {"usd": 0.00001 * len(series)}}


def published(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What `publish` answers: the digest with the summary that was worked out."""
    body = arguments["body"]
    summary = {"cpu": {"avg": body["metrics"][0]["avg"]}}
    return {"report": "r1", "published_at": 1.0, "summary": summary, "anomalies": [], **body}


@pytest.fixture
def plan() -> Plan:
    return read_plan(ROOT / "examples" / "weekly_digest.json")


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    async with Gate.open(ROOT / "toolgate.yaml") as opened:
        opened.lists("Metric", {name: {"tier": "critical"} for name in CRITICAL} | {"node_load1": {"tier": "standard"}})
        opened.apis.answers("metrics.queryCluster", queried)
        opened.apis.answers("anomaly.detect", detected)
        opened.apis.answers("reports.publish", published, status=201)
        yield opened
