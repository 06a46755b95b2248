"""A decision told stage by stage: for `toolgate explain`, `POST /-/explain` and `toolgate test` (DESIGN §14).

RULE: the decision is the engine's own; what is told beside it, the policies evaluated one by one, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from toolgate.core.authorization import questions_of
from toolgate.core.bundle import Bundle
from toolgate.core.engine import check, decide
from toolgate.core.environment import resources_of
from toolgate.core.model import Call, Decision, Facts, Permit, Refusal, ValidCall
from toolgate.core.policy import Applied, NearMiss, Question

Result: TypeAlias = Literal["passed", "refused", "not reached"]
STAGES: Final = (
    "frozen", "tool", "environment", "arguments", "resources", "policy", "plan", "approval", "loops", "limits", "budgets",
)  # fmt: skip
_POLICY: Final = STAGES.index("policy")


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the decision, as `explain` shows it."""

    stage: str
    result: Result
    reason: str = ""
    statements: tuple[str, ...] = ()
    applied: tuple[Applied, ...] = ()  # every statement that was evaluated, and whether it holds
    near_misses: tuple[NearMiss, ...] = ()  # permits that would hold but for one condition


@dataclass(frozen=True, slots=True)
class Explanation:
    decision: Decision
    stages: tuple[Stage, ...]


def explain(call: Call, facts: Facts, bundle: Bundle) -> Explanation:
    """Decide, and tell stage by stage; the reasons come out of the evaluation itself."""
    checked = check(call, facts, bundle)
    decision = checked if isinstance(checked, Refusal) else decide(checked, facts, bundle)
    at = len(STAGES) if isinstance(decision, Permit) else STAGES.index(decision.stage)
    stages = [Stage(stage, "passed") for stage in STAGES[:at]]
    if isinstance(decision, Refusal):
        stages.append(Stage(decision.stage, "refused", decision.detail, decision.statements))
        stages += [Stage(stage, "not reached") for stage in STAGES[at + 1 :]]
    else:
        stages[_POLICY] = replace(stages[_POLICY], reason=_would(decision), statements=decision.statements)
    if isinstance(checked, ValidCall) and stages[_POLICY].result != "not reached":
        asked = _questions(_meant(checked, decision), facts, bundle)
        stages[_POLICY] = _looked_into(stages[_POLICY], decision, asked, bundle)
    return Explanation(decision, tuple(stages))


def _meant(valid: ValidCall, decision: Decision) -> ValidCall:
    """The call that is refused, of those one request means."""
    refused = decision.operation if isinstance(decision, Refusal) else None
    return next((other for other in valid.also if other.operation is refused), valid)


def _questions(valid: ValidCall, facts: Facts, bundle: Bundle) -> list[Question]:
    """What the statements were asked; nothing where audit lets a call pass that names what is not there."""
    resources = resources_of(valid, facts, bundle)
    return [] if isinstance(resources, Refusal) else questions_of(valid, resources, facts, bundle)


def _would(permit: Permit) -> str:
    shadow = permit.shadow
    return f"audit: enforced, it would be refused with `{shadow.code}`" if shadow and shadow.code else ""


def _looked_into(stage: Stage, decision: Decision, questions: Iterable[Question], bundle: Bundle) -> Stage:
    """The policy stage with every statement it evaluated, and where none allowed the call, what nearly did."""
    asked = tuple(questions)
    applied = dict.fromkeys(each for question in asked for each in bundle.policies.applied(question))
    if isinstance(decision, Permit) or decision.code.code != "policy.not_allowed":
        return replace(stage, applied=tuple(applied))
    near = dict.fromkeys(each for question in asked for each in bundle.policies.near_misses(question))
    return replace(stage, applied=tuple(applied), near_misses=tuple(near))
