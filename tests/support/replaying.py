"""A decision made again from its journal line and its bundle: what `Decided` promises to hold (DESIGN §1, INV3).

RULE: everything comes from the line. What it does not tell of was not read, and is taken to be nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.guards import US_PER_MS
from toolgate.core.loop import DENIED_ATTEMPTS, TOGETHER_MS
from toolgate.core.model import (
    Asked,
    Call,
    Charge,
    Decision,
    Facts,
    Freeze,
    LoopFacts,
    Named,
    OpenedRun,
    Pace,
    Permit,
    Place,
    Principal,
    Refusal,
    ResourceCatalogue,
    RunFacts,
    Situation,
    Wire,
)


@dataclass(frozen=True)
class ToldLevels:
    """What a line says was left. Implements `core.model.Levels`."""

    balances: Mapping[str, int]  # by key, what was taken
    left: Mapping[str, int]
    wait_s: Mapping[str, float]
    attempts: int
    at_ms: int

    def taken(self, charge: Charge) -> int:
        if charge.key.startswith(f"l:{DENIED_ATTEMPTS}:"):
            return max(self.attempts - charge.amount, 0)
        known = self.balances.get(charge.key)
        return charge.given - self.left.get(charge.key, charge.given) if known is None else known

    def arrival_us(self, pace: Pace) -> int:
        wait_us = round(self.wait_s.get(pace.key, 0) * 1_000_000)
        return self.at_ms * US_PER_MS + wait_us + (pace.burst - 1) * pace.every_us if wait_us else 0

    def held(self, place: Place) -> int:
        return place.given - self.left.get(place.key, place.given)


def said(decision: Decision) -> dict[str, Any]:
    """What a decision says, in the words of the journal."""
    told: dict[str, Any] = {"decision": "permit" if isinstance(decision, Permit) else "refuse"}
    told["statements"] = list(decision.statements)
    if isinstance(decision, Refusal):
        told |= {"code": decision.code.code, "stage": decision.stage, "detail": decision.detail}
        told["hint"] = decision.recovery.hint
    if decision.shadow is not None:
        would = decision.shadow
        told["would"] = {"decision": would.decision, "code": would.code, "statements": list(would.statements)}
    return told


def again(decided: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
    """Decide once more from the line."""
    call, facts = call_of(decided), facts_of(decided, bundle)
    checked = engine.check(call, facts, bundle)
    decision = checked if isinstance(checked, Refusal) else engine.decide(checked, facts, bundle)
    if isinstance(decision, Permit):
        return said(decision)
    counted = engine.consequence(call, decision, facts, bundle)
    told = said(counted.refusal)
    return told | {"signature": counted.signature} if counted.signature else told


def call_of(decided: Mapping[str, Any]) -> Call:
    principal = Principal(
        decided["principal"],
        tuple(decided["roles"]),
        decided.get("facts", {}).get("claims", {}),
        decided.get("on_behalf_of"),
    )
    run = OpenedRun(decided["run"], 0, tuple(decided["above"])) if "above" in decided else None
    return Call(decided["call"], decided["at_ms"], principal, asked_of(decided), run=run)


def asked_of(decided: Mapping[str, Any]) -> Asked:
    if "asked" in decided:
        return Named(decided["asked"]["operation"], decided["asked"].get("arguments", {}))
    if "arguments" in decided:
        return Named(decided["operation"], decided["arguments"])
    return Wire(decided["method"], decided["path"], decided.get("query", ""))


def facts_of(decided: Mapping[str, Any], bundle: Bundle) -> Facts:
    told = decided.get("facts", {})
    freeze = told.get("freeze")
    return Facts(
        levels=levels_of(told, decided["at_ms"]),
        run=run_of(decided),
        situation=situation_of(decided, bundle),
        freezes={freeze["key"]: Freeze("", freeze["why"], 0)} if freeze else {},
        loops=loops_of(decided, told.get("loop")),
        reserved=reserved_of(told.get("short", {})),
    )


def reserved_of(short: Mapping[str, Any]) -> Mapping[str, int]:
    return {short["key"]: short["reserved"]} if "reserved" in short else {}


def loops_of(decided: Mapping[str, Any], loop: Mapping[str, Any] | None) -> LoopFacts:
    if loop is None:
        return LoopFacts()
    return LoopFacts(decided["signature"], loop["repeats"] - 1, decided["at_ms"] - TOGETHER_MS)


def levels_of(told: Mapping[str, Any], at_ms: int) -> ToldLevels:
    taken, attempts, short = told.get("taken", {}), told.get("attempts", 0), told.get("short")
    if short is None:
        return ToldLevels(taken, {}, {}, attempts, at_ms)
    left = {short["key"]: short["left"], **short.get("others", {})}
    return ToldLevels(taken, left, {short["key"]: short.get("wait_s", 0)}, attempts, at_ms)


def run_of(decided: Mapping[str, Any]) -> RunFacts:
    told = decided.get("facts", {})
    read = dict(told.get("run", {}))
    if "completed" in read:
        read["completed"] = frozenset(read["completed"])
    return RunFacts(**read, id=decided["run"], started_ms=told.get("started_ms"), stopped=told.get("stopped"))


def situation_of(decided: Mapping[str, Any], bundle: Bundle) -> Situation:
    """The live resources: those the line tells of; those it names without telling of them exist, unless it says otherwise."""
    if not bundle.live:
        return Situation()
    listed: dict[str, Mapping[str, Any]] = {}
    would = decided.get("would") or {}
    looping = decided.get("facts", {}).get("loop", {}).get("refusal")  # what it would have been told once more
    is_missing = decided.get("stage") == "resources" or "environment.resource_not_found" in {would.get("code"), looping}
    if not is_missing and "s" in decided.get("arguments", {}):
        listed[decided["arguments"]["s"]] = {}
    for each in decided.get("facts", {}).get("resources", ()):
        listed[each["id"]] = each["attributes"]
    return Situation({"t": {"Metric": ResourceCatalogue("Metric", listed, 1)}})
