"""Plans drawn: every dependency is an edge, each edge is drawn once, and a step stands below all it needs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.cli.drawing import in_order, mermaid, terminal
from toolgate.core.plan import Plan, Step

_UP, _LEFT, _RIGHT = set("│├┤┼╰╯┴╵"), set("┤┼╯┴╮┬─"), set("├┼╰┴╭┬─")


def plan(**needs: str) -> Plan:
    """`plan(a="", b="a")`: the step b needs the step a."""
    return Plan("a goal", tuple(Step(name, name, f"t.{name}", tuple(of.split())) for name, of in needs.items()))


def drawn(of: Plan) -> list[str]:
    return list(terminal(of, {step.id: step.id for step in of.steps}))


@pytest.mark.parametrize(
    ("needs", "picture"),
    [
        ({"a": ""}, ["●  a"]),
        ({"a": "", "b": "a"}, ["●  a", "│", "●  b"]),
        ({"a": "", "b": ""}, ["●  a", "", "●  b"]),
        ({"a": "", "b": "", "c": "a b"}, ["●    a", "│ ●  b", "├─╯", "●    c"]),
        ({"a": "", "b": "a", "c": "a", "d": "b c"}, ["●    a", "├─╮", "│ ●  b", "│ │", "● │  c", "├─╯", "●    d"]),
        (
            {"a": "", "b": "a", "c": "a", "d": "a", "e": "b d", "x": "", "z": "x e"},
            ["●      a", "├─╮", "│ ●    b", "├─│─╮", "│ │ ●  c", "│ │", "● │    d", "├─╯", "●      e", "│ ●    x", "├─╯", "●      z"],
        ),
    ],
)  # fmt: skip
def test_a_plan_is_drawn_as_lanes(needs: dict[str, str], picture: list[str]) -> None:
    """A lane is a step's until the last step that needs it; lanes join at the step that needs them."""
    assert picture == drawn(plan(**needs))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    chosen = [draw(st.sets(st.integers(0, at - 1), max_size=4)) if at else set() for at in range(count)]
    shuffled = draw(st.permutations(range(count)))
    steps = [Step(f"s{at}", f"s{at}", "t.op", tuple(f"s{each}" for each in sorted(chosen[at]))) for at in shuffled]
    return Plan("a goal", tuple(steps))


@given(plans())
def test_what_is_drawn_is_the_plan(of: Plan) -> None:
    """Read back from the picture, along its lines: the edges of the drawing are the dependencies, no more and no fewer."""
    rows = drawn(of)
    found = {(above, below) for below, sources in _followed(rows).items() for above in sources}

    assert {(each, step.id) for step in of.steps for each in step.depends_on} == found


def _followed(rows: list[str]) -> dict[str, set[str]]:
    """Which steps reach which: a lane carries its owner down, and what the row above a dot joins ends in that dot."""
    lanes: dict[int, str] = {}
    sources: dict[str, set[str]] = {}
    above = ""
    for row in rows:
        if "●" not in row:
            above = row
            continue
        column, name = row.index("●"), row.split()[-1]
        glyphs = {at: glyph for at, glyph in enumerate(above) if glyph in _UP and at in lanes}
        sources[name] = {lanes[at] for at, glyph in glyphs.items() if glyph != "│" or at == column}
        lanes = {at: owner for at, owner in lanes.items() if row[at : at + 1] == "│"} | {column: name}
        above = ""
    return sources


def test_every_line_of_a_picture_goes_on() -> None:
    """What leaves a glyph to the right arrives in the next one, and what crosses a lane goes through it."""
    rows = drawn(plan(a="", b="a", c="a", d="a", e="b c d", f="a e"))
    joints = [row for row in rows if "●" not in row]
    assert all(row[at + 1] in _LEFT | {"│"} for row in joints for at, glyph in enumerate(row) if glyph in _RIGHT)


def test_steps_are_drawn_in_an_order_that_works() -> None:
    """Each below all it needs; otherwise as the document has them."""
    assert ["b", "c", "a", "d"] == [step.id for step in in_order(plan(a="c", b="", c="", d="a"))]
    assert [] == [step.id for step in in_order(plan(a="b", b="a"))]


def test_a_flowchart_is_mermaid_whatever_the_names_are() -> None:
    """Names of agents are labels: nothing in them ends the label, begins another line or runs as a script."""
    evil = 'x"]; click s1 "javascript:1"\n<script>&#35;'
    drawing = list(
        mermaid(Plan("g", (Step("a", evil, "t.op"), Step("b", "b", "t.op", ("a", "a")))), {"a": "done", "b": "ready"})
    )

    assert drawing[0] == "flowchart TD"
    assert re.fullmatch(r'  s1\["[^"\[\]<>\n]*<br/>t\.op"\]:::done', drawing[1])
    assert "  s1 --> s2" in drawing
    assert sum("-->" in line for line in drawing) == 1
    assert [line.split()[1] for line in drawing if "classDef" in line] == ["done", "ready"]
