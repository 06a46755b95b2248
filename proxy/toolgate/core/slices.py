"""The statements that can bear on one operation, and the sets Cedar evaluates (CEDAR.md §4).

RULE: a statement outside a slice has an action scope that is false for the operation, so it is neither a reason nor an
error there. Inside one the scope is true, and is taken away: it cannot fail to match for want of the action's groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, TypeAlias

from cedarpy import PolicySet, pst

from toolgate.core.actions import ACTION, EFFECTS, groups
from toolgate.core.catalog import Operation
from toolgate.core.cedar import set_of
from toolgate.core.policy import Statement
from toolgate.core.reads import Reads, all_of, reads
from toolgate.core.recent import Recent
from toolgate.core.suggest import near

Ids: TypeAlias = tuple[str, ...]

_MOST_BUILT: Final = 8192  # statements in sets that are kept built: about 6 kB each
_MOST_BESIDE: Final = 16
_ANY: Final = pst.ScopeAny()


class Index:
    """Statements by the actions and groups their scopes name."""

    __slots__ = ("_everywhere", "_named", "statements")

    def __init__(self, statements: Iterable[Statement]) -> None:
        given = sorted(statements, key=lambda each: each.id)
        self.statements: Mapping[str, Statement] = {each.id: each for each in given}
        if len(self.statements) != len(given):
            raise ValueError("two statements have the same id")
        self._everywhere: list[str] = []
        self._named: dict[str, list[str]] = {}
        for each in given:
            self._enter(each)

    def of(self, operation: Operation) -> tuple[Statement, ...]:
        """Return the slice of an operation, by id."""
        ids = {*self._everywhere, *self._named.get(operation.key, ())}
        for group in groups(operation):
            ids.update(self._named.get(group, ()))
        return tuple(self.statements[each] for each in sorted(ids))

    def beside(self, operation: Operation) -> tuple[Statement, ...]:
        """Return permits of other actions, the nearest names first, then its tool's, then another effect's: a few."""
        own, tool = self.of(operation), f"{operation.tool}."
        actions = [name for name in self._named if name not in EFFECTS]
        of_tool = sorted(name for name in actions if name.startswith(tool))
        names = dict.fromkeys(
            (*near(operation.key, actions), *of_tool, *(name for name in EFFECTS if name in self._named))
        )
        found = dict.fromkeys(each for name in names for each in self._named[name])
        others = (self.statements[each] for each in found)
        return tuple(islice((each for each in others if each.effect == "permit" and each not in own), _MOST_BESIDE))

    def _enter(self, statement: Statement) -> None:
        scope = statement.template.action
        match scope:
            case pst.ScopeAny():
                self._everywhere.append(statement.id)
            case pst.ActionEq(entity):
                self._name(entity, statement.id)
            case pst.ActionIn(entities):
                for entity in entities:
                    self._name(entity, statement.id)

    def _name(self, action: pst.EntityUid, statement_id: str) -> None:
        if str(action.type) != ACTION:
            raise ValueError(f"statement `{statement_id}` names `{action}`, which is no action")
        self._named.setdefault(action.id, []).append(statement_id)


class Library:
    """What is worked out of statements once: what each reads, and the sets that were needed lately."""

    __slots__ = ("_built", "_reads", "_statements")

    def __init__(self, statements: Mapping[str, Statement]) -> None:
        self._statements = statements
        self._reads: dict[str, Reads] = {}
        self._built: Recent[Ids, PolicySet] = Recent(_MOST_BUILT, lambda ids, _: len(ids))

    def reads(self, ids: Iterable[str]) -> Reads:
        return all_of(map(self._reads_of, ids))

    def built(self, ids: Ids) -> PolicySet:
        """Return the set of these statements without their action scopes."""
        known = self._built.get(ids)
        if known is None:
            known = self._built.keep(ids, set_of(unscoped(self._statements[each].template) for each in ids))
        return known

    def _reads_of(self, statement_id: str) -> Reads:
        known = self._reads.get(statement_id)
        if known is None:
            known = self._reads[statement_id] = reads(self._statements[statement_id].template)
        return known


def unscoped(template: pst.Template) -> pst.Template:
    """Return a statement as it is inside its slice; its notes for people stay outside."""
    return pst.Template(template.id, template.effect, template.principal, _ANY, template.resource, template.clauses, {})
