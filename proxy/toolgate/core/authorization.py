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
    ResourceCatalogue,
    Shadow,
    ValidCall,
    new,
)
from toolgate.core.policy import NOT_ALLOWED, Question, Ruling, Statement
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
    ruled = list(map(bundle.policies.ruled, questions))
    first = ruled[0].ruling
    read = _read(ruled[0].read, valid.call, questions, facts, bundle)
    if len(ruled) == 1 and first.shadow is None:  # nearly always
        if first.kind == "allowed":
            return new(Permit, (valid, (), first.statements, None, read, None, None, (), None))
        if first.kind == "approval":
            return new(Permit, (valid, (), first.heard, None, read, None, None, first.statements, None))
        return _told_again(valid, first, questions[0].resource, read, bundle)
    return _together(valid, questions, [each.ruling for each in ruled], read, bundle)


def _together(
    valid: ValidCall,
    questions: Sequence[Question],
    rulings: Sequence[Ruling],
    read: Mapping[str, Json] | None,
    bundle: Bundle,
) -> Permit | Refusal:
    shadow, at = _shadow(rulings), _against(rulings)
    if at is not None:
        refusal = _told_again(valid, rulings[at], questions[at].resource, read, bundle)
        return refusal if shadow is None else refusal._replace(shadow=shadow)
    return Permit(valid, (), _statements(rulings), shadow, read, asks=_asking(rulings))


def questions_of(valid: ValidCall, resources: Iterable[Resource], facts: Facts, bundle: Bundle) -> list[Question]:
    """One question for each resource the call is about."""
    call, operation, run = valid.call, valid.operation, facts.run
    dimensions = bundle.policies.needed(operation).spent
    if dimensions:
        run = run._replace(spent={name: amount for name, _, amount in _spent(dimensions, call, facts, bundle)})
    questions = []
    for resource in resources:
        about = call.principal, operation, resource, bundle.environment, valid.arguments, run, call.at_ms
        questions.append(new(Question, about))
    return questions


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


def _told_again(
    valid: ValidCall, ruling: Ruling, resource: Resource, read: Mapping[str, Json] | None, bundle: Bundle
) -> Refusal:
    """The very refusal that was told before, so that everything after it may know it again."""
    refusals = bundle.policies.refusals
    about = bundle.environment, resource.type, resource.id
    key = ruling, valid.operation, valid.call.principal.id, about, id(read)
    told = refusals.get(key)
    if told is not None:
        return told
    return refusals.keep(key, _refused(valid, ruling, resource, bundle)._replace(read=read))


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


def _statements(rulings: Sequence[Ruling]) -> tuple[str, ...]:
    if len(rulings) == 1:
        return rulings[0].heard or rulings[0].statements
    return tuple(sorted({each for ruling in rulings for each in ruling.heard or ruling.statements}))


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
        return None if at is not None or asks else Shadow("permit", None, _statements(would))
    if at is not None:
        return Shadow("refuse", _CODES[would[at].kind], would[at].statements)
    if asks and not _asking(rulings):
        return Shadow("refuse", "approval.required", asks)
    return None  # what audit says of one resource changes nothing for all of them


def _read(
    said: Mapping[str, Json] | None, call: Call, questions: Sequence[Question], facts: Facts, bundle: Bundle
) -> Mapping[str, Json] | None:
    """The facts beyond bundle and arguments that the statements of this operation read: deciding again needs them."""
    operation, catalogues = questions[0].operation, facts.situation.catalogues
    needed = bundle.policies.needed(operation)
    if not needed.spent and not (needed.attributes and catalogues):
        return said
    found: dict[str, Json] = {**(said or {})}
    if needed.spent:
        found["taken"] = {key: amount for _, key, amount in _spent(needed.spent, call, facts, bundle) if key}
    live = _live_types(operation, catalogues)  # those of files are in the bundle's revision
    told = [each.resource for each in questions if each.resource.type in live] if needed.attributes else ()
    if told:
        found["resources"] = [{"type": each.type, "id": each.id, "attributes": each.attributes} for each in told]
    return found or None


def _live_types(operation: Operation, catalogues: Mapping[str, Mapping[str, ResourceCatalogue]]) -> set[str]:
    return {
        each.type for each in operation.resources if each.catalogue and each.type in catalogues.get(each.catalogue, ())
    }
