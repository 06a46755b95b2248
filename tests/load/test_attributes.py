"""A type of resource over several tools, and names that policies could not tell apart."""

from __future__ import annotations

import pytest

from toolgate.core.kinds import Field, Fields
from toolgate.load.attributes import merged

from .conftest import Project, document

SPEC = """\
tool: %s
openapi: openapi.json
environments:
  prod: {upstream: "http://a", allow: ["*"], resources: {Metric: {file: metrics.yaml}}}
operations:
  removeMetric: {resources: [{type: Metric, at: "$args.name"}]}
"""


def tools(project: Project, **catalogues: str) -> Project:
    files = {}
    for tool, catalogue in catalogues.items():
        folder = f"toolspecs/{tool}"
        files |= {
            f"{folder}/tool.yaml": SPEC % tool,
            f"{folder}/openapi.json": document(),
            f"{folder}/metrics.yaml": catalogue,
        }
    return project.write(files)


def test_what_only_one_of_two_tools_has_may_be_absent(project: Project) -> None:
    """Required is what every item of every catalogue has."""
    shapes = tools(project, one="- {id: a, tier: x, team: y}", two="- {id: a, tier: x}").load().shapes

    expected = Fields({"tier": Field("text", required=True), "team": Field("text", required=False)})
    assert {"Metric": expected} == merged(shapes)


def test_two_tools_do_not_mean_different_things_by_an_attribute(project: Project) -> None:
    """A statement could not read it: it is told where the second of them is catalogued."""
    tools(project, one="- {id: a, tier: x}", two="- {id: a, tier: 3}")

    assert project.problems() == [
        (
            "toolspecs/two/tool.yaml",
            4,
            "resources.kind",
            (
                "the attribute `tier` of `Metric` is of another kind in the catalogue of `one`; make them one kind, or give "
                "one of the types another name"
            ),
        )
    ]


@pytest.mark.parametrize("tool", ["read", "write", "destructive"])
def test_a_tool_is_not_called_like_a_group_of_actions(project: Project, tool: str) -> None:
    """`Action::"read"` means every operation of that effect, of every tool."""
    tools(project, **{tool: "- {id: a}"})

    assert [("tool.reserved", f"policies call a group of actions `{tool}`; give the tool another name")] == [
        each[2:] for each in project.problems()
    ]
