"""How the statements of one slice rule on the calls of one operation (DESIGN §7).

RULE: a ruling is a function of what the statements are told and of nothing else, so it is remembered by exactly that.
Whatever is not a clear answer is an `error`, and an error refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from toolgate.core import cedar
from toolgate.core.catalog import Operation
from toolgate.core.conversion import Untold
from toolgate.core.kinds import Fields, Kind
from toolgate.core.policy import NOT_ALLOWED, Question, Ruling, Statement
from toolgate.core.projection import Attributes, Projection, Told, compact
from toolgate.core.reads import Reads
from toolgate.core.recent import Recent
from toolgate.core.slices import Ids, Library

_MOST_REMEMBERED: Final = 8 << 20  # bytes of rulings
_A_RULING: Final = 1000  # bytes, about, beside what was told
_MOST_ATTRIBUTES: Final = 2 << 20  # bytes of what is told of resources
_A_RESOURCE: Final = 500  # bytes, about, beside what was told
_MOST_ALONE: Final = 512
_MOST_BLAMED: Final = 8  # statements that one ruling names for the same fault


class Memory:
    """What the operations of a bundle remember together."""

    __slots__ = ("alone", "attributes", "rulings")

    def __init__(self) -> None:
        self.rulings: Recent[tuple[Rulings, Told], Ruling] = Recent(_MOST_REMEMBERED, lambda key, _: _weight(key[1]))
        self.alone: Recent[tuple[Rulings, str], Projection] = Recent(_MOST_ALONE)  # of single statements
        self.attributes: Attributes = Recent(_MOST_ATTRIBUTES, lambda _, kept: _A_RESOURCE + len(kept[1]))


class View(NamedTuple):
    """What an operation looks like to statements: how its arguments are described, when needed, and its resources."""

    operation: Operation
    describe: Callable[[Operation], Kind]
    shapes: Mapping[str, Fields]
    attributes: Attributes

    def projection(self, reads: Reads) -> Projection:
        return Projection(reads, self.operation, self.kind, self.shapes, self.attributes)

    def kind(self) -> Kind:
        return self.describe(self.operation)


class Rulings:
    """Rules on one operation by some of its statements, as if there were no others."""

    __slots__ = ("_approvals", "_effects", "_ids", "_library", "_memory", "_plain", "_projection", "_view")

    def __init__(self, statements: Iterable[Statement], view: View, library: Library, memory: Memory) -> None:
        given = tuple(statements)
        self._effects = {each.id: each.effect for each in given}
        self._approvals = frozenset(each.id for each in given if each.asks)
        self._ids: Ids = tuple(self._effects)
        self._plain: Ids = tuple(each for each in self._ids if each not in self._approvals)
        self._view = view
        self._library = library
        self._memory = memory
        self._projection = view.projection(library.reads(self._ids))

    @property
    def is_same_for_all(self) -> bool:
        """Whether every call of one principal about one resource gets the same ruling."""
        return self._projection.is_fixed

    def rule(self, question: Question) -> Ruling:
        if not self._ids:
            return NOT_ALLOWED
        try:
            told = self._projection.tell(question)
        except Untold as untold:
            return self._untold(question, untold)
        key = self, told
        known = self._memory.rulings.get(key)
        if known is None:
            known = self._decide(told)
            if not self._projection.tells_time:
                self._memory.rulings.keep((self, _compact(told)), known)
        return known

    def _decide(self, told: Told) -> Ruling:
        """Set approvals aside: where nothing but them denies, the rest says whether a person would be asked at all."""
        ruling = self._ruling(self._judged(self._ids, told))
        if ruling.kind != "denied" or self._approvals.isdisjoint(ruling.statements):
            return ruling
        plain = tuple(each for each in ruling.statements if each not in self._approvals)
        if plain:
            return Ruling("denied", plain)
        rest = self._ruling(self._judged(self._plain, told)) if self._plain else NOT_ALLOWED
        return Ruling("approval", ruling.statements, permits=rest.statements) if rest.kind == "allowed" else rest

    def _judged(self, ids: Ids, told: Told) -> cedar.Verdict:
        projection = self._projection
        try:
            built = self._library.built(ids)
        except (TypeError, ValueError):  # what Cedar cannot build is refused at load; should it come here, it refuses
            return cedar.UNCLEAR
        return cedar.judge(projection.request(told), built, projection.entities(told))

    def _ruling(self, verdict: cedar.Verdict) -> Ruling:
        """SECURITY: an error refuses whatever else holds, since Cedar leaves out a forbid that erred."""
        if verdict.failures:
            return _failed(verdict.failures)
        effects = {self._effects.get(each) for each in verdict.reasons}
        statements = tuple(sorted(verdict.reasons))
        if verdict.allows and effects == {"permit"}:
            return Ruling("allowed", statements)
        if not verdict.allows and effects == {"forbid"}:
            return Ruling("denied", statements)
        if not verdict.allows and not effects:
            return NOT_ALLOWED
        return Ruling("error", detail="the evaluation gave no clear answer")

    def _untold(self, question: Question, untold: Untold) -> Ruling:
        """Name the statements that read what Cedar cannot hold."""
        blamed = {each: its_own for each in self._ids if (its_own := self._untold_alone(each, question)) is not None}
        first = next(iter(blamed), None)
        if first is None:
            return Ruling("error", detail=f"{untold.place} {untold.why}")
        detail = f"{blamed[first].place} {blamed[first].why}, and statement `{first}` reads it"
        return Ruling("error", tuple(blamed)[:_MOST_BLAMED], detail)

    def _untold_alone(self, statement_id: str, question: Question) -> Untold | None:
        key = self, statement_id
        projection = self._memory.alone.get(key)
        if projection is None:
            made = self._view.projection(self._library.reads([statement_id]))
            projection = self._memory.alone.keep(key, made)
        try:
            projection.tell(question)
        except Untold as untold:
            return untold
        return None


def _compact(told: Told) -> Told:
    """What is remembered of the attributes is compact already."""
    return told._replace(context=compact(told.context))


def _weight(told: Told) -> int:
    return _A_RULING + len(told.context) + len(told.attributes) + len(told.resource)


def _failed(failures: Iterable[cedar.Failure]) -> Ruling:
    named = dict(sorted(failures))
    statements = tuple(each for each in named if each)
    first, why = next(iter(named.items()))
    return Ruling("error", statements, f"statement `{first}` could not be evaluated: {why}" if first else why)
