"""What tells one question from another, for less than telling it (CEDAR.md §5).

RULE: two questions with equal marks are told alike, or neither can be told. A mark may be finer than what is told, never
coarser: `1`, `1.0` and `true` are equal to Python and not to Cedar, so a mark holds their types.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Final, TypeAlias

import orjson

from toolgate.core.conversion import Wanted, require_object
from toolgate.core.kinds import Fields, Kind
from toolgate.core.model import Json
from toolgate.core.policy import Question
from toolgate.core.reads import RESERVED, Reads
from toolgate.core.strictjson import compact

Mark: TypeAlias = Callable[[Json], Hashable]
MarkOfQuestion: TypeAlias = Callable[[Question], Hashable]

_SCALARS: Final = frozenset({"text", "long", "flag", "decimal"})
_PER_OPERATION: Final = (
    80  # bytes, about, of one in a set, and in the list that the journal is told; its name is the bundle's
)


def mark_of(kind: Kind, want: Wanted) -> Mark | None:
    """Compile the mark of what is wanted of values of one kind; None where only telling it tells it apart."""
    if not isinstance(kind, Fields) or want.whole:
        return None
    members: list[tuple[str, Mark]] = []
    for name, below in sorted(want.below.items()):
        mark = _mark_of_member(kind, name, below)
        if mark is None:
            return None
        members.append((name, mark))
    return _mark_of_members(tuple(members))


def mark_of_run(reads: Reads) -> MarkOfQuestion | None:
    """Compile the mark of a run, given what is read of it; None where only telling it tells it apart."""
    if reads.touches("spent"):  # told in coarser steps than it is counted in
        return None
    marks: list[MarkOfQuestion] = [
        attrgetter(f"run.{name}") for name in ("calls", "refusals", "age_s") if reads.touches(name)
    ]
    if reads.touches("completed"):
        marks.append(_mark_of_completed(reads.under("completed")))
    if reads.touches("by_operation"):
        marks += [_mark_of_count(operation) for operation in sorted(reads.named("by_operation"))]
    return together(marks)


def together(marks: Sequence[MarkOfQuestion]) -> MarkOfQuestion:
    """One mark of several; of one or two, as there nearly always are, without a loop."""
    match marks:
        case [mark]:
            return mark
        case [first, second]:
            return lambda question: (first(question), second(question))
        case _:
            return lambda question: tuple([mark(question) for mark in marks])


def mark_by_telling(tell: Callable[[Json], Json]) -> Mark:
    """What is told, as bytes: the mark of everything that has no cheaper one."""
    return lambda value: compact(orjson.dumps(tell(value)))


def weight_of(marks: tuple[Hashable, ...]) -> int:
    """How many bytes, about, the texts and sets of marks take."""
    weight = 0
    for mark in marks:
        if isinstance(mark, (str, bytes)):
            weight += len(mark)
        elif isinstance(mark, tuple):
            weight += weight_of(mark)
        elif isinstance(mark, frozenset):  # of operations; a run completes as many as there are
            weight += _PER_OPERATION * len(mark)
    return weight


def _mark_of_member(kind: Fields, name: str, want: Wanted) -> Mark | None:
    member = kind.members.get(name)
    if member is None or name in RESERVED:
        return None
    if want.whole:
        return _mark_scalar if isinstance(member.kind, str) and member.kind in _SCALARS else None
    return mark_of(member.kind, want) if want.below else _mark_presence


def _mark_of_members(members: tuple[tuple[str, Mark], ...]) -> Mark:
    def mark(value: Mapping[str, Json]) -> Hashable:
        require_object(value)
        marks = []
        for name, mark_member in members:
            part = value.get(name)
            marks.append(None if part is None else mark_member(part))
        return tuple(marks)

    return mark


def _mark_scalar(value: Json) -> Hashable:
    if type(value) is str:  # equal to nothing but itself
        return value
    return type(value), value if isinstance(value, int | float) else None  # what is neither cannot be told


def _mark_presence(_value: Json) -> Hashable:
    return True


def _mark_of_completed(reads: Reads) -> MarkOfQuestion:
    if () in reads.values:
        return attrgetter("run.completed")
    asked = frozenset(reads.named())
    return lambda question: asked.intersection(question.run.completed)


def _mark_of_count(operation: str) -> MarkOfQuestion:
    return lambda question: question.run.by_operation.get(operation)
