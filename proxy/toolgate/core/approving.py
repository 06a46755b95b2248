"""The approval line of `decide`: a call that a statement wants a person to agree to (DESIGN §10).

RULE: a grant is for one call, byte by byte, as it was judged. What differs in anything is asked for anew, and nothing
here makes a permit of what the policies refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from toolgate.core.approval import MOST_PENDING, Approval, Asking
from toolgate.core.approvers import actor_of
from toolgate.core.canonical import digest
from toolgate.core.codes import CODES
from toolgate.core.environment import resources_of
from toolgate.core.model import Facts, Json, Permit, Recovery, Refusal, UpstreamRequest, ValidCall, new
from toolgate.core.reliance import relied_on
from toolgate.core.review import STAGE, Matter, known_json, reviewed, too_many, use_of
from toolgate.core.suggest import shortened

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.policy import Statement

_OF_PLANS: Final = frozenset({"plan", "replan"})
_READ: Final = ("claims", "resources")  # what policies read that the digest does not hold and a person relied on
_REPEAT: Final = "this same call"


def approved(permit: Permit, facts: Facts, bundle: Bundle) -> Permit | Refusal:
    """The permit with the approval that it uses up, or why a person is waited for. Only for a permit that `asks`."""
    whole = _approval_of_plan(permit, facts, bundle)
    if whole is not None:
        valid, guards, statements, shadow, _, step, _, ids, lasting = permit
        return new(Permit, (valid, guards, statements, shadow, _read(permit, whole), step, whole.id, ids, lasting))
    asks = [bundle.policies.statements[each] for each in permit.asks]
    asking, approvals, at_ms = _asking(permit, asks, facts, bundle), facts.approvals, permit.valid.call.at_ms
    known = approvals.of(asking.digest, at_ms) if approvals is not None else None
    found = reviewed(asking, known, _matter(permit, asks, facts, bundle))
    if isinstance(found, Approval):
        return permit._replace(guards=(*permit.guards, use_of(found.id)), approval=found.id, read=_read(permit, found))
    read = permit.read if known is None else _read(permit, known)
    crowded = too_many(asking, approvals, at_ms) if found.opens is not None else None
    if crowded is None:
        return found._replace(read=read)
    return crowded._replace(read={**(read or {}), "waiting": MOST_PENDING}, operation=permit.valid.operation)


def used_meanwhile(permit: Permit) -> Refusal:
    """Another call used the grant up between the decision and its record."""
    code, operation = CODES["approval.required"], permit.valid.operation
    return Refusal(
        code,
        f"the approval `{permit.approval}` is for one call of `{operation.key}`, and another one has used it",
        Recovery(code.action, "Repeat this same call only if it must be made once more; a person is asked again then."),
        stage=STAGE,
        statements=permit.asks,
        operation=operation,
    )


def request_json(valid: ValidCall, arguments: Mapping[str, Json], bundle: Bundle) -> dict[str, Json]:
    """What an approver is shown: the request as it will be sent, `arguments` with what is masked as digests."""
    told: dict[str, Json] = {
        "operation": valid.operation.key,
        "effect": valid.operation.effect,
        "method": valid.request.method,
        "path": valid.operation.path,
        "arguments": arguments,
        "environment": bundle.environment,
        "revision": bundle.revision,
    }
    return told if valid.call.reason is None else {**told, "reason": valid.call.reason}


def _asking(permit: Permit, asks: Sequence[Statement], facts: Facts, bundle: Bundle) -> Asking:
    valid, step = permit.valid, permit.step
    principal = valid.call.principal
    return Asking(
        digest=_call_digest(permit, facts.run.id, bundle.environment),
        kind="call",
        principal=principal.id,
        run=facts.run.id,
        roles=_roles_of(asks),
        operation=valid.operation.key,
        statements=permit.asks,
        why="; ".join(dict.fromkeys(each.reason for each in asks if each.reason)),
        plan=step.plan if step is not None else None,
        step=step.step if step is not None else None,
        on_behalf_of=principal.on_behalf_of,
        actor=actor_of(principal),
        relies_on=_relies_on(permit, facts, bundle),
    )


def _call_digest(permit: Permit, run: str, environment: str) -> str:
    """Name a call by everything an approver agrees to. INVARIANT: two calls that are sent with other bytes differ."""
    valid, step = permit.valid, permit.step
    principal = valid.call.principal
    return digest(
        {
            "principal": [principal.id, principal.on_behalf_of, actor_of(principal)],
            "run": run,
            "environment": environment,
            "operations": [each.operation.key for each in (valid, *valid.also)],
            "request": _request_json(valid.request),
            "plan": None if step is None else [step.plan, step.step],
            "statements": permit.asks,
        }
    )


def _request_json(request: UpstreamRequest) -> list[Json]:
    body = None if request.body is None else sha256(request.body).hexdigest()
    return [request.method, request.target, request.headers, body]


def _relies_on(permit: Permit, facts: Facts, bundle: Bundle) -> str:
    """What else whoever agrees goes by: rules and documents, the plan, and what policies are told of resources."""
    valid, read = permit.valid, permit.read or {}
    keys = [each.operation.key for each in (valid, *valid.also)]
    plan = facts.plan.locked.digest if facts.plan is not None and permit.step is not None else None
    return digest([relied_on(keys, bundle), plan, {name: read[name] for name in _READ if name in read}])


def _approval_of_plan(permit: Permit, facts: Facts, bundle: Bundle) -> Approval | None:
    """The approval of the run's plan as a whole, where the plan says this call in every argument.

    SECURITY: what a plan leaves open nobody has seen, so nobody has agreed to it; nor has a role that was not asked.
    """
    plan, step = facts.plan, permit.step
    if plan is None or step is None or plan.locked.approval is None or facts.approvals is None:
        return None
    valid, planned = permit.valid, bundle.courses.of(plan.locked, bundle).step(step.step)
    if not valid.arguments.keys() <= planned.arguments.keys():
        return None
    approval = facts.approvals.by_id(plan.locked.approval, valid.call.at_ms)
    if approval is None or approval.state != "used" or approval.asking.kind not in _OF_PLANS:
        return None
    statements, roles = bundle.policies.statements, approval.asking.roles
    for each in permit.asks:
        if statements[each].approval not in roles:
            return None
    return approval


def _matter(permit: Permit, asks: Iterable[Statement], facts: Facts, bundle: Bundle) -> Matter:
    operation = permit.valid.operation
    resources = resources_of(permit.valid, facts, bundle)
    named = [] if isinstance(resources, Refusal) else [each for each in resources if each.type != "Tool"]
    on = f" on {named[0].type} `{shortened(named[0].id)}`" if len(named) == 1 else ""
    instead = next((each.hint for each in asks if each.hint), None)
    return Matter(f"`{operation.key}`{on}", _REPEAT, operation, instead)


def _roles_of(statements: Iterable[Statement]) -> tuple[str, ...]:
    return tuple(sorted({each.approval for each in statements if each.approval is not None}))


def _read(permit: Permit, approval: Approval) -> dict[str, Json]:
    return {**(permit.read or {}), "approval": known_json(approval)}
