"""Every statement at run time: operation by operation, what was worked out of them when it was first asked for.

RULE: whatever is kept here is bounded, and can be worked out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from toolgate.core.actions import TOOL, arguments_kind
from toolgate.core.catalog import Operation
from toolgate.core.explaining import applied, meant_otherwise, near_misses
from toolgate.core.kinds import Describer, Fields, Kind
from toolgate.core.model import Principal
from toolgate.core.policy import NOTHING_NEEDED, Applied, NearMiss, Needed, Question, Ruled, Ruling, Statement
from toolgate.core.prospects import Prospects
from toolgate.core.reads import Reads
from toolgate.core.recent import Recent
from toolgate.core.rulings import Memory, Rulings, View
from toolgate.core.slices import Index, Library

_LEAST_STANDING: Final = 8192  # of operations and principals together; each holds a principal
_STANDING_EACH: Final = (
    8  # principals for each operation, where there are many: to forget in turn would be to forget all
)
_NO_SHAPES: Final[Mapping[str, Fields]] = {}


class Bearing(NamedTuple):
    """The slice of an operation, compiled."""

    enforced: Rulings
    audited: Rulings | None  # as if the statements in audit were enforced too
    needed: Needed


class Standing(NamedTuple):
    """The permits that allow a principal every call of an operation. It holds the principal, so that its id stays its own."""

    principal: Principal
    statements: tuple[str, ...]


class Slate:
    """The statements of a bundle, indexed and compiled."""

    __slots__ = (
        "_alike",
        "_bearings",
        "_describers",
        "_library",
        "_memory",
        "_shapes",
        "_standing",
        "index",
        "prospects",
    )

    def __init__(
        self, statements: Iterable[Statement], shapes: Mapping[str, Mapping[str, Fields]], operations: int
    ) -> None:
        self.index = Index(statements)
        self.prospects = Prospects(self.index)
        self._shapes = shapes
        self._library = Library(self.index.statements)
        self._memory = Memory()
        self._describers: dict[int, Describer] = {}
        self._bearings: dict[Operation, Bearing] = {}  # the bundle's operations bound these: a few kB each
        self._alike: dict[tuple[str, ...], Bearing] = {}
        self._standing: Recent[tuple[int, Operation, str], Standing] = Recent(
            max(_LEAST_STANDING, _STANDING_EACH * operations)
        )

    def ruled(self, question: Question) -> Ruled:
        operation = question.operation
        bearing = self._bearings.get(operation) or self._bearing(operation)
        ruled = bearing.enforced.ruled(question)
        if bearing.audited is not None:
            return _with_shadow(ruled.ruling, bearing.audited.ruled(question))
        if bearing.enforced.is_same_for_all and _stands(question, ruled.ruling, bearing.needed):
            self._let_stand(question, ruled.ruling)
        return ruled

    def standing(self, principal: Principal, operation: Operation, environment: str) -> tuple[str, ...] | None:
        """Return what allows every such call: nothing that is read of one differs from one to the next."""
        known = self._standing.get((id(principal), operation, environment))
        return None if known is None else known.statements

    def _let_stand(self, question: Question, ruling: Ruling) -> None:
        principal = question.principal
        key = id(principal), question.operation, question.environment
        if self._standing.get(key) is None:
            self._standing.keep(key, Standing(principal, ruling.statements))

    def reads(self, operation: Operation) -> Reads:
        return self._library.reads(each.id for each in self.index.of(operation))

    @property
    def reads_run(self) -> bool:
        """Whether any statement reads what the run has done so far."""
        return self._library.reads(self.index.statements).touches("context", "run")

    def needed(self, operation: Operation) -> Needed:
        bearing = self._bearings.get(operation) or self._bearing(operation)
        return bearing.needed

    def near_misses(self, question: Question) -> tuple[NearMiss, ...]:
        operation = question.operation
        view, index = self._view(operation), self.index
        return (
            *near_misses(index.of(operation), question, view),
            *meant_otherwise(index.beside(operation), question, view),
        )

    def applied(self, question: Question) -> tuple[Applied, ...]:
        return applied(self.index.of(question.operation), question, self._view(question.operation))

    def _bearing(self, operation: Operation) -> Bearing:
        """Operations that the same statements bear on are ruled on as one, unless they read what differs between them."""
        statements = self.index.of(operation)
        ids = tuple(each.id for each in statements)
        if _tells_apart(self._library.reads(ids)):
            bearing = self._compiled(statements, operation)
        else:
            bearing = self._alike.get(ids) or self._compiled(statements, operation)
            self._alike[ids] = bearing
        self._bearings[operation] = bearing
        return bearing

    def _compiled(self, statements: tuple[Statement, ...], operation: Operation) -> Bearing:
        view = self._view(operation)
        plain = [each for each in statements if not each.audit]
        enforced = Rulings(plain, view, self._library, self._memory)
        if len(plain) == len(statements):
            return Bearing(enforced, None, enforced.needed)
        audited = Rulings(statements, view, self._library, self._memory)
        return Bearing(enforced, audited, audited.needed)

    def _view(self, operation: Operation) -> View:
        return View(operation, self._kind, dict(self._shapes_of(operation)), self._memory.attributes)

    def _shapes_of(self, operation: Operation) -> Iterator[tuple[str, Fields]]:
        for each in operation.resources:
            shape = self._shapes.get(each.catalogue or "", _NO_SHAPES).get(each.type)
            if shape is not None:
                yield each.type, shape

    def _kind(self, operation: Operation) -> Kind:
        return arguments_kind(operation, self._describers)


def _with_shadow(ruling: Ruling, strict: Ruled) -> Ruled:
    """A ruling beside the one that audit would make, which reads whatever this one does."""
    shadow = strict.ruling
    return Ruled(ruling if shadow.kind == ruling.kind else ruling._replace(shadow=shadow), strict.read)


def _stands(question: Question, ruling: Ruling, needed: Needed) -> bool:
    return (
        ruling.kind == "allowed"
        and not question.operation.resources
        and question.resource.type == TOOL
        and needed is NOTHING_NEEDED
    )


def _tells_apart(read: Reads) -> bool:
    """Whether what is read looks different from one operation to another."""
    return (
        "action" in read.identities
        or bool(read.under("resource").values | read.under("resource").presence)
        or read.touches("context", "args")
        or read.touches("context", "derived")
    )
