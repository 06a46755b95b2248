"""What one process is made of, once and in one value: the builders beside this module take it whole.

RULE: nothing here serves anything yet, and nothing here is replaced while the process runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from toolgate.app.people import People
from toolgate.app.state import OpenLedger
from toolgate.auth import Callers
from toolgate.auth.surroundings import Surroundings
from toolgate.clock import Steady
from toolgate.core.ids import Ulids
from toolgate.core.mask import MaskKey
from toolgate.log import Log
from toolgate.metrics import Metrics
from toolgate.settings import Settings
from toolgate.settings.identity import identity_of
from toolgate.upstream import Client


@dataclass(frozen=True, slots=True)
class Parts:
    """What is shared by everything that serves."""

    settings: Settings
    log: Log
    clock: Steady
    ids: Ulids
    metrics: Metrics
    callers: Callers
    ledger: OpenLedger
    upstream: Client
    people: People
    mask_key: Callable[[], MaskKey]  # made, where there is none, when it is first needed


def callers_of(settings: Settings, clock: Steady, log: Log, metrics: Metrics) -> Callers:
    """Who may call, and how that is known."""
    world = Surroundings(time.monotonic, random.random, log, metrics.defect)
    identity = identity_of(settings)
    callers = Callers(identity, world, now_s=lambda: clock.latest_ms() / 1000, counted=metrics.authenticated)
    metrics.key_ages_s = callers.key_ages_s
    return callers
