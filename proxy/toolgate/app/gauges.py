"""What is measured of a running gate: how full, how ready, how far behind it is.

RULE: a gauge is asked when it is scraped; nothing here counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from toolgate import ledger as ledgers
from toolgate.app.parts import Parts
from toolgate.app.serving import Serving
from toolgate.listeners.calls import Places
from toolgate.listeners.health import Health
from toolgate.metrics import Metrics
from toolgate.release import installed_version

_LOOK_S: Final = 0.2


def measure(parts: Parts, serving: Serving, health: Health, places: Places) -> None:
    """Have the metrics ask what they show."""
    metrics, bundle = parts.metrics, serving.bundle
    metrics.serving(bundle.revision, bundle.environment, installed_version())
    metrics.catalogues = serving.lookout.readings
    metrics.freezes = parts.ledger.freezes
    _of_calls(metrics, health, places)
    _of_bundle(metrics, serving)
    _of_ledger(metrics, parts)


def watch_budgets(parts: Parts, serving: Serving) -> Coroutine[Any, Any, None]:
    """Look how budgets stand until cancelled; begin by saying what is frozen from before."""
    for key, freeze in parts.ledger.freezes().items():
        parts.log.warning("still_frozen", what=key, who=freeze.who, why=freeze.why)
    return parts.metrics.tally.watch(lambda: serving.bundle.budgets, parts.ledger.balances, parts.clock.now_ms)


async def watch_store(parts: Parts) -> None:
    """Tell when the shared store is lost, and why, and when it is back, until cancelled."""
    ledger, log = parts.ledger, parts.log
    told: str | None = None
    while not isinstance(ledger, ledgers.QueuedLedger):
        why = ledger.ready()
        if why is not None and why != told:
            log.error("store_lost", why=why)
        elif why is None and told is not None:
            log.info("store_back")
        told = why
        await asyncio.sleep(_LOOK_S)


def _of_calls(metrics: Metrics, health: Health, places: Places) -> None:
    metrics.gauge("toolgate_in_flight", "Calls worked on now.", lambda: places.taken)
    metrics.gauge("toolgate_waiting", "Calls waiting for their turn.", lambda: places.waiting)
    metrics.gauge("toolgate_ready", "1 while calls are taken.", lambda: float(health.reason() is None))


def _of_bundle(metrics: Metrics, serving: Serving) -> None:
    metrics.gauge(
        "toolgate_mode_audit",
        "1 while policies are not enforced (`mode: audit`).",
        lambda: float(serving.bundle.mode == "audit"),
    )
    metrics.gauge(
        "toolgate_bundle_stale",
        "1 while the files hold a bundle that was refused and the last good one serves.",
        lambda: float(serving.last_error is not None),
    )


def _of_ledger(metrics: Metrics, parts: Parts) -> None:
    ledger = parts.ledger
    metrics.gauge(
        "toolgate_clock_offset_seconds",
        "How far the machine's clock is ahead of the gate's, which never jumps.",
        lambda: parts.clock.offset_ms() / 1000,
    )
    metrics.gauge("toolgate_journal_queue", "Events waiting to be written.", lambda: ledger.depth)
    metrics.counter("toolgate_journal_events", "Events written to the journal.", lambda: ledger.written)
    if not isinstance(ledger, ledgers.QueuedLedger):
        metrics.gauge("toolgate_store_up", "1 while the shared store can be used.", lambda: float(ledger.is_shared))
        metrics.gauge(
            "toolgate_store_backlog", "What the shared store is still to be told, or to answer.", lambda: ledger.backlog
        )
        metrics.gauge(
            "toolgate_store_answer_seconds",
            "How long the shared store took for its last answer.",
            lambda: ledger.answer_s,
        )
