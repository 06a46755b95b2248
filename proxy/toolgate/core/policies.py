"""Every statement of a bundle, and what they say together (DESIGN §7).

RULE: no statements, nothing allowed. Cedar is imported when there is a statement, and not before: it costs memory and
time to start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from toolgate.core.policy import (
    NOT_ALLOWED,
    NOTHING_NEEDED,
    Applied,
    NearMiss,
    Needed,
    Question,
    Ruled,
    Ruling,
    Statement,
)
from toolgate.core.reads import NOTHING, Reads
from toolgate.core.recent import Recent

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation
    from toolgate.core.kinds import Fields
    from toolgate.core.model import Principal, Refusal
    from toolgate.core.slate import Slate

Shapes = Mapping[str, Mapping[str, "Fields"]]  # tool → type → the attributes statements see
_NO_SHAPES: Final[Shapes] = MappingProxyType({})
# What a refusal follows from: who is refused what, where and about which resource by type and id, and what was read, by
# identity: the refusal itself holds that.
Occasion: TypeAlias = tuple[Ruling, "Operation", str, tuple[str, str, str], int]
_MOST_REFUSALS: Final = 4 << 20  # bytes
_A_REFUSAL: Final = 2500  # bytes, about, beside the id of its resource
_NEVER_ALLOWED: Final = Ruled(NOT_ALLOWED)


class Policies:
    """What may be done, by whom, to what. Raises ValueError for statements that `load` should have refused."""

    __slots__ = ("_slate", "reads_run", "refusals", "statements")

    def __init__(self, statements: Iterable[Statement], operations: int = 0, shapes: Shapes = _NO_SHAPES) -> None:
        """`operations`: how many there are, for as many things are remembered."""
        given = tuple(statements)
        self.statements: Mapping[str, Statement] = {each.id: each for each in given}
        self._slate = _slate_of(given, shapes, operations) if given else None
        self.refusals: Recent[Occasion, Refusal] = Recent(
            _MOST_REFUSALS, lambda key, _: _A_REFUSAL + 2 * len(key[3][2])
        )
        self.reads_run: bool = self._slate is not None and self._slate.reads_run

    def rule(self, question: Question) -> Ruling:
        """Rule on a call about one resource; a call about several is allowed only if each is."""
        return self.ruled(question).ruling

    def ruled(self, question: Question) -> Ruled:
        """The same, with what the journal must hold to rule so again."""
        return _NEVER_ALLOWED if self._slate is None else self._slate.ruled(question)

    def standing(self, principal: Principal, operation: Operation, environment: str) -> tuple[str, ...] | None:
        """Return the permits that allow this principal each call of an operation, where that was ruled and is one answer."""
        return None if self._slate is None else self._slate.standing(principal, operation, environment)

    def may(self, principal: Principal, operation: Operation, environment: str) -> bool:
        """Whether some call could be permitted, if need be after a person said yes. False means that none ever is."""
        return self._slate is not None and self._slate.prospects.may(principal, operation, environment)

    def may_ask(self, principal: Principal, operation: Operation, environment: str) -> bool:
        """Whether some call that could be permitted would have to be approved by a person first."""
        return self._slate is not None and self._slate.prospects.may_ask(principal, operation, environment)

    def near_misses(self, question: Question) -> tuple[NearMiss, ...]:
        """Return the permits that would hold but for one condition. For explaining only: each is evaluated by itself."""
        return () if self._slate is None else self._slate.near_misses(question)

    def applied(self, question: Question) -> tuple[Applied, ...]:
        """Return which statements of the slice hold, each evaluated by itself. For explaining only."""
        return () if self._slate is None else self._slate.applied(question)

    def reads(self, operation: Operation) -> Reads:
        """Return what is read of a call of this operation: what else must be journaled to decide it again."""
        return NOTHING if self._slate is None else self._slate.reads(operation)

    def needed(self, operation: Operation) -> Needed:
        """Return what of that a journal line must hold beside the arguments."""
        return NOTHING_NEEDED if self._slate is None else self._slate.needed(operation)

    def for_action(self, operation: Operation) -> tuple[Statement, ...]:
        """Return the statements whose action scope holds this operation, by id."""
        return () if self._slate is None else self._slate.index.of(operation)


def _slate_of(statements: tuple[Statement, ...], shapes: Shapes, operations: int) -> Slate:
    from toolgate.core.slate import Slate  # noqa: PLC0415 (the import of Cedar: see the RULE)

    return Slate(statements, shapes, operations)
