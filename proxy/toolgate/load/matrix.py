"""One written case → its combinations: what a `matrix` lists is put in its place, once for each way to choose.

    matrix: {principal: [digest, oncall], arguments.name: [node_cpu, node_load1]}     four combinations

RULE: a combination is the case as somebody would have written it out by hand; nothing but its listed places differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Final

from toolgate.core.bundle import Problem
from toolgate.core.model import Json
from toolgate.load.models import did_you_mean
from toolgate.load.yaml import Parsed, Steps

MAX_COMBINATIONS: Final = 1_000
_SHOWN: Final = 40
_MATRIX: Final = "matrix"


@dataclass(frozen=True, slots=True)
class Combination:
    """A case written out. `moved` says where in the file a place was filled from, for problems with what stands there."""

    raw: Json
    label: str = ""
    moved: Mapping[Steps, Steps] = field(default_factory=dict)

    def origin(self, steps: Steps) -> Steps | None:
        """Return where the matrix gives what stands at `steps`, or None when the case itself does."""
        known = (steps[:at] for at in range(len(steps), 0, -1) if steps[:at] in self.moved)
        first = next(known, None)
        return None if first is None else self.moved[first]


@dataclass(frozen=True, slots=True)
class Places:
    """The places a matrix may name: keys of a case, and keys of its call without the `call.` before them."""

    case: frozenset[str]
    call: frozenset[str]

    def steps(self, name: str) -> Steps | None:
        """Return the steps a dotted name stands for, or None when it names no place."""
        first, *rest = name.split(".")
        if not all((first, *rest)):
            return None
        if first in self.case:
            return (first, *rest)
        return ("call", first, *rest) if first in self.call else None

    def names(self) -> frozenset[str]:
        return self.case | self.call


def combinations(
    raw: Json, at: Steps, parsed: Parsed, shown: str, places: Places
) -> tuple[list[Combination], list[Problem]]:
    """Return the combinations of a written case; a case without a matrix is its own."""
    if not isinstance(raw, dict) or _MATRIX not in raw:
        return [Combination(raw)], []
    reading = _Reading(at, parsed, shown, places)
    rest = {key: value for key, value in raw.items() if key != _MATRIX}
    found = reading.all_of(rest, raw[_MATRIX])
    return (found, []) if not reading.problems else ([], reading.problems)


@dataclass(slots=True)
class _Reading:
    at: Steps
    parsed: Parsed
    shown: str
    places: Places
    problems: list[Problem] = field(default_factory=list)

    def all_of(self, rest: Mapping[str, Json], matrix: Json) -> list[Combination]:
        rows = matrix if isinstance(matrix, list) else [matrix]
        if not rows or not all(isinstance(row, dict) and row for row in rows):
            self._problem(
                (_MATRIX,),
                "`matrix` must map places to lists of values, such as `{principal: [digest, oncall]}`, or be a list of such rows",
            )
            return []
        found: list[Combination] = []
        for number, row in enumerate(rows):
            here: Steps = (_MATRIX, number) if isinstance(matrix, list) else (_MATRIX,)
            found += islice(self._row(rest, row, here), MAX_COMBINATIONS + 1)
            if len(found) > MAX_COMBINATIONS:
                self._problem((_MATRIX,), f"`matrix` has more than {MAX_COMBINATIONS:,} combinations; split the case")
                break
        return found

    def _row(self, rest: Mapping[str, Json], row: Mapping[str, Json], here: Steps) -> Iterator[Combination]:
        targets = {name: self._target(name, here) for name in row}
        listed = {name: values if isinstance(values, list) else [values] for name, values in row.items()}
        for name in (name for name, values in listed.items() if not values):
            self._problem((*here, name), f"`{name}` lists no value, so the case would never run")
        if self.problems:
            return
        spoken = _spoken(row)
        for chosen in product(*listed.values()):
            raw, moved = deepcopy(dict(rest)), {}
            for name, value in zip(listed, chosen, strict=True):
                steps = targets[name] or ()
                if not _put(raw, steps, value):
                    self._problem((*here, name), f"`{name}` lies inside something that is not a mapping")
                    return
                moved[steps] = (*self.at, *here, name)
            label = ", ".join(
                f"{spoken[name]}={_told(value)}" for name, value in zip(listed, chosen, strict=True) if name in spoken
            )
            yield Combination(raw, label, moved)

    def _target(self, name: str, here: Steps) -> Steps | None:
        steps = self.places.steps(name)
        if steps is None:
            hint = (
                did_you_mean(name.partition(".")[0], self.places.names())
                or "; write `principal`, `arguments.name` or `facts.run.calls`"
            )
            self._problem((*here, name), f"`{name}` is no place of a case{hint}")
        return steps

    def _problem(self, steps: Steps, message: str) -> None:
        self.problems.append(Problem(self.shown, self.parsed.line((*self.at, *steps)), "case.matrix", message))


def _put(raw: dict[str, Json], steps: Iterable[str | int], value: Json) -> bool:
    """Put a value at its place, making the mappings around it; say whether there was room for it."""
    *around, last = steps
    inside = raw
    for step in around:
        inside = inside.setdefault(str(step), {})
        if not isinstance(inside, dict):
            return False
    inside[str(last)] = deepcopy(value)
    return True


def _spoken(row: Mapping[str, Json]) -> dict[str, str]:
    """What the label calls each place: its last word, or all of it where two end alike. What is wanted is not named."""
    named = [name for name in row if name.partition(".")[0] != "want"]
    ends = [name.rpartition(".")[2] for name in named]
    return {name: end if ends.count(end) == 1 else name for name, end in zip(named, ends, strict=True)}


def _told(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
