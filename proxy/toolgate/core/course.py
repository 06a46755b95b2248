"""Locked plans, compiled to be followed: which steps an operation may be, and what each of them asks of a call.

RULE: compiled once for each plan and bundle, from nothing but these two; a call only looks up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.amounts import COUNTED, exactly
from toolgate.core.model import Json
from toolgate.core.outputs import Wanted, wanted_of
from toolgate.core.pinned import (
    Answers,
    Compile,
    Elements,
    Equal,
    Fitting,
    Members,
    Pin,
    fits,
    is_unanswered,
    pin,
    reads_of,
    text_of,
)
from toolgate.core.planform import size_of
from toolgate.core.recent import Recent
from toolgate.core.reliance import relies_on

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.catalog import Operation
    from toolgate.core.judgements import Literals
    from toolgate.core.plan import Attempted, LockedPlan, Plan, Step

_MOST_KEPT: Final = 32 << 20  # bytes that kept courses weigh
_OF_STEP: Final = 2 << 10  # bytes, whatever the step says
_OF_TEXT: Final = 8  # a value takes so many times its text, as it was read and as it is compared
_OF_CONSTRAINT: Final = 64 << 10  # bytes that a compiled constraint weighs at most: its pattern alone may take them
_NOT_IDEMPOTENT: Final = frozenset({"POST", "PATCH"})


class Station(NamedTuple):
    """One step, ready to be held against calls."""

    step: Step
    pins: tuple[tuple[str, Pin], ...]  # by argument
    needs: tuple[int, ...]  # the places of the steps it depends on
    reads: tuple[str, ...]  # the steps whose answers its arguments are held to
    judges: tuple[str, ...]  # the steps that say whether a call may be this one: itself, those, and what it depends on
    wanted: Wanted | None  # its outputs that later steps read
    budget: tuple[tuple[str, int], ...]  # by dimension, in its own unit
    is_idempotent: bool
    literals: Literals | None  # all that it says of arguments, where that is nothing but literals

    def takes(self, arguments: Mapping[str, Json], answers: Answers) -> bool:
        """Whether a call's arguments are what the step says, as far as that is known yet."""
        for name, each in self.pins:
            if name not in arguments:
                return False
            value = arguments[name]
            if type(each) is not Equal:
                if not fits(each, value, answers):
                    return False
            elif type(value) is str or type(value) is int:  # nearly always
                if value != each.value or type(value) is not type(each.value):
                    return False
            elif text_of(value) != each.written:
                return False
        return True

    def is_stuck(self, steps: Mapping[str, Attempted]) -> bool:
        """Whether it waits for a part of an answer that did not hold it: as it is planned it can never be sent."""
        pins = (each for _, each in self.pins) if self.reads else ()
        return any(is_unanswered(read, steps) for each in pins for read in reads_of(each))


class Lane(NamedTuple):
    """The steps of one operation. Those that say nothing but literals are looked up by what they say, however many."""

    places: tuple[int, ...]
    literal: tuple[tuple[tuple[str, ...], Mapping[tuple[bytes, ...], tuple[int, ...]]], ...]  # by names, then texts
    others: tuple[int, ...]
    reads: tuple[str, ...]  # the steps whose answers say whether a call is one of the others

    def fitting(self, arguments: Mapping[str, Json], answers: Answers, stations: Sequence[Station]) -> list[int]:
        """Return the places, in document order, of the steps that a call's arguments fit."""
        found = [at for at in self.others if stations[at].takes(arguments, answers)]
        for names, by_text in self.literal:
            if all(name in arguments for name in names):
                found += by_text.get(tuple(text_of(arguments[name]) for name in names), ())
        return sorted(found) if len(found) > 1 else found


@dataclass(frozen=True, slots=True)
class Course:
    """A plan, compiled."""

    stations: tuple[Station, ...]  # in document order
    places: Mapping[str, int]  # by step id
    by_operation: Mapping[str, Lane]
    order: tuple[int, ...]  # each after what it depends on
    is_stale: bool  # what the plan relies on is not what it was

    def step(self, step_id: str) -> Step:
        """A step that the plan has."""
        return self.stations[self.places[step_id]].step


class Courses:
    """The courses of one bundle, and the compiler of their constraints."""

    __slots__ = ("_known", "compiling", "relied_on")

    def __init__(self, compiling: Compile | None = None) -> None:
        self.compiling: Compile = compiling or _refuse
        self.relied_on: dict[str, str] = {}  # digests by operation (`reliance`); bounded by the catalog
        self._known: Recent[str, Course] = Recent(_MOST_KEPT, _weight)

    def of(self, locked: LockedPlan, bundle: Bundle) -> Course:
        known = self._known.get(locked.digest)
        return known if known is not None else self._known.keep(locked.digest, _followed(locked, bundle))


def is_idempotent(operation: Operation) -> bool:
    """Whether sending it twice does no more than sending it once (RFC 9110 §9.2.2, or it only reads)."""
    return operation.effect == "read" or operation.method not in _NOT_IDEMPOTENT


def station(step: Step, operation: Operation | None, places: Mapping[str, int], compiling: Compile) -> Station:
    """Compile one step. Where its operation is gone, the plan is stale and nothing of this is asked."""
    pins = tuple((name, pin(value, compiling)) for name, value in step.arguments.items())
    reads = tuple(dict.fromkeys(read.step for _, each in pins for read in reads_of(each)))
    return Station(
        step,
        pins,
        tuple(places[each] for each in step.depends_on if each in places),
        reads,
        tuple(dict.fromkeys((step.id, *step.depends_on, *reads))),
        None,
        tuple((name, amount) for name, text in step.budget.items() if (amount := amount_in(name, text)) is not None),
        operation is not None and is_idempotent(operation),
        _literals(pins),
    )


def _literals(pins: Sequence[tuple[str, Pin]]) -> Literals | None:
    said = tuple((name, each.written) for name, each in pins if isinstance(each, Equal))
    return said if len(said) == len(pins) else None


def amount_in(dimension: str, text: str) -> int | None:
    """Read an amount of a step's budget in the unit of its dimension; None where it is none."""
    if dimension in COUNTED:
        return int(text) if text.isascii() and text.isdecimal() else None
    return exactly(text)


def sorted_places(needs: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Order places so that each comes after what it needs; those on a cycle, or after one, are left out."""
    listed = list(needs)
    waiting = [len(set(each)) for each in listed]
    after: list[list[int]] = [[] for _ in listed]
    for at, each in enumerate(listed):
        for need in set(each):
            after[need].append(at)
    free = [at for at, count in enumerate(waiting) if not count]
    for at in free:  # grows while it is read
        for later in after[at]:
            waiting[later] -= 1
            if not waiting[later]:
                free.append(later)
    return tuple(free)


def _followed(locked: LockedPlan, bundle: Bundle) -> Course:
    plan = locked.plan
    places = {step.id: at for at, step in enumerate(plan.steps)}
    operations = bundle.catalog.operations
    compiling = bundle.courses.compiling
    stations = [station(step, operations.get(step.operation), places, compiling) for step in plan.steps]
    by_operation: dict[str, list[int]] = {}
    for at, step in enumerate(plan.steps):
        by_operation.setdefault(step.operation, []).append(at)
    return Course(
        tuple(_with_wanted(stations)),
        places,
        {key: _lane(each, stations) for key, each in by_operation.items()},
        sorted_places(each.needs for each in stations),
        _is_stale(locked, plan, bundle),
    )


def _lane(places: Sequence[int], stations: Sequence[Station]) -> Lane:
    literal: dict[tuple[str, ...], dict[tuple[bytes, ...], tuple[int, ...]]] = {}
    others = []
    for at in places:
        pins = sorted(stations[at].pins, key=itemgetter(0))
        texts = tuple(each.written for _, each in pins if isinstance(each, Equal))
        if len(texts) < len(pins):
            others.append(at)
            continue
        alike = literal.setdefault(tuple(name for name, _ in pins), {})
        alike[texts] = (*alike.get(texts, ()), at)
    reads = dict.fromkeys(read for at in others for read in stations[at].reads)
    return Lane(tuple(places), tuple(literal.items()), tuple(others), tuple(reads))


def _with_wanted(stations: list[Station]) -> Iterator[Station]:
    wanted: dict[str, dict[str, None]] = {}
    for each in stations:
        for _, pinned in each.pins:
            for read in reads_of(pinned):
                wanted.setdefault(read.step, {})[read.output] = None
    for each in stations:
        names, outputs = wanted.get(each.step.id, ()), each.step.outputs
        yield each._replace(wanted=wanted_of({name: outputs[name] for name in names if name in outputs}))


def _is_stale(locked: LockedPlan, plan: Plan, bundle: Bundle) -> bool:
    if locked.environment != bundle.environment:
        return True
    return locked.revision != bundle.revision and locked.relies_on != relies_on(plan, bundle)


def _weight(_digest: str, course: Course) -> int:
    """SECURITY: by what it says, not by how many steps say it: an agent revises a plan as often as it likes."""
    stations = course.stations
    constraints = sum(_constraints(each) for station in stations for _, each in station.pins)
    text = size_of(station.step for station in stations)
    return _OF_STEP * len(stations) + _OF_TEXT * text + _OF_CONSTRAINT * constraints


def _constraints(pinned: Pin) -> int:
    match pinned:
        case Fitting():
            return 1
        case Members(members):
            return sum(map(_constraints, members.values()))
        case Elements(elements):
            return sum(map(_constraints, elements))
        case _:
            return 0


def _refuse(_schema: Json) -> tuple[tuple[str, str], ...]:
    return (("", "constraints cannot be used here"),)
