"""Deciding a call: check · needs · decide · settle. The story on one page (DESIGN §2).

RULE: the order of the lines is the order of precedence, and it is part of the contract: frozen → unknown tool →
disallowed here → environment ready → arguments → resource exists → policy → plan → approval → loops → limits and
budgets. Static before stateful, money last.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolgate.core.approving import approved
from toolgate.core.authorization import authorized
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Absent, Found, Operation
from toolgate.core.charging import (
    billed,
    claimed,
    held,
    reads_reply,
    reserved,
    settlement,
    shortage,
    uncontrolled,
)
from toolgate.core.codes import CODES
from toolgate.core.cursor import planned
from toolgate.core.environment import disallowed, not_ready, omitted_resource, resources_of, unknown, written_way
from toolgate.core.freeze import disabled, frozen
from toolgate.core.judgements import Fitting, Judgement
from toolgate.core.loop import consequence
from toolgate.core.model import (
    OPENED_RUN_KEY,
    OWN,
    RUN_KEY,
    Call,
    Completed,
    Decision,
    Facts,
    Failed,
    Named,
    Permit,
    Recovery,
    Refusal,
    Reply,
    Shadow,
    ValidCall,
    Wire,
    new,
)
from toolgate.core.quota import Standing
from toolgate.core.review import unasked
from toolgate.core.signature import Decoded, Rejected
from toolgate.core.twins import jointly
from toolgate.core.wiretext import echo

# What the gateway asks beside `check` and `decide`: the ledger may still find a guard short, every refusal has its
# consequence for the run, and what was permitted is settled once it ended.
__all__ = [
    "billed", "check", "consequence", "decide", "needs", "propose", "reads_reply", "reserved", "settle",
    "settlement", "shortage",
]  # fmt: skip


def needs(call: Call) -> tuple[str, ...]:
    """Name what the decision reads of the ledger: the run this call is in. Freezes and levels are there unasked."""
    return (RUN_KEY + call.principal.id if call.run is None else OPENED_RUN_KEY + call.run.id,)


def check(call: Call, facts: Facts, bundle: Bundle) -> ValidCall | Refusal:
    """The operation exists here and the arguments fit: decoded, judged and rebuilt once."""
    closed = frozen(call, facts)
    if closed is not None:
        return closed
    asked = call.asked
    match asked:
        case Wire():
            known = bundle.catalog.judgements.get(asked)
            if known is not None:
                return _check_again(call, asked, known, facts)
            return _check_anew(call, asked, facts, bundle)
        case Named():
            return _check_named(call, asked, facts, bundle)


def decide(valid: ValidCall, facts: Facts, bundle: Bundle) -> Decision:
    """The first refusal that holds, or a Permit. INVARIANT: nothing else leads to a Permit that is sent."""
    decision = propose(valid, facts, bundle)
    if isinstance(decision, Permit) and bundle.mode == "enforce":
        return held(decision, facts, bundle)
    return decision


def propose(valid: ValidCall, facts: Facts, bundle: Bundle) -> Decision:
    """Decide all but whether the guards hold: whoever records the call finds that out as it takes them, in one act."""
    closed = disabled(valid, facts)
    if closed is not None:
        return closed
    decision = _decided(valid, facts, bundle)
    if valid.also:
        decision = jointly([decision, *(_decided(other, facts, bundle) for other in valid.also)])
    if isinstance(decision, Permit):
        decision = planned(decision, facts, bundle)
    if isinstance(decision, Permit):
        decision = _agreed(decision, facts, bundle) if decision.asks else claimed(decision, facts, bundle)
    return decision if bundle.mode == "enforce" else _audited(decision, valid, facts, bundle)


def _agreed(permit: Permit, facts: Facts, bundle: Bundle) -> Decision:
    """A person agreed, or is asked now; nobody is bothered with what would not be sent then either."""
    decision = approved(permit, facts, bundle)
    if isinstance(decision, Permit):
        return claimed(decision, facts, bundle)
    after = _covered(permit, facts, bundle) if decision.opens is not None else permit
    return decision if isinstance(after, Permit) else unasked(decision, after)


def _covered(permit: Permit, facts: Facts, bundle: Bundle) -> Decision:
    decision = claimed(permit, facts, bundle)
    return held(decision, facts, bundle) if isinstance(decision, Permit) else decision


def _decided(valid: ValidCall, facts: Facts, bundle: Bundle) -> Decision:
    resources = resources_of(valid, facts, bundle)
    if isinstance(resources, Refusal):
        return resources
    return omitted_resource(valid, facts, bundle) or authorized(valid, resources, facts, bundle)


def _audited(decision: Decision, valid: ValidCall, facts: Facts, bundle: Bundle) -> Decision:
    """A gate in mode audit sends every call that is valid, and says what it would have been; what it takes is counted."""
    if valid.call.principal is OWN:
        return decision
    taken = uncontrolled(valid, facts, bundle, decision.step if isinstance(decision, Permit) else None)
    if isinstance(decision, Permit):
        decision = held(decision, facts, bundle)
    if isinstance(decision, Permit):
        return decision._replace(guards=taken, lasting=None)
    return Permit(valid, taken, shadow=Shadow("refuse", decision.code.code, decision.statements), read=decision.read)


def settle(
    permit: Permit, reply: Reply, violations: tuple[object, ...], standing: Standing | None = None
) -> Completed | Failed:
    """What the answer means for the caller: it stands, unless it breaks its contract and the tool refuses that."""
    operation = permit.valid.operation
    if not violations or operation.validate_responses != "refuse":
        return new(Completed, (reply, "upstream", operation, standing))
    code = CODES["upstream.off_schema"]
    return Failed(
        code,
        f"the answer of `{operation.key}` does not fit its declared response",
        written_way(operation, code.code) or Recovery(code.action, code.hint),
        sent="yes",
        operation=operation,
        violations=violations,  # type: ignore[arg-type]
        standing=standing,
    )


def _check_named(call: Call, asked: Named, facts: Facts, bundle: Bundle) -> ValidCall | Refusal:
    operation = bundle.catalog.named(asked.operation)
    if isinstance(operation, Absent):
        return unknown(echo(asked.operation), operation)
    if not operation.allowed:
        return disallowed(operation, bundle)
    waiting = _waiting(call, operation, facts)
    if waiting is not None:
        return waiting
    checked = _valid(call, operation, operation.signature.accept(asked.arguments))
    return _as_taken(checked, bundle) if isinstance(checked, ValidCall) else checked


def _waiting(call: Call, operation: Operation, facts: Facts) -> Refusal | None:
    """The environment is not ready for an allowed call; the gate's own readings are what makes it ready."""
    if call.principal is OWN or not operation.allowed:
        return None
    return not_ready(operation, facts.situation)


def _check_again(call: Call, wire: Wire, known: Judgement, facts: Facts) -> ValidCall | Refusal:
    """The same request is not judged again; readiness is never remembered."""
    if isinstance(known, Refusal):
        return (known.operation and _waiting(call, known.operation, facts)) or known
    operation = known.operation
    waiting = _waiting(call, operation, facts)
    if waiting is not None:
        return waiting
    valid = new(ValidCall, (call, operation, known.arguments, known.request, (), known))
    return _forwarding(valid, wire) if operation.forward_headers else valid


def _check_anew(call: Call, wire: Wire, facts: Facts, bundle: Bundle) -> ValidCall | Refusal:
    found = bundle.catalog.find(wire.method, wire.path, wire.query)
    if isinstance(found, Absent):
        refusal = unknown(f"`{wire.method} {wire.path}`", found)
        bundle.catalog.judgements.keep_unknown(wire, refusal)
        return refusal
    if len(found.operations) > 1:
        return _check_several(call, wire, found, facts, bundle)
    return _check_one(call, wire, found, facts, bundle)


def _check_one(call: Call, wire: Wire, found: Found, facts: Facts, bundle: Bundle) -> ValidCall | Refusal:
    """A request that means one operation: what it is judged to be is remembered."""
    operation = found.operations[0]
    waiting = _waiting(call, operation, facts)
    if waiting is not None:
        return waiting
    checked = _check_wire(call, wire, found, 0, bundle)
    judgement = checked.fitting if isinstance(checked, ValidCall) else checked
    signature = operation.signature
    # SECURITY: no secret is held longer than its call
    if judgement is not None and not signature.reads_headers and not signature.masks:
        bundle.catalog.judgements.keep(wire, judgement)
    return checked


def _check_wire(call: Call, wire: Wire, found: Found, at: int, bundle: Bundle) -> ValidCall | Refusal:
    operation = found.operations[at]
    if not operation.allowed:
        return disallowed(operation, bundle)
    if len(wire.body) > operation.limits.max_body:
        return _too_large(operation, wire.body)
    checked = _valid(call, operation, operation.signature.decode(wire, found.path_values[at]))
    if operation.forward_headers and isinstance(checked, ValidCall):
        return _forwarding(checked, wire)
    return checked


def _check_several(call: Call, wire: Wire, found: Found, facts: Facts, bundle: Bundle) -> ValidCall | Refusal:
    """One request that means several operations at once: all that it satisfies must be allowed (DESIGN §6).

    SECURITY: an operation whose key differs only by `#…` would otherwise be a way around its twin's deny.
    """
    decoded = [
        op.signature.decode(wire, values) for op, values in zip(found.operations, found.path_values, strict=True)
    ]
    satisfied = [at for at, result in enumerate(decoded) if isinstance(result, Decoded)]
    if not satisfied:
        allowed = [at for at, op in enumerate(found.operations) if op.allowed]
        chosen = allowed[0] if allowed else 0
    else:
        denied = [at for at in satisfied if not found.operations[at].allowed]
        chosen = (denied or satisfied)[0]
    checked = _waiting(call, found.operations[chosen], facts) or _check_wire(call, wire, found, chosen, bundle)
    if isinstance(checked, Refusal):
        return checked
    others = ((found.operations[at], decoded[at]) for at in satisfied if at != chosen)
    return checked._replace(also=_also(call, others))


def _as_taken(valid: ValidCall, bundle: Bundle) -> ValidCall | Refusal:
    """A call by name, unless its request means something else on the wire.

    SECURITY: `getFile(id="recent")` is sent as `/files/recent`, which may be another operation with rules of its own.
    """
    operation, request = valid.operation, valid.request
    if request.body is not None and len(request.body) > operation.limits.max_body:
        return _too_large(operation, request.body)
    path, _, query = request.target.partition("?")
    headers = {name.lower(): value for name, value in request.headers}
    wire = Wire(request.method, f"/{operation.tool}{path}", query, headers, request.body or b"")
    found = bundle.catalog.find(wire.method, wire.path, wire.query)
    if isinstance(found, Absent) or operation not in found.operations:
        return _means_another(operation, found, bundle)
    if len(found.operations) == 1:
        return valid
    decoded = [(op, op.signature.decode(wire, values)) for op, values in zip(*found[:2], strict=True)]
    denied = [twin for twin, result in decoded if not twin.allowed and isinstance(result, Decoded)]
    if denied:
        return disallowed(denied[0], bundle)
    return valid._replace(also=_also(valid.call, (each for each in decoded if each[0] is not operation)))


def _also(call: Call, others: Iterable[tuple[Operation, Decoded | Rejected]]) -> tuple[ValidCall, ...]:
    """The other operations the same request satisfies, as calls of their own."""
    return tuple(
        ValidCall(call, operation, result.arguments, result.request)
        for operation, result in others
        if isinstance(result, Decoded)
    )


def _means_another(operation: Operation, found: Found | Absent, bundle: Bundle) -> Refusal:
    taken = () if isinstance(found, Absent) else found.operations
    denied = [other for other in taken if not other.allowed]
    if denied:
        return disallowed(denied[0], bundle)
    named = " and ".join(f"`{other.key}`" for other in taken) or "no operation"
    detail = f"with these arguments the path of `{operation.key}` means {named}"
    return _rejected(operation, Rejected("arguments.invalid", detail))


def _valid(call: Call, operation: Operation, result: Decoded | Rejected) -> ValidCall | Refusal:
    if isinstance(result, Rejected):
        return _rejected(operation, result)
    arguments, request = result
    return new(ValidCall, (call, operation, arguments, request, (), Fitting(operation, arguments, request)))


def _forwarding(valid: ValidCall, wire: Wire) -> ValidCall:
    """The call with the undeclared headers its tool passes on (`forward_headers`); a declared one is never replaced."""
    request, names = valid.request, valid.operation.forward_headers
    declared = {name.lower() for name, _ in request.headers}
    passed = tuple((name, wire.headers[name]) for name in sorted(names - declared) if name in wire.headers)
    return valid._replace(request=request._replace(headers=request.headers + passed))


def _too_large(operation: Operation, body: bytes) -> Refusal:
    most = operation.limits.max_body
    return _rejected(
        operation,
        Rejected(
            "arguments.too_large", f"the body of {len(body)} bytes is larger than the {most} `{operation.key}` takes"
        ),
    )


def _rejected(operation: Operation, rejected: Rejected) -> Refusal:
    code = CODES[rejected.code]
    recovery = written_way(operation, code.code) or Recovery(code.action, _fix(rejected) or code.hint)
    return Refusal(
        code, rejected.detail, recovery, stage="arguments", violations=rejected.violations, operation=operation
    )


def _fix(rejected: Rejected) -> str | None:
    """A hint that names what to change, when there is one clear thing."""
    named = [f"`{violation.path}`" for violation in rejected.violations[:3]]
    return f"Fix {', '.join(named)} and send the call again." if named else None
