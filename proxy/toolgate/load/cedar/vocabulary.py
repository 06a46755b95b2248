"""What statements may name: operations, groups, resource types with their attributes, environments.

RULE: the same files serve every environment, so what only another one has is no mistake; what none has is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, assert_never

from cedarpy import pst

from toolgate.core.actions import EFFECTS, TOOL, arguments_kind, groups, resource_types
from toolgate.core.catalog import Operation
from toolgate.core.kinds import Describer, Fields, Kind
from toolgate.core.suggest import Vocabulary as Words
from toolgate.load.attributes import merged
from toolgate.load.policies import Standing

_NOTHING_KNOWN: Final = Fields({})


@dataclass(slots=True, eq=False)
class Known:
    """An operation, and what is worked out of it when a statement first reads it."""

    operation: Operation
    _describers: dict[int, Describer]
    _kind: Kind | None = None
    _types: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        return self.operation.key

    @property
    def kind(self) -> Kind:
        if self._kind is None:
            self._kind = arguments_kind(self.operation, self._describers)
        return self._kind

    @property
    def types(self) -> tuple[str, ...]:
        if self._types is None:
            self._types = resource_types(self.operation, lambda: self.kind)
        return self._types


@dataclass(frozen=True)
class Vocabulary:
    """Everything a statement of one environment is checked against."""

    environment: str
    environments: tuple[str, ...]
    here: Mapping[str, Known]  # by key: every operation of this environment's documents, allowed or not
    elsewhere: Mapping[str, tuple[Operation, ...]]  # by key: those of other environments
    attributes: Mapping[str, Fields]  # by resource type, as this environment's catalogues have them
    tools: tuple[str, ...]
    listed: Mapping[str, frozenset[str]]  # by resource type: every id there can be, where files alone say so
    spent: frozenset[str]  # dimensions that some budget counts for each run

    @cached_property
    def allowed(self) -> tuple[Known, ...]:
        return tuple(known for known in self.here.values() if known.operation.allowed)

    @cached_property
    def groups(self) -> Mapping[str, tuple[Known, ...]]:
        """By name: what of a group is allowed here."""
        found: dict[str, list[Known]] = {name: [] for name in (*EFFECTS, *self.tools)}
        for known in self.allowed:
            for group in groups(known.operation):
                found[group].append(known)
        return {name: tuple(members) for name, members in found.items()}

    @cached_property
    def types(self) -> frozenset[str]:
        """Every type of resource that an operation of any environment is about."""
        everywhere = (known.operation for known in self.here.values())
        others = (operation for several in self.elsewhere.values() for operation in several)
        return frozenset(
            {TOOL}
            | {each.type for operation in (*everywhere, *others) for each in operation.resources}
            | self.attributes.keys()
        )

    @cached_property
    def actions(self) -> Words:
        """Keys and groups, to find what was meant."""
        return Words((*EFFECTS, *self.tools, *self.here, *self.elsewhere))

    @cached_property
    def operations(self) -> Words:
        """Keys only."""
        return Words((*self.here, *self.elsewhere))

    def is_known(self, name: str) -> bool:
        return name in self.here or name in self.elsewhere or name in self.groups

    def shape(self, type_name: str) -> Fields:
        return self.attributes.get(type_name, _NOTHING_KNOWN)

    def reached(self, scope: pst.ActionConstraint) -> tuple[Known, ...]:
        """Return the operations of this environment that an action scope holds: of a group, those allowed here."""
        names = scope_names(scope)
        if names is None:
            return self.allowed
        found: dict[str, Known] = {}
        for name in names:
            if name in self.here:
                found[name] = self.here[name]
            found.update((known.key, known) for known in self.groups.get(name, ()))
        return tuple(found.values())

    def types_about(self, scope: pst.ActionConstraint) -> frozenset[str]:
        """Return the types of what the operations of an action scope may be about, in any environment."""
        names = scope_names(scope)
        if names is None:
            return self.types
        return frozenset(kind for name in names for kind in self._types_by_name.get(name, ()))

    @cached_property
    def _types_by_name(self) -> Mapping[str, set[str]]:
        """By action and group. What a call of another environment is about when an argument is absent is left open."""
        found: dict[str, set[str]] = {}
        for known in self.here.values():
            for name in (known.key, *groups(known.operation)):
                found.setdefault(name, set()).update(known.types)
        for operation in (each for several in self.elsewhere.values() for each in several):
            for name in (operation.key, *groups(operation)):
                found.setdefault(name, {TOOL}).update(each.type for each in operation.resources)
        return found


def scope_names(scope: pst.ActionConstraint) -> frozenset[str] | None:
    """Return the actions and groups a scope names; None when it holds every action."""
    match scope:
        case pst.ScopeAny():
            return None
        case pst.ActionEq(entity):
            return frozenset({entity.id})
        case pst.ActionIn(entities):
            return frozenset(each.id for each in entities)
        case _:
            assert_never(scope)


def vocabulary(standing: Standing) -> Vocabulary:
    """Index what a bundle is built of."""
    describers: dict[int, Describer] = {}
    others: dict[str, tuple[Operation, ...]] = {}
    for operation in standing.elsewhere:
        others[operation.key] = (*others.get(operation.key, ()), operation)
    known = {operation.key: Known(operation, describers) for operation in standing.here}
    tools = {each.operation.tool for each in known.values()} | {key.partition(".")[0] for key in others}
    return Vocabulary(
        standing.environment,
        standing.environments,
        known,
        others,
        merged(standing.shapes),
        tuple(sorted(tools)),
        standing.listed,
        standing.spent,
    )
