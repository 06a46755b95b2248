"""A plan drawn: for a terminal as lanes that join at the step they are needed by, and as a Mermaid flowchart.

RULE: an edge of the drawing is a dependency of the plan, and each is drawn once. What agents wrote steers nothing.

A lane belongs to a step and lasts until the last step that depends on it. Lanes that pass a join unconcerned are drawn
through it: `─│─`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final

from toolgate.cli.console import printable
from toolgate.core.plan import Plan, Step

_DOT: Final = "●"
# What a lane looks like where lanes join, by where it goes: up, down, left, right.
_JOINTS: Final[Mapping[tuple[bool, bool, bool, bool], str]] = {
    (True, True, False, True): "├", (True, True, True, False): "┤", (True, True, True, True): "┼",
    (True, False, False, True): "╰", (True, False, True, False): "╯", (True, False, True, True): "┴",
    (False, True, False, True): "╭", (False, True, True, False): "╮", (False, True, True, True): "┬",
    (True, True, False, False): "│", (True, False, False, False): "╵", (False, True, False, False): "╷",
}  # fmt: skip
_MERMAID_ESCAPES: Final = str.maketrans({char: f"#{ord(char)};" for char in '"#&<>`\\;[]{}()|'})


def in_order(plan: Plan) -> list[Step]:
    """Every step after those it depends on; otherwise as the document has them."""
    at = {step.id: number for number, step in enumerate(plan.steps)}
    waiting = {step.id: len(set(step.depends_on)) for step in plan.steps}
    after = _dependents(plan)
    ready = [number for number, step in enumerate(plan.steps) if not waiting[step.id]]
    ordered = []
    while ready:
        step = plan.steps[heappop(ready)]
        ordered.append(step)
        for each in after[step.id]:
            waiting[each] -= 1
            if not waiting[each]:
                heappush(ready, at[each])
    return ordered


def terminal(plan: Plan, told: Mapping[str, str]) -> Iterator[str]:
    """The lanes, and beside each step what is told of it."""
    lanes = _Lanes({step: len(after) for step, after in _dependents(plan).items()})
    drawn = [(step, *lanes.draw(step)) for step in in_order(plan)]
    width = max((len(row) for _, _, row in drawn), default=0)
    for step, joint, row in drawn:
        if joint is not None:
            yield joint
        yield f"{row:<{width}}  {told[step.id]}"


def mermaid(plan: Plan, states: Mapping[str, str] | None = None) -> Iterator[str]:
    """A flowchart as Mermaid draws it; a state is a class of its step."""
    node = {step.id: f"s{number}" for number, step in enumerate(plan.steps, start=1)}
    yield "flowchart TD"
    for step in plan.steps:
        style = f":::{states[step.id]}" if states else ""
        yield f'  {node[step.id]}["{_label(step.name)}<br/>{_label(step.operation)}"]{style}'
    for step in plan.steps:
        yield from (f"  {node[each]} --> {node[step.id]}" for each in dict.fromkeys(step.depends_on))
    if states:
        yield from (f"  classDef {state} {style}" for state, style in _COLOURS.items() if state in states.values())


_COLOURS: Final[Mapping[str, str]] = {
    "done": "stroke:#2da44e", "ready": "stroke:#0969da", "running": "stroke:#bf8700",
    "failed": "stroke:#cf222e", "unknown": "stroke:#cf222e,stroke-dasharray: 4", "waiting": "stroke:#8c959f",
}  # fmt: skip


def _label(text: str) -> str:
    return printable(text).translate(_MERMAID_ESCAPES)


def _dependents(plan: Plan) -> dict[str, list[str]]:
    after: dict[str, list[str]] = {step.id: [] for step in plan.steps}
    for step in plan.steps:
        for each in dict.fromkeys(step.depends_on):
            after[each].append(step.id)
    return after


@dataclass(slots=True)
class _Lanes:
    """The columns of the drawing, from the left: whose lane each is, if anybody's."""

    left: dict[str, int]  # of each step, how many that depend on it are still to be drawn
    owners: list[str | None] = field(default_factory=list)
    dots: set[int] = field(default_factory=set)  # columns that have a dot in the row above

    def draw(self, step: Step) -> tuple[str | None, str]:
        """The row that joins what it depends on, where there is one, and its own."""
        joined = {column for column, owner in enumerate(self.owners) if owner in step.depends_on}
        ending = {column for column in joined if self._ends(column)}
        column = min(ending) if ending else self._free()
        joint = self._joint(joined, ending, column) if joined or column in self.dots else None
        for each in ending:
            self.owners[each] = None
        self.owners[column] = step.id
        row = " ".join(_DOT if at == column else "│" if owner else " " for at, owner in enumerate(self.owners))
        self.dots = {column}
        if not self.left[step.id]:
            self.owners[column] = None
        while self.owners and self.owners[-1] is None:
            self.owners.pop()
        return joint, row.rstrip()

    def _ends(self, column: int) -> bool:
        owner = str(self.owners[column])
        self.left[owner] -= 1
        return not self.left[owner]

    def _free(self) -> int:
        if None not in self.owners:
            self.owners.append(None)
        return self.owners.index(None)

    def _joint(self, joined: set[int], ending: set[int], column: int) -> str:
        ends = {*joined, column} if joined else set()
        first, last = (min(ends), max(ends)) if ends else (-1, -1)
        drawn = []
        for at, owner in enumerate(self.owners):
            if at in ends:
                up, down = at in joined, at == column or at not in ending
                glyph = _JOINTS[up, down, at > first, at < last]
            else:
                glyph = "│" if owner else "─" if first < at < last else " "
            drawn.append(glyph + ("─" if first <= at < last else " "))
        return "".join(drawn).rstrip()
