"""Budgets: how much of something a run, a principal or a tool may use, and the answer when it is used up (DESIGN §11).

RULE: a call is charged to every budget that covers it, all or none. What is charged is a guard; nothing is added up here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.amounts import text_of
from toolgate.core.catalog import Operation
from toolgate.core.codes import CODES
from toolgate.core.model import Charge, Facts, Recovery, Refusal, Rolling, Short, ValidCall, Violation
from toolgate.core.scope import Scope, Subject, Template, key_of, template
from toolgate.core.window import RollingWindow, Window, again_s, begins_again, period, written

if TYPE_CHECKING:
    from toolgate.core.plan import Step

CALLS: Final = "calls"
BYTES: Final = "bytes"
SECONDS: Final = "seconds"
STAGE: Final = "budgets"
_WAIT: Final = "Wait until your calls under way have ended, then repeat this one."
_TRY_AGAIN_S: Final = 1.0  # when a reply is there, nobody knows


@dataclass(frozen=True, slots=True)
class Match:
    """Which operations a budget or a limit covers: their keys, where it does not cover all of them."""

    operations: frozenset[str] | None = None

    def covers(self, operation: Operation) -> bool:
        return self.operations is None or operation.key in self.operations


EVERY_CALL: Final = Match()


@dataclass(frozen=True, slots=True)
class Budget:
    """So much of one dimension. `given` is in calls, bytes or seconds as they are, and in micro-units of a cost."""

    name: str
    scope: tuple[Scope, ...]
    dimension: str
    given: int
    window: Window = None
    match: Match = EVERY_CALL

    @property
    def is_of_steps(self) -> bool:
        """Whether it covers only calls that are steps of a plan."""
        return "plan" in self.scope or "step" in self.scope

    @property
    def counts_runs(self) -> bool:
        """Whether its balances say what a run has spent: all of its calls, from its beginning."""
        whose = set(self.scope)
        is_of_a_run = "run" in whose and whose <= {"run", "environment"}
        return is_of_a_run and self.window is None and self.match == EVERY_CALL and self.dimension != SECONDS

    @property
    def spoken(self) -> str:
        """What is given, as a sentence says it: `0.5 usd a day`."""
        return f"{text_of(self.dimension, self.given)} {self.dimension}{written(self.window)}"


class Charging(NamedTuple):
    """A budget with all of its key that is known before a call comes."""

    budget: Budget
    template: Template

    def charge(self, amount: int, subject: Subject, at_ms: int) -> Charge:
        budget, key = self.budget, key_of(self.template, subject)
        rolling: Rolling | None = None
        if isinstance(budget.window, RollingWindow):
            rolling = budget.window.at(at_ms)
        elif budget.window is not None:
            key = f"{key}:{period(budget.window, at_ms)}"
        return Charge(key, amount, budget.given, rolling)


class Uncounted(NamedTuple):
    """The arguments do not say what a call costs."""

    cost: str
    pointer: str  # where they should


def charging(budget: Budget, fixed: Mapping[Scope, str]) -> Charging:
    """`fixed`: the values of scopes that are known already."""
    return Charging(budget, template("b", (budget.name, budget.dimension), budget.scope, fixed))


def is_open(dimension: str, operation: Operation) -> bool:
    """Whether each call says for itself what it takes of a dimension."""
    cost = operation.cost.get(dimension)
    return dimension == BYTES or (cost is not None and not isinstance(cost.hold, int))


def fixed_amount(dimension: str, operation: Operation) -> int:
    """What every call of an operation takes of a dimension that is not open."""
    if dimension == CALLS:
        return 1
    cost = operation.cost.get(dimension)
    return (cost.held({}) or 0) if cost is not None else 0


def amount_of(dimension: str, valid: ValidCall) -> int | Uncounted:
    """What a call takes of a dimension, as far as it is known before it is sent."""
    if not is_open(dimension, valid.operation):
        return fixed_amount(dimension, valid.operation)
    if dimension == BYTES:
        return max(request_bytes(valid), 1)
    cost = valid.operation.cost[dimension]
    held = cost.held(valid.arguments)
    if held is None and not isinstance(cost.hold, int):
        return Uncounted(dimension, cost.hold.pointer)
    return held or 0


def request_bytes(valid: ValidCall) -> int:
    return len(valid.request.body or b"")


def overdue(deadlines: Iterable[Budget], valid: ValidCall, facts: Facts) -> Refusal | None:
    """The first budget in seconds that the run has outlasted."""
    started_ms = facts.run.started_ms
    if started_ms is None:
        return None
    age_ms = valid.call.at_ms - started_ms
    over = next((each for each in deadlines if age_ms >= each.given * 1000), None)
    if over is None:
        return None
    code = CODES["budget.deadline"]
    return Refusal(
        code,
        f"the run is {age_ms // 1000} s old, and the budget `{over.name}` gives it {over.given} s",
        Recovery(code.action, code.hint),
        stage=STAGE,
        operation=valid.operation,
        read={"started_ms": started_ms},
    )


def exhausted(budget: Budget, short: Short, valid: ValidCall, reserved: int, rest: str) -> Refusal:
    """A budget has less left than the call takes.

    `reserved`: of what is taken, what calls under way may give back. `rest`: what else may still be done, as sentences.
    """
    dimension, left = budget.dimension, short.left
    amount = short.guard.amount if isinstance(short.guard, Charge) else 1
    takes = "" if dimension == CALLS else f", and this call takes {text_of(dimension, amount)}"
    has = f"has {text_of(dimension, left)} {dimension} left{takes}" if left else "is used up"
    if reserved and left + reserved >= amount:
        has = f"has {text_of(dimension, left)} {dimension} left while calls under way hold {text_of(dimension, reserved)}{takes}"
        recovery = Recovery("wait", _WAIT, retry_after_s=_TRY_AGAIN_S)
    else:
        recovery = _way_on(budget, short, valid, rest)
    return Refusal(
        CODES["budget.exhausted"],
        f"the budget `{budget.name}` of {budget.spoken} {has}",
        recovery,
        stage=STAGE,
        operation=valid.operation,
    )


def exhausted_step(step: Step, dimension: str, short: Short, valid: ValidCall) -> Refusal:
    """What a plan gives a step has less left than one more attempt takes."""
    code = CODES["budget.exhausted"]
    amount = short.guard.amount if isinstance(short.guard, Charge) else 1
    left, takes = text_of(dimension, short.left), text_of(dimension, amount)
    return Refusal(
        code,
        f"step `{step.id}` has {left} of its {step.budget[dimension]} {dimension} left, and this call takes {takes}",
        Recovery(code.action, code.hint),
        stage=STAGE,
        operation=valid.operation,
    )


def _way_on(budget: Budget, short: Short, valid: ValidCall, rest: str) -> Recovery:
    """Ask for less, where the arguments say how much and something is left; else end, or wait for the next window."""
    code, dimension, at_ms = CODES["budget.exhausted"], budget.dimension, valid.call.at_ms
    place = _asked_at(dimension, valid.operation)
    if short.left and place is not None:
        return Recovery("fix_arguments", f"Ask for at most {text_of(dimension, short.left)} (`{place}`).{rest}")
    again = f" It begins again at {begins_again(budget.window, at_ms)}." if isinstance(budget.window, str) else ""
    return Recovery(code.action, f"{code.hint}{again}{rest}", retry_after_s=again_s(budget.window, at_ms))


def _asked_at(dimension: str, operation: Operation) -> str | None:
    """Where the arguments say what a call takes of a dimension, if they do."""
    cost = operation.cost.get(dimension)
    return None if cost is None or isinstance(cost.hold, int) else cost.hold.pointer


def uncounted(valid: ValidCall, missing: Uncounted) -> Refusal:
    """SECURITY: a cost that the arguments do not say is not free."""
    code, place = CODES["arguments.invalid"], missing.pointer
    message = f"must be a number from 0 up: the {missing.cost} a call costs are counted by it"
    return Refusal(
        code,
        f"`{place}` does not say what the call costs",
        Recovery(code.action, f"Set `{place}` to a number of 0 or more and send the call again."),
        stage=STAGE,
        violations=(Violation(place, "cost", message),),
        operation=valid.operation,
    )
