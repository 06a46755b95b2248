"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.listeners.served import Served
from tests.wire.door import FakeLog

from toolgate.core.model import Event
from toolgate.metrics import Metrics
from toolgate.situation import Reading


def series(text: bytes) -> dict[str, float]:
    """Every sample by its name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_calls_are_counted_by_registered_names(served: Served) -> None:
    """Tool, operation, outcome, environment; a histogram of all and of the upstream's share."""
    await served.ask("GET", "/shop/items/a")
    await served.ask("DELETE", "/shop/items/a")
    told = await served.ask("GET", "/metrics", door="health")
    assert told.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    counted = series(told.body)
    labels = "[('environment', 'prod'), ('operation', 'shop.getItem'), ('outcome', 'completed'), ('tool', 'shop')]"
    assert counted[f"toolgate_calls_total{labels}"] == 1
    assert counted["toolgate_call_seconds_count[]"] == 2
    assert counted["toolgate_upstream_seconds_count[]"] == 1
    assert (
        counted[
            f"toolgate_bundle_info{[('environment', 'prod'), ('revision', served.gateway.bundle.revision), ('version', '9')]}"
        ]
        == 1
    )


async def test_random_paths_grow_no_series(served: Served) -> None:
    """O10, H10: whatever is asked for, the number of series stays."""
    await served.ask("GET", "/nope/x")
    await served.ask("POST", "/-/call", json={"operation": "nope"})
    before = set(series((await served.ask("GET", "/metrics", door="health")).body))
    for at in range(50):
        await served.ask("GET", f"/tool{at}/x{at}")
        await served.ask("POST", "/-/call", json={"operation": f'x"}} {at}\nfake_metric{{a="'})
    after = set(series((await served.ask("GET", "/metrics", door="health")).body))
    assert after == before


def test_a_defect_is_told_without_its_values() -> None:
    """The operator learns what kind and where; what the exception says may hold a secret."""
    log = FakeLog()
    metrics = Metrics(log)
    metrics.defect("deciding", ValueError("s3cret"))
    assert series(metrics.exposition())["toolgate_defects_total[]"] == 1
    ((event, data),) = log.lines
    assert (event, data["error"], "s3cret" in str(data)) == ("defect_met", "ValueError", False)


def test_what_people_are_told_is_counted() -> None:
    """Runs that were stopped by their code; what is asked of people, and each answer."""
    metrics = Metrics(FakeLog())
    for kind in ("RunStopped", "ApprovalRequested", "ApprovalRequested", "ApprovalDeclined", "KillSwitch"):
        metrics.told(Event(kind, 0, {"code": "loop.repeated_refusal"}))
    lines = metrics.exposition().decode().splitlines()

    assert 'toolgate_runs_stopped_total{code="loop.repeated_refusal"} 1.0' in lines
    assert [line for line in lines if line.startswith("toolgate_approvals_total")] == [
        'toolgate_approvals_total{event="declined"} 1.0',
        'toolgate_approvals_total{event="requested"} 2.0',
    ]


def test_live_catalogues_are_counted_by_tool_and_type() -> None:
    """Size, age and results; one that was never read has no age, so that no alert takes it for fresh."""
    metrics = Metrics(FakeLog())
    results = {"changed": 1, "unchanged": 4, "failed": 2}
    metrics.catalogues = lambda: (
        Reading("shop", "Item", 3, 1.5, results),
        Reading("shop", "Order", 0, None, {"failed": 7}),
    )
    counted = series(metrics.exposition())
    item, order = "[('tool', 'shop'), ('type', 'Item')]", "[('tool', 'shop'), ('type', 'Order')]"
    assert counted[f"toolgate_catalogue_resources{item}"] == 3
    assert counted[f"toolgate_catalogue_age_seconds{item}"] == 1.5
    assert f"toolgate_catalogue_age_seconds{order}" not in counted
    failed = "[('result', 'failed'), ('tool', 'shop'), ('type', 'Order')]"
    assert counted[f"toolgate_catalogue_readings_total{failed}"] == 7


def test_buckets_cumulate() -> None:
    """Each bucket counts everything up to its bound."""
    metrics = Metrics(FakeLog())
    for seconds in (0.0001, 0.003, 0.003, 99.0):
        metrics.ended("a.b", "completed", seconds)
    counted = series(metrics.exposition())
    assert counted["toolgate_call_seconds_bucket[('le', '0.0005')]"] == 1
    assert counted["toolgate_call_seconds_bucket[('le', '0.005')]"] == 3
    assert counted["toolgate_call_seconds_bucket[('le', '+Inf')]"] == 4
