"""What the steps of a proposed plan cost together, against what their budgets have left.

RULE: each step once, with what is known of it beforehand: too little rather than too much. What it costs in truth is
charged when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.amounts import COUNTED, text_of
from toolgate.core.budget import BYTES, CALLS, Budget
from toolgate.core.course import amount_in
from toolgate.core.model import Charge, Json, Violation
from toolgate.core.proposal import Draft, Proposal
from toolgate.core.scope import Subject, encoded
from toolgate.core.suggest import near
from toolgate.core.wiretext import pointer

if TYPE_CHECKING:
    from toolgate.core.cost import Cost

_NEW: Final = "new"  # stands for the id of a plan that has none yet: nothing was taken for it


class _Sum(NamedTuple):
    budget: Budget
    charge: Charge
    total: int


def written(dimension: str, amount: Json) -> str:
    """An amount of a step's budget as it is kept: decimal text with no more zeros than it needs."""
    known = amount_in(dimension, str(amount))
    return str(amount) if known is None else text_of(dimension, known)


def unaffordable(proposal: Proposal) -> Iterator[Violation]:
    """Steps whose own budget cannot hold one attempt, and budgets that cannot hold all of them."""
    for draft in proposal.graph.drafts:
        for dimension, amount in draft.document.get("budget", {}).items():
            yield from _wrong_budget(draft, dimension, str(amount))
    if proposal.bundle.mode == "enforce":
        yield from _exceeded(proposal)


def _wrong_budget(draft: Draft, dimension: str, amount: str) -> Iterator[Violation]:
    path, operation = pointer(draft.place("budget"), dimension), draft.operation
    given = amount_in(dimension, amount)
    if operation is None:
        return
    known = (*operation.cost, BYTES)
    if dimension == CALLS:
        hint = "Write `attempts` instead."
        yield Violation(path, "budget", "calls of a step are its attempts", code="plan.budget", hint=hint)
    elif dimension not in known:
        meant = near(dimension, known, 1)
        aid = f"; did you mean `{meant[0]}`?" if meant else ""
        message = f"`{operation.key}` costs no `{dimension}`{aid}"
        yield Violation(
            path, "budget", message, list(known), meant[0] if meant else None, "plan.budget", "Leave it out."
        )
    elif given is None:
        message = "must be an amount with at most six digits after the point, such as `0.05`"
        yield Violation(path, "budget", message, code="plan.budget", hint="Write the amount out, or leave it out.")
    elif (takes := _held(draft, dimension)) > given:
        message = (
            f"one attempt takes {text_of(dimension, takes)} {dimension}, and the step has {text_of(dimension, given)}"
        )
        hint = f"Write {text_of(dimension, takes)} or more, or leave it out."
        yield Violation(path, "budget", message, text_of(dimension, takes), code="budget.exhausted", hint=hint)


def _exceeded(proposal: Proposal) -> Iterator[Violation]:
    budgets, now = proposal.bundle.budgets, proposal.now
    sums: dict[str, _Sum] = {}
    told: set[str] = set()
    for draft in proposal.graph.drafts:
        if draft.operation is None or _is_paid(draft, proposal):
            continue
        subject = _subject(draft, proposal)
        for each in budgets.covering(draft.operation).charges:
            charge = each.charge(_held(draft, each.budget.dimension), subject, now.at_ms)
            key = charge.key
            before = sums.get(key)
            now_so_far = sums[key] = _Sum(each.budget, charge, charge.amount + (before.total if before else 0))
            left = max(charge.given - now.facts.levels.taken(charge), 0)
            if now_so_far.total > left and key not in told:
                told.add(key)
                yield _too_dear(draft, now_so_far, left)


def _too_dear(draft: Draft, so_far: _Sum, left: int) -> Violation:
    budget, dimension = so_far.budget, so_far.budget.dimension
    message = (
        f"the steps up to this one take {text_of(dimension, so_far.total)} {dimension}, and the budget `{budget.name}` of "
        f"{budget.spoken} has {text_of(dimension, left)} left"
    )
    hint = "Plan fewer or cheaper steps."
    return Violation(
        f"/steps/{draft.at}", "budget", message, text_of(dimension, left), code="budget.exhausted", hint=hint
    )


def _subject(draft: Draft, proposal: Proposal) -> Subject:
    now, principal = proposal.now, proposal.principal
    plan = now.former.locked.id if now.former else _NEW
    return Subject(
        encoded(now.charged), encoded(principal.id if principal else ""), plan, encoded(f"{plan}/{draft.id}")
    )


def _is_paid(draft: Draft, proposal: Proposal) -> bool:
    former = proposal.now.former
    tried = former.steps.get(draft.id) if former else None
    return tried is not None and tried.state in {"done", "running", "unknown"}


def _held(draft: Draft, dimension: str) -> int:
    """What one attempt takes, as far as the plan says; nothing where only the call will tell."""
    if dimension in COUNTED:
        return 1 if dimension == CALLS else 0
    costs: Mapping[str, Cost] = draft.operation.cost if draft.operation else {}
    cost = costs.get(dimension)
    if cost is None:
        return 0
    is_told = isinstance(cost.hold, int) or draft.is_known(cost.hold.pointer)
    return (cost.held(draft.literals) or 0) if is_told else 0
