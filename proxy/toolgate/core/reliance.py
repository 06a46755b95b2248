"""What of a bundle a plan or an approval relies on, as one digest (DESIGN §9).

RULE: everything that was judged of an operation beforehand, and nothing else. A reload that changes a word of it makes
the plan stale; one that does not, does not. What is asked anew at each call (balances, catalogues) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from toolgate.core.canonical import digest
from toolgate.core.model import Json

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.catalog import Operation
    from toolgate.core.cost import Cost
    from toolgate.core.plan import Plan


def relies_on(plan: Plan, bundle: Bundle) -> str:
    """The digest for a plan: its operations, the order that is asked of them, and who must agree to plans."""
    keys = {step.operation for step in plan.steps}
    order = [
        [each.operation, sorted(keys.intersection(each.after))]
        for each in bundle.plans.order
        if each.operation in keys and not keys.isdisjoint(each.after)
    ]
    approve = sorted(bundle.plans.approve)
    return digest({"operations": relied_on(keys, bundle), "order": sorted(order), "approve": approve})


def relied_on(keys: Iterable[str], bundle: Bundle) -> str:
    """The digest for these operations."""
    told = {key: _digest_of(key, bundle) for key in keys}
    return digest({"environment": bundle.environment, "mode": bundle.mode, "operations": told})


def _digest_of(key: str, bundle: Bundle) -> str | None:
    operation, known = bundle.catalog.operations.get(key), bundle.courses.relied_on
    if operation is None:
        return None
    found = known.get(key)
    if found is None:
        found = known[key] = digest(_told(operation, bundle))
    return found


def _told(operation: Operation, bundle: Bundle) -> dict[str, Json]:
    statements = bundle.policies.for_action(operation)
    return {
        "allowed": operation.allowed,
        "effect": operation.effect,
        "method": operation.method,
        "path": operation.template,
        "upstream": operation.target.url if operation.target else None,
        "arguments": operation.signature.schema(),
        "resources": [[each.type, each.at.text, each.catalogue] for each in operation.resources],
        "covers": [[each.type, each.at.text, each.catalogue, dict(each.where)] for each in operation.covers],
        "cost": {name: _cost_json(cost) for name, cost in operation.cost.items()},
        "timeout_s": operation.limits.timeout_s,
        "statements": {each.id: each.text for each in statements},
    }


def _cost_json(cost: Cost) -> list[Json]:
    hold = cost.hold if isinstance(cost.hold, int) else cost.hold.text
    return [hold, cost.settle.text if cost.settle else None]
