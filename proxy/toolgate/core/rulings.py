"""How the statements of one slice rule on the calls of one operation (DESIGN §7).

RULE: a ruling is a function of what the statements are told and of nothing else, so it is remembered by exactly that.
Whatever is not a clear answer is an `error`, and an error refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from cedarpy import Entities

from toolgate.core import cedar
from toolgate.core.catalog import Operation
from toolgate.core.conversion import Untold
from toolgate.core.kinds import Fields, Kind
from toolgate.core.marks import weight_of
from toolgate.core.policy import NOT_ALLOWED, NOTHING_NEEDED, Needed, Question, Ruled, Ruling, Statement
from toolgate.core.projection import Attributes, Marks, Projection, Told, run_journal
from toolgate.core.reads import Reads
from toolgate.core.recent import Recent
from toolgate.core.slices import Ids, Library

_MOST_REMEMBERED: Final = 8 << 20  # bytes of rulings
_A_RULING: Final = 1600  # bytes, about, beside what was told, with what the journal holds of it
_MOST_ATTRIBUTES: Final = 2 << 20  # bytes of what is told of resources
_A_RESOURCE: Final = 500  # bytes, about, beside what was told
_MOST_ENTITIES: Final = 4 << 20  # bytes of entities, built
_ENTITIES: Final = 7500  # bytes, about, of those of one question, beside their texts
_PER_BYTE: Final = 12  # of those texts, as Cedar holds them
_MOST_ALONE: Final = 512
_MOST_BLAMED: Final = 8  # statements that one ruling names for the same fault


_NEVER_ALLOWED: Final = Ruled(NOT_ALLOWED)


class Memory:
    """What the operations of a bundle remember together."""

    __slots__ = ("alone", "attributes", "entities", "rulings")

    def __init__(self) -> None:
        self.rulings: Recent[tuple[Rulings, Marks], Ruled] = Recent(
            _MOST_REMEMBERED, lambda key, _: _A_RULING + weight_of(key[1])
        )
        # By what is told of who asks about what: calls differ in their arguments more often.
        self.entities: Recent[tuple[Rulings, Marks], Entities] = Recent(
            _MOST_ENTITIES, lambda key, _: _ENTITIES + _PER_BYTE * weight_of(key[1])
        )
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

    __slots__ = (
        "_approvals", "_effects", "_ids", "_library", "_memory", "_plain", "_projection", "_view", "is_same_for_all",
        "needed",
    )  # fmt: skip

    def __init__(self, statements: Iterable[Statement], view: View, library: Library, memory: Memory) -> None:
        given = tuple(statements)
        self._effects = {each.id: each.effect for each in given}
        self._approvals = frozenset(each.id for each in given if each.asks)
        self._ids: Ids = tuple(self._effects)
        self._plain: Ids = tuple(each for each in self._ids if each not in self._approvals)
        self._view = view
        self._library = library
        self._memory = memory
        read = library.reads(self._ids)
        self._projection = view.projection(read)
        self.needed = _needed(read)
        self.is_same_for_all = self._projection.is_fixed  # every call of one principal about one resource

    def ruled(self, question: Question) -> Ruled:
        if not self._ids:
            return _NEVER_ALLOWED
        try:
            key = self, self._projection.mark(question)
            return self._memory.rulings.get(key) or self._ruled_anew(key, question)
        except Untold as untold:
            return Ruled(self._untold(question, untold), self.needed.read_of(question))

    def _ruled_anew(self, key: tuple[Rulings, Marks], question: Question) -> Ruled:
        ruled = Ruled(self._decide(self._projection.tell_marked(question, key[1])), self.needed.read_of(question))
        if not self._projection.tells_time:
            self._memory.rulings.keep(key, ruled)
        return ruled

    def _decide(self, told: Told) -> Ruling:
        """Set approvals aside: where nothing but them denies, the rest says whether a person would be asked at all."""
        ruling = self._ruling(self._judged(self._ids, told))
        if ruling.kind != "denied" or self._approvals.isdisjoint(ruling.statements):
            return ruling
        plain = tuple(each for each in ruling.statements if each not in self._approvals)
        if plain:
            return Ruling("denied", plain)
        rest = self._ruling(self._judged(self._plain, told)) if self._plain else NOT_ALLOWED
        if rest.kind != "allowed":
            return rest
        return Ruling("approval", ruling.statements, heard=tuple(sorted({*ruling.statements, *rest.statements})))

    def _judged(self, ids: Ids, told: Told) -> cedar.Verdict:
        try:
            built = self._library.built(ids)
        except (TypeError, ValueError):  # what Cedar cannot build is refused at load; should it come here, it refuses
            return cedar.UNCLEAR
        return cedar.judge(self._projection.request(told), built, self._entities(told))

    def _entities(self, told: Told) -> Entities | None:
        key = self, told[:-1]
        known = self._memory.entities.get(key)
        if known is not None:
            return known
        built = cedar.entities_of(self._projection.entities(told))
        return None if built is None else self._memory.entities.keep(key, built)

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


def _needed(read: Reads) -> Needed:
    of_run = read.under("context", "run")
    spent, tags = tuple(sorted(of_run.named("spent"))), tuple(sorted(read.tags))
    needed = Needed(run_journal(of_run), spent, tags, read.touches("resource"))
    return NOTHING_NEEDED if needed == NOTHING_NEEDED else needed


def _failed(failures: Iterable[cedar.Failure]) -> Ruling:
    named = dict(sorted(failures))
    statements = tuple(each for each in named if each)
    first, why = next(iter(named.items()))
    return Ruling("error", statements, f"statement `{first}` could not be evaluated: {why}" if first else why)
