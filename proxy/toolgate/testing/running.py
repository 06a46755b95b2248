"""Running a suite: each case decided by the engine that serves, in each of its environments.

RULE: nothing is decided here. A case becomes a call and its facts, and what the engine answers is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.explanation import explain
from toolgate.core.loop import signature_of
from toolgate.core.model import (
    Call,
    Decision,
    Facts,
    LoopFacts,
    Permit,
    Principal,
    Refusal,
    ResourceCatalogue,
    Situation,
)
from toolgate.core.policy import NearMiss
from toolgate.testing.answers import Answers
from toolgate.testing.cases import ANONYMOUS, Case, Suite, runs_in
from toolgate.testing.planned import plan_of
from toolgate.testing.wants import Difference, differences

_CALL_ID: Final = "test"
_NOBODY: Final = Principal(ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Result:
    """How one case ended in one environment."""

    case: Case
    environment: str
    decision: Decision
    differences: tuple[Difference, ...] = ()
    reasons: tuple[str, ...] = ()  # of a failed case: what helps and is not in the decision
    elapsed_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.differences


@dataclass(frozen=True, slots=True)
class Served:
    """A bundle, and the tools that list the resources of each type."""

    bundle: Bundle
    types: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, bundle: Bundle) -> Served:
        listed = [(kind, tool) for tool, catalogues in bundle.resources.items() for kind in catalogues]
        found: dict[str, frozenset[str]] = {}
        for kind, tool in (*listed, *((each.type, each.tool) for each in bundle.live)):
            found[kind] = found.get(kind, frozenset()) | {tool}
        return cls(bundle, found)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where cases are decided: what each environment serves, the run's own one, and who calls without a token."""

    served: Mapping[str, Served]
    environment: str
    anonymous: Principal | None  # None: nobody is served without one

    def serving(self, case: Case) -> tuple[str, ...]:
        """Return the environments a case is decided in here."""
        return tuple(name for name in runs_in(case, self.environment, tuple(self.served)) if name in self.served)


def run(suite: Suite, setting: Setting, clock: Callable[[], float]) -> Iterator[Result]:
    """Decide every case in each of its environments, in the order of the suite."""
    for case in suite.cases:
        for environment in setting.serving(case):
            yield _result(case, setting.served[environment], setting.anonymous, clock)


def decide(case: Case, bundle: Bundle, anonymous: Principal) -> Decision:
    """Decide one case as the gate of this bundle would, given what the case says is known."""
    return decide_served(case, Served.of(bundle), anonymous)


def decide_served(case: Case, served: Served, anonymous: Principal | None) -> Decision:
    """As `decide`, by a bundle that was looked through already: for suites."""
    call, facts, bundle = _call(case, anonymous), _facts(case, served), served.bundle
    plan = plan_of(case, call, facts, bundle)
    if isinstance(plan, Refusal):
        return plan
    facts = facts._replace(plan=plan)
    decision = _decided(call, facts, bundle)
    asking = decision.opens if isinstance(decision, Refusal) else None
    if asking is not None and case.answer is not None:
        facts = facts._replace(approvals=Answers(asking, case.answer))
        decision = _decided(call, facts, bundle)
    if isinstance(decision, Permit):
        return decision
    before = facts._replace(loops=LoopFacts(signature_of(decision), case.repeats))
    return engine.consequence(call, decision, before, bundle).refusal


def _decided(call: Call, facts: Facts, bundle: Bundle) -> Decision:
    checked = engine.check(call, facts, bundle)
    return checked if isinstance(checked, Refusal) else engine.decide(checked, facts, bundle)


def _result(case: Case, served: Served, anonymous: Principal | None, clock: Callable[[], float]) -> Result:
    started = clock()
    decision = decide_served(case, served, anonymous)
    elapsed_s = clock() - started
    missed = differences(case.want, decision)
    if not missed:
        return Result(case, served.bundle.environment, decision, elapsed_s=elapsed_s)
    why = tuple(_reasons(case, served, anonymous, decision))
    return Result(case, served.bundle.environment, decision, missed, why, elapsed_s)


def _reasons(case: Case, served: Served, anonymous: Principal | None, decision: Decision) -> Iterator[str]:
    """What helps with a case that failed and is not in the decision itself."""
    match code_of(decision):
        case "policy.not_allowed":
            explained = explain(_call(case, anonymous), _facts(case, served), served.bundle)
            yield from (_near_told(miss) for stage in explained.stages for miss in stage.near_misses)
        case "plan.required" if case.plan is None:
            yield "it is called as a step of a plan only: give the case the run's plan, or `{}` for one of this call alone, under `facts.plan`"
        case "environment.not_ready":
            for each in served.bundle.live:
                if each.type not in case.resources:
                    yield f"the resources of type `{each.type}` are listed live: give the case its own under `resources:`"
        case _:
            pass


def _near_told(miss: NearMiss) -> str:
    hint = f"; {miss.hint}" if miss.hint else ""
    return f"nearly: `{miss.statement}` would permit it, but for `{miss.condition}`{hint}"


def _call(case: Case, anonymous: Principal | None) -> Call:
    principal = case.principal or anonymous or _NOBODY
    return Call(_CALL_ID, case.at_ms, principal, case.asked, plan=case.said.plan, step=case.said.step)


def _facts(case: Case, served: Served) -> Facts:
    """What a case says is known; the resources it gives stand for every catalogue of their type."""
    catalogues: dict[str, dict[str, ResourceCatalogue]] = {}
    for kind, listed in case.resources.items():
        for tool in served.types.get(kind, ()):
            catalogues.setdefault(tool, {})[kind] = ResourceCatalogue(kind, listed, case.at_ms)
    return Facts(case.levels, case.run, Situation(catalogues, case.unready), case.freezes)


def statements_of(decision: Decision) -> tuple[str, ...]:
    """Return the statements that took part: those that decided, and those that audit would have listened to."""
    shadow = decision.shadow.statements if decision.shadow else ()
    return (*decision.statements, *shadow)


def code_of(decision: Decision) -> str:
    """Return the refusal's code, or `permit`."""
    return decision.code.code if isinstance(decision, Refusal) else "permit"


def operation_of(decision: Decision) -> str | None:
    """Return the operation a call turned out to be, if any."""
    operation = decision.valid.operation if isinstance(decision, Permit) else decision.operation
    return operation.key if operation else None
