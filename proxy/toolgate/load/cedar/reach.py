"""What statements reach, without any call: which operations they could permit, to whom, and which reach nothing.

RULE: said of scopes and of the environment's name only; what a condition asks of a call is left open. So what is told
here as impossible is impossible, and what is possible may still be refused.
"""

from __future__ import annotations

from cedarpy import pst

from toolgate.core.actions import resource_types
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.policy import Statement
from toolgate.core.reads import reads
from toolgate.load.cedar.lattice import residual
from toolgate.load.cedar.tree import named_in, resource_type


class Reach:
    """The statements of one bundle against the operations its environment allows."""

    def __init__(self, bundle: Bundle) -> None:
        environment = bundle.environment
        every = bundle.policies.statements.values()
        self._alive = {each.id for each in every if residual(each.template, environment) is not None}
        self.reached: set[str] = set()  # statements that could hold for some call
        self.permits: dict[Operation, list[Statement]] = {}  # those in force that could hold, for each operation
        for operation in bundle.catalog.allowed:
            self.permits[operation] = []
            for statement in bundle.policies.for_action(operation):
                self._enter(operation, statement)

    def _enter(self, operation: Operation, statement: Statement) -> None:
        asked = resource_type(statement.template.resource)
        if statement.id not in self._alive or (asked is not None and asked not in resource_types(operation)):
            return
        self.reached.add(statement.id)
        if statement.effect == "permit" and not statement.audit:
            self.permits[operation].append(statement)


def is_for_anyone(statement: Statement) -> bool:
    """Whether a statement asks nothing of who calls: neither its scope nor a condition names a principal."""
    template = statement.template
    if not isinstance(template.principal, pst.ScopeAny):
        return False
    kinds = {str(each.type) for each in named_in(template.clauses).entities}
    read = reads(template)
    return not (read.tags or "principal" in read.identities or kinds & {"Role", "Agent"})
