"""What changes from one plan to another, step by step.

RULE: steps are the same where their ids are; values are compared as they would be sent (`1` is not `1.0`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from toolgate.core.planform import step_json
from toolgate.core.wiretext import pointer

if TYPE_CHECKING:
    from toolgate.core.model import Json
    from toolgate.core.plan import Plan, Step

ABSENT: Final = object()


class Change(NamedTuple):
    """One thing that differs: a JSON Pointer into the step, what stood there and what stands there now."""

    path: str
    old: Any  # ABSENT: nothing
    new: Any


class Difference(NamedTuple):
    """What differs between two plans."""

    goal: Change | None
    added: tuple[Step, ...]
    dropped: tuple[Step, ...]
    changed: tuple[tuple[Step, tuple[Change, ...]], ...]  # by the new step
    moved: bool  # the steps that both have stand in another order

    @property
    def is_empty(self) -> bool:
        return not (self.goal or self.added or self.dropped or self.changed or self.moved)


def compare(old: Plan, new: Plan) -> Difference:
    """What changes from one plan to another."""
    before, after = {step.id: step for step in old.steps}, {step.id: step for step in new.steps}
    kept = [name for name in after if name in before]
    changes = [(after[name], tuple(_changes(step_json(before[name]), step_json(after[name]), ""))) for name in kept]
    return Difference(
        None if old.goal == new.goal else Change("/goal", old.goal, new.goal),
        tuple(step for name, step in after.items() if name not in before),
        tuple(step for name, step in before.items() if name not in after),
        tuple((step, found) for step, found in changes if found),
        [name for name in before if name in after] != kept,
    )


def _changes(old: Json, new: Json, path: str) -> Iterator[Change]:
    match old, new:
        case dict(), dict():
            for name in dict.fromkeys((*old, *new)):
                yield from _changes(old.get(name, ABSENT), new.get(name, ABSENT), pointer(path, name))
        case list(), list() if len(old) == len(new):
            for at, (before, after) in enumerate(zip(old, new, strict=True)):
                yield from _changes(before, after, f"{path}/{at}")
        case _ if type(old) is not type(new) or old != new:
            yield Change(path, old, new)
        case _:
            return


def shown(value: Any) -> str:
    """A value as JSON, or a dash for nothing."""
    return "-" if value is ABSENT else json.dumps(value, ensure_ascii=False)
