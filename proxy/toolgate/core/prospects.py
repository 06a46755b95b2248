"""Could this ever be permitted? What listings and plans ask before there are arguments (CEDAR.md §7).

RULE: no means never. What is not known yet (arguments, resource, run, time) is taken to be as a permit wants it. What
remains of a statement depends on the principal and the environment only, and is evaluated once for all operations.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from cedarpy import PolicySet, pst

from toolgate.core import cedar
from toolgate.core.actions import TOOL, resource_types
from toolgate.core.catalog import Operation
from toolgate.core.conditions import conditions_of, probe
from toolgate.core.conversion import Untold
from toolgate.core.model import Principal, Resource, RunFacts
from toolgate.core.policy import Question, Statement
from toolgate.core.projection import Projection, Told
from toolgate.core.reads import Reads, all_of, reads, reads_of
from toolgate.core.recent import Recent
from toolgate.core.slices import Index

_CHUNK: Final = 256  # conditions in one evaluation
_MOST_FOUND: Final = 1 << 18  # conditions in all answers that are kept, about 30 bytes each
_MOST_OUTLOOKS: Final = 1 << 15  # operations; about 1 kB each
_NO_RUN: Final = RunFacts()

Scope: TypeAlias = pst.PrincipalOrResourceConstraint
Possible: TypeAlias = tuple[str, str | None]  # a type the resource may have, with its id where that is known


class Remains(NamedTuple):
    """What is left of a statement without what is not known yet."""

    statement: Statement
    condition: pst.Template
    reads: Reads
    is_whole: bool  # nothing was left out: where it fails, every call fails


class Found(NamedTuple):
    """Which conditions hold for a principal in an environment, and which cannot be evaluated."""

    holding: frozenset[int]
    failing: frozenset[int]


_NOTHING_FOUND: Final = Found(frozenset(), frozenset())


class Sheet:
    """Conditions that are evaluated together, each once however many statements share it."""

    __slots__ = ("_built", "_found", "_numbers", "_operation", "_projection", "_reads")

    def __init__(self, operation: Operation | None = None) -> None:
        self._operation = operation  # whose name the conditions ask for
        self._numbers: dict[pst.Template, int] = {}
        self._reads: list[Reads] = []
        self._built: list[PolicySet] = []
        self._projection: Projection | None = None
        self._found: Recent[Told, Found] = Recent(_MOST_FOUND, lambda _, found: 16 + sum(map(len, found)))

    def enter(self, condition: pst.Template, read: Reads) -> int:
        """Number a condition. All of them are entered before anything is asked."""
        number = self._numbers.get(condition)
        if number is None:
            number = self._numbers[condition] = len(self._numbers)
            self._reads.append(read)
        return number

    def found(self, principal: Principal, operation: Operation, environment: str) -> Found | None:
        """Return what holds; None where that cannot be said."""
        question = Question(principal, operation, Resource(TOOL, operation.tool), environment, {}, _NO_RUN, 0)
        projection = self._told_by(operation)
        try:
            told = projection.tell(question)
        except Untold:
            return None
        return self._found.get(told) or self._find(told, projection)

    def _find(self, told: Told, projection: Projection) -> Found | None:
        request, entities = projection.request(told), cedar.entities_of(projection.entities(told))
        holding: set[int] = set()
        failing: set[int] = set()
        for built in self._sets():
            verdict = cedar.judge(request, built, entities)
            if any(not failure.statement for failure in verdict.failures):
                return None
            holding.update(map(int, verdict.reasons))
            failing.update(int(failure.statement) for failure in verdict.failures)
        return self._found.keep(told, Found(frozenset(holding), frozenset(failing)))

    def _told_by(self, operation: Operation) -> Projection:
        if self._projection is None:
            # No condition here reads arguments or attributes, so no kind is ever asked for.
            self._projection = Projection(
                all_of(self._reads), self._operation or operation, lambda: "opaque", {}, Recent(1)
            )
        return self._projection

    def _sets(self) -> list[PolicySet]:
        if not self._built:
            probes = [probe(str(number), each, each.clauses) for each, number in self._numbers.items()]
            self._built = [cedar.set_of(probes[at : at + _CHUNK]) for at in range(0, len(probes), _CHUNK)]
        return self._built


class Outlook(NamedTuple):
    """The conditions of one sheet that bear on one operation."""

    sheet: Sheet
    permits: frozenset[int]
    forbids: frozenset[int]
    decisive: frozenset[int]  # where one of these fails, every call is refused
    asks: frozenset[int]  # forbids with an approval


class Prospects:
    """What a principal may hope for, operation by operation."""

    __slots__ = ("_index", "_outlooks", "_remains", "_shared")

    def __init__(self, index: Index) -> None:
        self._index = index
        self._shared = Sheet()
        every = (_remains(each) for each in index.statements.values() if not each.audit)
        self._remains = {each.statement.id: (each, self._number(each)) for each in every if each is not None}
        self._outlooks: Recent[Operation, tuple[Outlook, ...]] = Recent(_MOST_OUTLOOKS)

    def may(self, principal: Principal, operation: Operation, environment: str) -> bool:
        """Whether some call could be permitted, if need be after a person said yes."""
        is_permitted = False
        for outlook in self._outlook(operation):
            found = outlook.sheet.found(principal, operation, environment)
            if found is None:  # a call will tell
                return True
            if not (outlook.forbids.isdisjoint(found.holding) and outlook.decisive.isdisjoint(found.failing)):
                return False
            is_permitted = is_permitted or not outlook.permits.isdisjoint(found.holding)
        return is_permitted

    def may_ask(self, principal: Principal, operation: Operation, environment: str) -> bool:
        """Whether some call that could be permitted would have to be approved by a person."""
        for outlook in self._outlook(operation):
            found = outlook.sheet.found(principal, operation, environment) if outlook.asks else _NOTHING_FOUND
            if found is None or not outlook.asks.isdisjoint(found.holding):
                return self.may(principal, operation, environment)
        return False

    def _number(self, remains: Remains) -> int | None:
        """Enter a condition that means the same for every operation."""
        if "action" in remains.reads.identities:
            return None
        return self._shared.enter(remains.condition, remains.reads)

    def _outlook(self, operation: Operation) -> tuple[Outlook, ...]:
        return self._outlooks.get(operation) or self._outlooks.keep(operation, self._looked_out(operation))

    def _looked_out(self, operation: Operation) -> tuple[Outlook, ...]:
        """A sheet of its own holds the conditions that ask which operation it is."""
        possible = _possible(operation)
        slice_of = self._index.of(operation)
        bearing = [self._remains[each.id] for each in slice_of if each.id in self._remains and _bears(each, possible)]
        shared = [(each, number) for each, number in bearing if number is not None]
        outlook = _outlook(self._shared, shared, possible)
        if len(shared) == len(bearing):
            return (outlook,)
        own = Sheet(operation)
        asking = [(each, own.enter(each.condition, each.reads)) for each, number in bearing if number is None]
        return outlook, _outlook(own, asking, possible)


def _outlook(sheet: Sheet, bearing: list[tuple[Remains, int]], possible: frozenset[Possible]) -> Outlook:
    plain = [(each, number) for each, number in bearing if not each.statement.asks]
    permits = frozenset(number for each, number in plain if each.statement.effect == "permit")
    forbids = frozenset(number for each, number in plain if each.statement.effect == "forbid")
    decisive = frozenset(number for each, number in plain if each.is_whole and _is_sure(each.statement, possible))
    asks = frozenset(number for each, number in bearing if each.statement.asks)
    return Outlook(sheet, permits, forbids, decisive, asks)


def _remains(statement: Statement) -> Remains | None:
    """Leave out what is not known yet; of a forbid that reads such a thing nothing remains."""
    template = statement.template
    conditions = conditions_of(template)
    known = tuple(each for each in conditions if not _reads_unknown(reads_of(each.expr)))
    is_whole = len(known) == len(conditions)
    if statement.effect == "forbid" and not statement.asks and not is_whole:
        return None
    condition = probe("", template, known)
    return Remains(statement, condition, reads(condition), is_whole)


def _reads_unknown(read: Reads) -> bool:
    paths = read.values | read.presence
    return "resource" in read.identities | read.types or any(
        path[0] == "resource" or path[:2] != ("context", "environment") for path in paths
    )


def _possible(operation: Operation) -> frozenset[Possible]:
    types = resource_types(operation)
    return frozenset((each, operation.tool if each == TOOL else None) for each in types)


def _bears(statement: Statement, possible: frozenset[Possible]) -> bool:
    """Whether it has to be thought of: a permit whose resource may fit, a forbid whose resource surely does."""
    if statement.effect == "forbid" and not statement.asks:
        return _is_sure(statement, possible)
    return any(_fits(statement.template.resource, each) for each in possible)


def _is_sure(statement: Statement, possible: frozenset[Possible]) -> bool:
    scope = statement.template.resource
    by_type = isinstance(scope, pst.ScopeAny | pst.ScopeIs)
    return all(_fits(scope, each) and (by_type or each[1] is not None) for each in possible)


def _fits(scope: Scope, possible: Possible) -> bool:
    type_name, known_id = possible
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ScopeIs(entity_type):
            return str(entity_type) == type_name
        case pst.ScopeEq(pst.EntityUid() as uid) | pst.ScopeIn(pst.EntityUid() as uid):
            return str(uid.type) == type_name and known_id in {None, uid.id}
        case pst.ScopeIsIn(entity_type, pst.EntityUid() as uid):
            return str(entity_type) == str(uid.type) == type_name and known_id in {None, uid.id}
        case _:  # a template's slot, which no statement has: think of it
            return True
