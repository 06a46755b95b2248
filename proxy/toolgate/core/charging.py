"""The last line of `decide`, and its other half: what a call takes before it is sent, and what is settled after.

RULE: a permit carries its guards; what does not hold is told in one way, whoever finds it, the decision or the ledger.
INVARIANT: bill = charged + overrun. Only what was surely not sent is given back whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core import cost
from toolgate.core.amounts import COUNTED, text_of
from toolgate.core.approving import used_meanwhile
from toolgate.core.budget import BYTES, Uncounted, exhausted, overdue, request_bytes, uncounted
from toolgate.core.cost import NO_BILL, Bill
from toolgate.core.cursor import spent
from toolgate.core.guards import first_short, left
from toolgate.core.lasting import NOTHING_LASTING, lasting_in
from toolgate.core.limit import too_often
from toolgate.core.loop import repeated
from toolgate.core.model import (
    OWN,
    Charge,
    Facts,
    Guard,
    Json,
    Pace,
    Permit,
    Refusal,
    Reply,
    Sent,
    Settlement,
    Short,
    Taking,
    ValidCall,
    new,
)
from toolgate.core.review import USES
from toolgate.core.scope import parse_key, subject_of

if TYPE_CHECKING:
    from toolgate.core.budget import Budget
    from toolgate.core.budgets import Budgets
    from toolgate.core.bundle import Bundle

_SHOWN: Final = 3  # other balances a hint names
_UNBOUNDED: Final = 1 << 60  # given where nothing is enforced: everything is counted, nothing is refused


class _Other(NamedTuple):
    """Another budget of the same call, and what is left of it."""

    budget: Budget
    key: str
    left: int


def claimed(permit: Permit, facts: Facts, bundle: Bundle) -> Permit | Refusal:
    """The permit with everything it takes; whether that holds is still to be asked."""
    valid, budgets = permit.valid, bundle.budgets
    if (budgets.bounds_nothing and not permit.guards) or valid.call.principal is OWN:
        return permit
    step = permit.step if budgets.tells_steps else None
    claim = budgets.claim(valid, subject_of(valid.call, facts.run.id, step))
    if isinstance(claim, Uncounted):
        return uncounted(valid, claim)._replace(read=permit.read)
    counted, lasting = claim
    guards = permit.guards + counted  # those of its step and its approval come first, as they do in `decide`
    _, _, statements, shadow, read, step_taken, approval, asks, _ = permit
    charged = new(Permit, (valid, guards, statements, shadow, read, step_taken, approval, asks, lasting))
    if not budgets.has_deadlines:
        return charged
    late = overdue(_deadlines(valid, budgets), valid, facts)
    return charged if late is None else _late(charged, late, facts, bundle)


def held(permit: Permit, facts: Facts, bundle: Bundle) -> Permit | Refusal:
    """The permit, or the first of loops, limits and budgets that does not cover it."""
    short = first_short(permit.guards, facts.levels, permit.valid.call.at_ms)
    return permit if short is None else shortage(permit, short, facts, bundle)


def shortage(permit: Permit, short: Short, facts: Facts, bundle: Bundle) -> Refusal:
    """What is told when a guard did not hold, in the decision or when it was to be taken."""
    valid, budgets, guard = permit.valid, bundle.budgets, short.guard
    budget, limit = budgets.budget_of(guard), budgets.limit_of(guard)
    others: list[_Other] = []
    read = {**(permit.read or {})}
    if guard.key.startswith(USES):
        refusal = used_meanwhile(permit)
    elif guard.key.startswith(("p:", "s:")):
        refusal = spent(permit, short, facts, bundle)
        read |= refusal.read or {}
    elif budget is not None:
        others = list(islice(_others(permit, short, facts, bundle), _SHOWN))
        reserved = facts.reserved.get(guard.key, 0)
        refusal = exhausted(budget, short, valid, reserved, _still_possible(budget, others))
    elif limit is not None:
        refusal = too_often(limit, short, valid)
    else:
        refusal = repeated(valid, budgets.loops)
    return refusal._replace(read={**read, "short": _short_json(short, facts, others)})


def uncontrolled(valid: ValidCall, facts: Facts, bundle: Bundle, step: Taking | None) -> tuple[Guard, ...]:
    """What a call takes where nothing is enforced: all of it is counted, and nothing refuses it."""
    guards = bundle.budgets.guards(valid, subject_of(valid.call, facts.run.id, step))
    if isinstance(guards, Uncounted):
        return ()
    return tuple(guard._replace(given=_UNBOUNDED) for guard in guards if not isinstance(guard, Pace))


def billed(permit: Permit, sent: Sent, reply: Reply | None, heard: Mapping[str, int] | None = None) -> Bill:
    """What a finished call cost, as its reply says it; `heard` of a stream of events is what they said.

    `reply`: as far as there is one. Of another stream nothing is known.
    """
    terms = permit.valid.operation.terms
    if sent == "no" or not terms.is_settled:
        return NO_BILL
    return cost.billed(terms, terms.held(permit.valid.arguments), reply, heard)


def settlement(permit: Permit, sent: Sent, bill: Bill, size: int) -> Settlement:
    """What a finished call gives back or takes more of. `size`: the bytes of its reply that went out."""
    valid, guards = permit.valid, permit.guards
    lasting = (permit.lasting or lasting_in(permit)) if guards else NOTHING_LASTING
    places, of_bytes, terms = lasting.places, lasting.of_bytes, valid.operation.terms
    if permit.step is not None and permit.step.of_bytes:
        of_bytes = (*permit.step.of_bytes, *of_bytes)
    if sent == "no":
        return Settlement(_charges(guards), (), places)
    amounts = bill.amounts
    held = terms.held(valid.arguments) if terms.fixed is None else terms.fixed
    if not amounts and not of_bytes:
        return new(Settlement, ((), (), places, held))
    charges = _charges(guards) if amounts else of_bytes
    refunds, extra = _differences(charges, {**amounts, BYTES: request_bytes(valid) + size})
    return Settlement(refunds, extra, places, {**held, **amounts})


def _charges(guards: Iterable[Guard]) -> tuple[Charge, ...]:
    return tuple([guard for guard in guards if isinstance(guard, Charge)])


def _late(permit: Permit, late: Refusal, facts: Facts, bundle: Bundle) -> Refusal:
    """What a run is told that has outlasted its time; of a loop it hears first."""
    short = first_short(permit.guards, facts.levels, permit.valid.call.at_ms)
    if short is not None and _is_loop(short.guard):
        return shortage(permit, short, facts, bundle)
    return late._replace(read={**(permit.read or {}), **(late.read or {})})


def _differences(charges: Iterable[Charge], actual: Mapping[str, int]) -> tuple[tuple[Charge, ...], tuple[Charge, ...]]:
    """What is given back of each, and what is taken more."""
    refunds, extra = [], []
    for charge in charges:
        over = actual.get(_dimension_of(charge) or "", charge.amount) - charge.amount
        if over < 0:
            refunds.append(charge._replace(amount=-over))
        elif over > 0:
            extra.append(charge._replace(amount=over))
    return tuple(refunds), tuple(extra)


def reads_reply(permit: Permit) -> bool:
    """Whether the body of the reply says what the call cost, or what later steps go by, so that it must be held whole."""
    if permit.valid.operation.terms.reads_body:
        return True
    wanted = permit.step.outputs if permit.step is not None else None
    return wanted is not None and bool(wanted.of_body)


def _deadlines(valid: ValidCall, budgets: Budgets) -> list[Budget]:
    return [each for call in (valid, *valid.also) for each in budgets.covering(call.operation).deadlines]


def _is_loop(guard: Guard) -> bool:
    return guard.key.startswith("l:")


def _dimension_of(charge: Charge) -> str | None:
    parts = parse_key(charge.key)
    return parts.dimension if parts is not None else None


def _short_json(short: Short, facts: Facts, others: Sequence[_Other]) -> dict[str, Json]:
    """What the decision read: enough to decide it again, and to tell it in the same words."""
    guard = short.guard
    told: dict[str, Json] = {"key": guard.key, "left": short.left}
    if short.retry_after_s is not None:
        told["wait_s"] = short.retry_after_s
    if guard.key in facts.reserved:
        told["reserved"] = facts.reserved[guard.key]
    if not isinstance(guard, Pace):
        told["given"] = guard.given
    if others:
        told["others"] = {other.key: other.left for other in others}
    return told


def _still_possible(budget: Budget, others: Iterable[_Other]) -> str:
    """What an agent may still do, as sentences after a hint."""
    free = _unaffected(budget)
    left = ", ".join(f"{text_of(of.dimension, amount)} of {of.spoken} (`{of.name}`)" for of, _, amount in others)
    return f"{free} Still left: {left}." if left else free


def _unaffected(budget: Budget) -> str:
    """What the budget does not cover."""
    covered = budget.match.operations
    if "operation" in budget.scope or (covered is not None and len(covered) == 1):
        return " Other operations are not affected."
    if covered is not None:
        # SECURITY: not named here: which of them this caller may know of is for `/-/run` to say.
        return f" Operations that `{budget.name}` does not cover are not affected; `GET /-/run` lists those it does."
    if "tool" in budget.scope:
        return " Other tools are not affected."
    return "" if budget.dimension in COUNTED else f" Calls that cost no {budget.dimension} are not affected."


def reserved(permit: Permit) -> tuple[Charge, ...]:
    """What a call holds until its reply says what it cost."""
    operation = permit.valid.operation
    if not operation.terms.is_settled:
        return ()
    open_ = {name for name, each in operation.terms.costs if each.settle is not None}
    return tuple(charge for charge in _charges(permit.guards) if _dimension_of(charge) in open_)


def _others(permit: Permit, short: Short, facts: Facts, bundle: Bundle) -> Iterator[_Other]:
    for guard in permit.guards:
        budget = bundle.budgets.budget_of(guard)
        if budget is not None and guard.key != short.guard.key:
            yield _Other(budget, guard.key, left(guard, facts.levels, permit.valid.call.at_ms))
