"""A proposed plan while it is judged: its steps as far as they have a form, and how they wait for each other.

RULE: values only, and made once; each check of a plan reads them and says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.course import sorted_places
from toolgate.core.model import Facts, Json
from toolgate.core.pinned import CONSTRAINT, LITERAL, MARKS, bound
from toolgate.core.suggest import Vocabulary
from toolgate.core.wiretext import pointer

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.catalog import Operation
    from toolgate.core.model import Principal
    from toolgate.core.plan import PlanFacts

_MEANT: Final = re.compile(r"\$(?:steps|inputs|args|response|request|outputs)\b|.*\{\$steps\.", re.DOTALL).match


class Now(NamedTuple):
    """What only a running gate knows of a plan that is proposed."""

    facts: Facts
    at_ms: int
    charged: str  # the run that pays: the first above its own, else its own
    former: PlanFacts | None = None  # the plan that is revised


NOTHING_GOES_ON: Final = Now(Facts(), 0, "")


class Mark(NamedTuple):
    """A place in the arguments of a step that is no plain literal."""

    path: str  # a pointer into the arguments
    kind: (
        str  # expression · constraint · mistaken: text that looks like an expression · mixed: a mark beside other keys
    )
    value: Json


class Draft:
    """One step, as far as it has the form of one."""

    def __init__(
        self,
        at: int,
        document: Mapping[str, Json],
        operation: Operation | None,
        lost: frozenset[str] = frozenset(),
    ) -> None:
        self.at = at
        self.document = document  # without what has no form
        self.operation = operation
        self.lost = lost  # keys that had no form: what stood there is told already, and nothing follows from it
        self.id: str = document.get("stepId", f"step {at}")  # that no stepId can be
        self.depends_on: Sequence[str] = document.get("dependsOn", ())
        self.arguments: Mapping[str, Json] = document.get("arguments", {})
        self.outputs: Mapping[str, str] = document.get("outputs", {})

    @property
    def called(self) -> Operation:
        """Its operation. INVARIANT: asked only of a plan with nothing wrong."""
        if self.operation is None:
            raise ValueError("a step without an operation is no step")
        return self.operation

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        return tuple(mark for name, value in self.arguments.items() for mark in _marks(value, pointer("", name)))

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Where a value stands that only the call will tell."""
        return tuple(mark.path for mark in self.marks)

    @cached_property
    def literals(self) -> dict[str, Json]:
        """The arguments that are known; null stands where only the call will tell."""
        known = {name: value for name, value in self.arguments.items() if pointer("", name) not in self.unknown}
        return {name: literal_of(value) for name, value in known.items()}

    def place(self, key: str) -> str:
        return f"/steps/{self.at}/{key}"

    def is_known(self, path: str) -> bool:
        """Whether nothing at a place, in it or around it waits for the call. `*` stands for every element."""
        tokens = path.split("/")
        return not any(_meet(tokens, each.split("/")) for each in self.unknown)


class Graph:
    """Drafts, and what each waits for. Positions are those among the drafts."""

    def __init__(self, drafts: Sequence[Draft], ids: Collection[str]) -> None:
        self.drafts = drafts
        self.ids = ids  # also of steps that have no form
        self.position = {each.id: at for at, each in reversed(list(enumerate(drafts)))}
        self.needs = tuple(
            tuple(self.position[each] for each in draft.depends_on if each in self.position) for draft in drafts
        )
        self.order = sorted_places(self.needs)

    @cached_property
    def before(self) -> tuple[int, ...]:
        """For each position the set of those that come before it, as bits."""
        found = [0] * len(self.drafts)
        for at in self.order:
            for need in self.needs[at]:
                found[at] |= found[need] | 1 << need
        return tuple(found)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its stepIds, to find the one that was meant."""
        return Vocabulary(sorted(self.ids))

    @cached_property
    def is_sound(self) -> bool:
        """Whether it is known what each step waits for, and none waits for itself by any way."""
        is_told = not any({"stepId", "dependsOn"} & draft.lost for draft in self.drafts)
        return is_told and len(self.order) == len(self.drafts)


class Proposal(NamedTuple):
    """Everything a check reads."""

    graph: Graph
    principal: Principal | None
    bundle: Bundle
    now: Now


def literal_of(value: Json) -> Json:
    """The value as it will be sent, null where that is not known."""
    if isinstance(value, dict):
        if len(value) == 1 and LITERAL in value:
            return value[LITERAL]
        return (
            None
            if len(value) == 1 and CONSTRAINT in value
            else {name: literal_of(each) for name, each in value.items()}
        )
    if isinstance(value, list):
        return [literal_of(each) for each in value]
    return None if bound(value) else value


def _marks(value: Json, path: str) -> Iterator[Mark]:
    match value:
        case str():
            if bound(value):
                yield Mark(path, "expression", value)
            elif _MEANT(value):
                yield Mark(path, "mistaken", value)
        case dict():
            yield from _marks_of_object(value, path)
        case list():
            for at, each in enumerate(value):
                yield from _marks(each, pointer(path, at))
        case _:
            return


def _marks_of_object(value: Mapping[str, Json], path: str) -> Iterator[Mark]:
    marked = MARKS.intersection(value)
    if marked and len(value) > 1:
        yield Mark(path, "mixed", min(marked))
    elif CONSTRAINT in value:
        yield Mark(path, "constraint", value[CONSTRAINT])
    elif LITERAL not in value:
        for name, each in value.items():
            yield from _marks(each, pointer(path, name))


def _meet(one: Sequence[str], other: Sequence[str]) -> bool:
    return all(mine in {"*", theirs} for mine, theirs in zip(one, other, strict=False))
