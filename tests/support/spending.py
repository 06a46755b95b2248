"""Calls that cost something, for tests of budgets: operations, bundles and calls made without files, and a ledger in ten lines.

RULE: `Accounts` takes guards and settles them as simply as it can be written; real ledgers are held against the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toolgate.core import engine
from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle, Mode
from toolgate.core.catalog import Catalog, Operation
from toolgate.core.cost import Cost
from toolgate.core.expressions import parse_expression
from toolgate.core.guards import first_short, next_arrival_us
from toolgate.core.limit import Concurrency, Limit, Rate
from toolgate.core.loop import NO_LOOPS, Loops
from toolgate.core.model import (
    Call,
    Charge,
    Facts,
    Guard,
    Known,
    Named,
    OpenedRun,
    Pace,
    Permit,
    Place,
    Principal,
    Refusal,
    RunFacts,
    Settlement,
    Short,
    UpstreamRequest,
    ValidCall,
)
from toolgate.core.policies import Policies

from .statements import operation, statements

ANN = Principal("ann", ("digest",))
NOW_MS = 1_795_334_400_000  # 2026-11-22T08:00:00Z
PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'


def costing(key: str, effect: str = "read", **costs: Any) -> Operation:
    """An operation with costs: micro-units, `$args…`, or a pair of what is held and `$response…`."""
    return replace(operation(key, effect), cost={name: _cost(cost) for name, cost in costs.items()})


def _cost(written: Any) -> Cost:
    if isinstance(written, tuple):
        return Cost(_cost(written[0]).hold, parse_expression(written[1]))
    return Cost(written if isinstance(written, int) else parse_expression(written))


def bundle(
    operations: Sequence[Operation],
    *budgets: Budget,
    limits: Sequence[Limit] = (),
    loops: Loops = NO_LOOPS,
    mode: Mode = "enforce",
    policy: str = PERMIT_ALL,
) -> Bundle:
    return Bundle(
        revision="sha256:0",
        environment="prod",
        environments=("prod",),
        catalog=Catalog(operations),
        tools={},
        mode=mode,
        policies=Policies(statements(policy), len(operations)),
        budgets=Budgets(budgets, tuple(limits), loops, "prod"),
    )


def call(
    of: Operation,
    arguments: Mapping[str, Any] | None = None,
    *,
    principal: Principal = ANN,
    at_ms: int = NOW_MS,
    run: OpenedRun | None = None,
    body: bytes | None = None,
) -> ValidCall:
    given = arguments or {}
    asked = Call("01CALL", at_ms, principal, Named(of.key, given), run=run)
    return ValidCall(asked, of, given, UpstreamRequest("POST", "/x", (), body))


@dataclass
class Accounts:
    """What is taken, by key; `overrun` is what was not left for a bill. Implements `core.model.Levels`."""

    balances: Counter[str] = field(default_factory=Counter)
    overrun: Counter[str] = field(default_factory=Counter)
    arrivals_us: dict[str, int] = field(default_factory=dict)
    places: Counter[str] = field(default_factory=Counter)
    buckets: Counter[tuple[str, int]] = field(default_factory=Counter)

    def taken(self, charge: Charge) -> int:
        if charge.rolling is None:
            return self.balances[charge.key]
        first = charge.rolling.bucket - charge.rolling.buckets
        return sum(self.buckets[charge.key, bucket] for bucket in range(first + 1, charge.rolling.bucket + 1))

    def arrival_us(self, pace: Pace) -> int:
        return self.arrivals_us.get(pace.key, 0)

    def held(self, place: Place) -> int:
        return self.places[place.key]

    def take(self, guards: Sequence[Guard], at_ms: int) -> Short | None:
        short = first_short(guards, self, at_ms)
        for guard in () if short else guards:
            match guard:
                case Charge():
                    self._add(guard, guard.amount)
                case Pace():
                    self.arrivals_us[guard.key] = next_arrival_us(guard, self.arrival_us(guard), at_ms)
                case Place():
                    self.places[guard.key] += 1
        return short

    def settle(self, settlement: Settlement) -> None:
        for charge in settlement.refunds:
            self._add(charge, -charge.amount)
        for charge in settlement.extra:
            more = min(charge.amount, max(charge.given - self.taken(charge), 0))
            self._add(charge, more)
            self.overrun[charge.key] += charge.amount - more
        for place in settlement.places:
            self.places[place.key] -= 1

    def _add(self, charge: Charge, amount: int) -> None:
        if charge.rolling is None:
            self.balances[charge.key] += amount
        else:
            self.buckets[charge.key, charge.rolling.bucket] += amount


# What most of it is tried with, and by how much.
QUERY = costing("metrics.query", usd=2_000)
FREE = costing("metrics.list")
WRITE = costing("reports.publish", "write")
THINK = costing(
    "model.think", tokens=("$args.most", "$response.body#/usage/*"), usd=(50_000, "$response.header.X-Cost")
)
RUN = RunFacts("run_1", started_ms=NOW_MS - 60_000)
CALLS = Budget("run-calls", ("run",), "calls", 50)
SPEND = Budget("run-spend", ("run",), "usd", 500_000)
BURST = Limit("burst", ("principal", "tool"), Rate(100_000, 20, "10/s"))
FLIGHT = Limit("in-flight", ("run",), Concurrency(4))


def facts(run: RunFacts = RUN, *, calls: int = 0, spent: int = 0) -> Facts:
    return Facts(Known({"b:run-calls:calls:run_1": calls, "b:run-spend:usd:run_1": spent}), run)


def decided(valid: ValidCall, by: Bundle, told: Facts | None = None) -> Permit | Refusal:
    return engine.decide(valid, facts() if told is None else told, by)


def permitted(valid: ValidCall, by: Bundle) -> Permit:
    decision = decided(valid, by)
    assert isinstance(decision, Permit)
    return decision


def refused(valid: ValidCall, by: Bundle, told: Facts) -> Refusal:
    decision = engine.decide(valid, told, by)
    assert isinstance(decision, Refusal)
    return decision
