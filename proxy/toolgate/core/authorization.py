"""The policy line of `decide`: what the statements rule on a call, and how a no is told (DESIGN §7).

RULE: a call about several resources is allowed only if each one is; nothing here evaluates a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.codes import CODES
from toolgate.core.environment import spoken, written_way
from toolgate.core.model import (
    OWN,
    Call,
    Facts,
    Json,
    Permit,
    Principal,
    Recovery,
    Refusal,
    Resource,
    Shadow,
    Situation,
    ValidCall,
    new,
)
from toolgate.core.policy import NOT_ALLOWED, NOTHING_NEEDED, Question, Ruling, Statement
from toolgate.core.scope import subject_of
from toolgate.core.suggest import shortened

_CODES: Final = {"denied": "policy.denied", "not_allowed": "policy.not_allowed", "error": "policy.error"}
_FOR: Final = frozenset({"allowed", "approval"})


def authorized(valid: ValidCall, resources: Iterable[Resource], facts: Facts, bundle: Bundle) -> Permit | Refusal:
    """What the statements say of a call that everything before them let pass."""
    if valid.call.principal is OWN:  # SECURITY: compared by identity, so no caller can be it
        return Permit(valid) if valid.operation.key in bundle.own_reads else _refused(valid, NOT_ALLOWED, None, bundle)
    if not valid.operation.resources:
        standing = bundle.policies.standing(valid.call.principal, valid.operation, bundle.environment)
        if standing is not None:
            return new(Permit, (valid, (), standing, None, None, None, None, (), None))
    questions = questions_of(valid, resources, facts, bundle)
    rulings = list(map(bundle.policies.rule, questions))
    read, shadow = _read(valid.call, questions, facts, bundle), _shadow(rulings)
    at = _against(rulings)
    if at is not None:
        refusal = _refused(valid, rulings[at], questions[at].resource, bundle)
        return refusal._replace(shadow=shadow, read=read)
    return Permit(valid, (), _together(rulings), shadow, read, asks=_asking(rulings))


def questions_of(valid: ValidCall, resources: Iterable[Resource], facts: Facts, bundle: Bundle) -> list[Question]:
    """One question for each resource the call is about."""
    call, run = valid.call, facts.run
    dimensions = bundle.policies.needed(valid.operation).spent
    if dimensions:
        run = run._replace(spent={name: amount for name, _, amount in _spent(dimensions, call, facts, bundle)})
    return [
        Question(call.principal, valid.operation, resource, bundle.environment, valid.arguments, run, call.at_ms)
        for resource in resources
    ]


def _spent(dimensions: Iterable[str], call: Call, facts: Facts, bundle: Bundle) -> Iterator[tuple[str, str, int]]:
    """What the run has spent of each dimension, and the key of its balance."""
    subject = subject_of(call, facts.run.id)
    for name in dimensions:
        yield name, *bundle.budgets.spent(name, subject, facts.levels)


def is_listed(operation: Operation, principal: Principal, bundle: Bundle) -> bool:
    """Whether the principal may ever be allowed to call this. INVARIANT: what is not listed is always refused."""
    if not operation.allowed:
        return False
    return bundle.mode != "enforce" or bundle.policies.may(principal, operation, bundle.environment)


def asks_a_person(operation: Operation, principal: Principal, bundle: Bundle) -> bool:
    """Whether a call of this may need an approval."""
    return bundle.mode == "enforce" and bundle.policies.may_ask(principal, operation, bundle.environment)


def _against(rulings: Sequence[Ruling]) -> int | None:
    """Which ruling decides against the call; one that asks for a person does not."""
    for at, ruling in enumerate(rulings):
        if ruling.kind not in _FOR:
            return at
    return None


def _asking(rulings: Sequence[Ruling]) -> tuple[str, ...]:
    """The statements that ask for a person; nearly always none."""
    if len(rulings) == 1:
        return rulings[0].statements if rulings[0].kind == "approval" else ()
    return tuple(sorted({each for ruling in rulings if ruling.kind == "approval" for each in ruling.statements}))


def _refused(valid: ValidCall, ruling: Ruling, resource: Resource | None, bundle: Bundle) -> Refusal:
    code, operation = CODES[_CODES[ruling.kind]], valid.operation
    said = [bundle.policies.statements[each] for each in ruling.statements if each in bundle.policies.statements]
    hint = next((each.hint for each in said if each.hint), None)
    recovery = Recovery(code.action, hint) if hint else written_way(operation, code.code)
    return Refusal(
        code,
        _detail(valid, ruling, said, resource, bundle),
        recovery or Recovery(code.action, code.hint),
        stage="policy",
        statements=ruling.statements,
        operation=operation,
    )


def _detail(valid: ValidCall, ruling: Ruling, said: list[Statement], resource: Resource | None, bundle: Bundle) -> str:
    what = f"`{valid.operation.key}`{_on(resource)}"
    reason = next((each.reason for each in said if each.reason), None)
    match ruling.kind:
        case "denied":
            return f"{what} is blocked: {reason or 'a policy forbids it'}"
        case "error":
            return f"{what} cannot be judged: {ruling.detail}"
        case _:
            return f"no policy allows `{valid.call.principal.id}` to call {what} in {spoken(bundle.environment)}"


def _on(resource: Resource | None) -> str:
    return "" if resource is None or resource.type == "Tool" else f" on {resource.type} `{shortened(resource.id)}`"


def _together(rulings: Sequence[Ruling]) -> tuple[str, ...]:
    if len(rulings) == 1 and not rulings[0].permits:
        return rulings[0].statements
    return tuple(sorted({each for ruling in rulings for each in (*ruling.statements, *ruling.permits)}))


def _shadow(rulings: Sequence[Ruling]) -> Shadow | None:
    """What the call would have been with the audit statements enforced, where that is another answer."""
    for ruling in rulings:
        if ruling.shadow is not None:
            return _flip(rulings)
    return None


def _flip(rulings: Sequence[Ruling]) -> Shadow | None:
    would = [each.shadow or each for each in rulings]
    at, asks = _against(would), _asking(would)
    if _against(rulings) is not None:
        return None if at is not None or asks else Shadow("permit", None, _together(would))
    if at is not None:
        return Shadow("refuse", _CODES[would[at].kind], would[at].statements)
    if asks and not _asking(rulings):
        return Shadow("refuse", "approval.required", asks)
    return None  # what audit says of one resource changes nothing for all of them


def _read(call: Call, questions: Sequence[Question], facts: Facts, bundle: Bundle) -> Mapping[str, Json] | None:
    """The facts beyond bundle and arguments that the statements of this operation read: deciding again needs them."""
    needed, principal = bundle.policies.needed(questions[0].operation), questions[0].principal
    if needed is NOTHING_NEEDED:
        return None
    found: dict[str, Json] = {}
    if needed.run is not None:
        found["run"] = needed.run(facts.run)
    if needed.spent:
        found["taken"] = {key: amount for _, key, amount in _spent(needed.spent, call, facts, bundle) if key}
    if needed.tags and principal.claims:
        found["claims"] = {name: principal.claims[name] for name in needed.tags if name in principal.claims}
    if needed.attributes and facts.situation.catalogues:
        live = _live_types(questions[0].operation, facts.situation)  # those of files are in the bundle's revision
        told = [each.resource for each in questions if each.resource.type in live]
        if told:
            found["resources"] = [{"type": each.type, "id": each.id, "attributes": each.attributes} for each in told]
    return found or None


def _live_types(operation: Operation, situation: Situation) -> set[str]:
    catalogues = situation.catalogues
    return {
        each.type for each in operation.resources if each.catalogue and each.type in catalogues.get(each.catalogue, ())
    }
