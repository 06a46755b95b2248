"""Resources at load: live catalogues, what policies may read of them, and what calls must cover."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.load.conftest import Project

from toolgate.core.bundle import Bundle
from toolgate.core.kinds import Field, Fields, Many

_PAGE = {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}}
_CLUSTER = {"name": "cluster", "in": "query", "required": True, "schema": {"type": "string"}}
_METRIC = {
    "type": "object",
    "required": ["name", "tier"],
    "properties": {
        "name": {"type": "string"},
        "tier": {"enum": ["critical", "standard"]},
        "weight": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
_LIST = {"type": "object", "required": ["metrics"], "properties": {"metrics": {"type": "array", "items": _METRIC}}}


def _operation(name: str, *parameters: Any, schema: Any = None, **more: Any) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}} if schema else {}
    return {
        "operationId": name,
        "parameters": list(parameters),
        "responses": {"200": {"description": "", **content}},
    } | more


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_BODY = {"content": {"application/json": {"schema": {"type": "object", "properties": {"names": {"type": "array"}}}}}}
METRICS = {
    "openapi": "3.1.0",
    "info": {"title": "Metrics", "version": "1"},
    "paths": {
        "/metrics": {"get": _operation("listMetrics", _PAGE, schema=_LIST), "head": _operation("headMetrics")},
        "/clusters": {
            "get": _operation("listClusters", _CLUSTER, schema={"type": "array", "items": {"type": "string"}})
        },
        "/metrics/{name}": {"get": _operation("readMetric", _NAME), "delete": _operation("removeMetric", _NAME)},
    },
}
REPORTS = {
    "openapi": "3.1.0",
    "info": {"title": "Reports", "version": "1"},
    "paths": {
        "/reports": {"post": _operation("publish", requestBody=_BODY)},
        "/metrics": {"get": _operation("listMetrics", schema=_LIST)},
    },
}
_READ = "{operation: listMetrics, items: $response.body#/metrics, id: name}"


def _tool(name: str, environment: str = "", operations: str = "{}") -> str:
    return (
        f"tool: {name}\nopenapi: openapi.json\nenvironments:\n  prod:\n"
        f'    upstream: "http://127.0.0.1:9"\n    allow: ["*"]\n{environment}operations: {operations}\n'
    )


def _live(reading: str = _READ, more: str = "") -> str:
    return f"    resources:\n      Metric: {{from: {reading}{more}}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two tools: one that has metrics, one that reports on them."""
    files = {"metrics": METRICS, "reports": REPORTS}
    return Project(tmp_path / "project").write(
        {
            **{f"toolspecs/{name}/openapi.json": json.dumps(document) for name, document in files.items()},
            "toolspecs/metrics/tool.yaml": _tool("metrics", _live()),
            "toolspecs/reports/tool.yaml": _tool("reports"),
        }
    )


def _with(project: Project, **tools: str) -> Project:
    return project.write({f"toolspecs/{name}/tool.yaml": text for name, text in tools.items()})


def _problem(project: Project) -> tuple[int, str, str]:
    ((_, line, code, message),) = project.problems()
    return line, code, message


def _only(bundle: Bundle) -> Any:
    (live,) = bundle.live
    return live


def test_a_live_catalogue_says_what_to_ask_and_how_often(project):
    """`from` becomes one value; what is left out has its default, and nothing is in the bundle's own resources."""
    bundle = project.load()

    live = _only(bundle)
    assert ("metrics", "Metric", "metrics.listMetrics", "name", 10_000, 30.0, 300.0) == (
        live.tool, live.type, live.operation, live.id, live.max_items, live.ttl_s, live.stale_s,
    )  # fmt: skip
    assert {"metrics.listMetrics"} == bundle.own_reads
    assert not bundle.resources["metrics"]


def test_what_is_too_old_follows_from_how_often_it_is_read(project):
    """Ten readings may be missed before calls wait, unless the toolspec says another time."""
    slow = _with(project, metrics=_tool("metrics", _live(more=", ttl_s: 120"))).load()
    said = _with(project, metrics=_tool("metrics", _live(more=", ttl_s: 120, stale_s: 130.5"))).load()

    assert (1200.0, 130.5) == (_only(slow).stale_s, _only(said).stale_s)


def test_policies_may_read_what_the_declared_answer_promises(project):
    """The attributes of a live catalogue have the kinds of its operation's response schema, at its items; the id is none."""
    shapes = project.load().shapes["metrics"]

    expected = {
        "tier": Field("text", required=True),
        "weight": Field("decimal", required=False),
        "tags": Field(Many("text"), required=False),
    }
    assert {"Metric": Fields(expected)} == shapes


def test_policies_may_read_what_the_resources_of_a_file_have(project):
    """Kinds and whether each has the attribute come from the data."""
    project.write({"toolspecs/metrics/m.yaml": "- {id: a, tier: x, rank: 1}\n- {id: b, tier: y}\n"})
    tool = _tool("metrics", "    resources: {Metric: {file: m.yaml}}\n")

    shapes = _with(project, metrics=tool).load().shapes["metrics"]

    assert {"Metric": Fields({"tier": Field("text", required=True), "rank": Field("long", required=False)})} == shapes


@pytest.mark.parametrize("items", ["[]", "[x, y]"])
def test_resources_of_which_nothing_is_known_have_no_attributes(project, items):
    """An empty file, or a list of plain ids, promises nothing to a policy."""
    reading = "{operation: listClusters, arguments: {cluster: a}, items: $response.body}"
    file = {"toolspecs/metrics/m.yaml": "[]"}
    tool = _tool("metrics", f"    resources: {{Metric: {{file: m.yaml}}, Cluster: {{from: {reading}}}}}\n")

    shapes = _with(project.write(file), metrics=tool).load().shapes["metrics"]

    assert {"Metric": Fields({}), "Cluster": Fields({})} == shapes


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ("{operation: listMetric, items: $response.body#/metrics}", "`listMetric` is no operation of this tool in `prod`; did you mean `listMetrics`?"),
        ("{operation: removeMetric, items: $response.body#/metrics}", "`removeMetric` is of effect destructive; a catalogue is read by an operation of effect read"),
        ("{operation: headMetrics, items: $response.body#/metrics}", "`headMetrics` is a HEAD, whose answer holds no list"),
        ("{operation: listClusters, items: $response.body}", "`listClusters` cannot be called like this: `cluster` is missing at `/cluster`; write what it needs as `arguments: {…}`"),
        ("{operation: listClusters, items: $response.body, arguments: {cluster: 7}}", "`listClusters` cannot be called like this: `7` must be a string at `/cluster`; write what it needs as `arguments: {…}`"),
        ("{operation: listMetrics, items: $response.body#/metrics, as: pag}", "`listMetrics` has no parameter `pag`; did you mean `page`?"),
        ("{operation: listMetrics, items: $response.body#/metrics, as: page, arguments: {page: 2}}", "`page` asks for the page (`as`), so it is no argument; remove it from `arguments`"),
        ("{operation: listMetrics, items: $response.body#/metrcs, id: name}", "the answer of `listMetrics` declares no `metrcs`; did you mean `metrics`?"),
        ("{operation: listMetrics, items: $response.body#/metrics, id: nme}", "the answer of `listMetrics` declares no `nme`; did you mean `name`?"),
        ("{operation: listMetrics, items: $args.metrics}", "`environments.prod.resources.Metric.from.items`: `$args.metrics` must name a place in the reply's body: `$response.body#/metrics`"),
        ("{operation: listMetrics, items: $response.body#/metrics, next: $args.page, as: page}", "`environments.prod.resources.Metric.from.next`: `$args.page` must name a part of the reply: `$response.body#/next_cursor` or `$response.header.Link`"),
        ("{operation: listMetrics, items: $response.body#/metrics, next: $response.header.Link}", "`environments.prod.resources.Metric.from` has `next` without `as`: name the parameter that asks for the next page"),
        ("{operation: listMetrics, items: $response.body#/metrics, max_items: 0}", "`environments.prod.resources.Metric.from.max_items` must be greater than or equal to 1"),
        ("{operation: listMetrics, items: $response.body#/metrics, page: page}", "the key `environments.prod.resources.Metric.from.page` is not known"),
        ("{items: $response.body#/metrics}", "`environments.prod.resources.Metric.from.operation` is missing"),
        ("{operation: listMetrics, items: $response.body#/metrics}, id: name", "`environments.prod.resources.Metric` has `id` beside `from`; write it inside: `from: {operation: …, items: …, id: name}`"),
        ("{operation: listMetrics, items: $response.body#/metrics}, file: m.yaml", "`environments.prod.resources.Metric` must have exactly one of `file` and `from`"),
        ("{operation: listMetrics, items: $response.body#/metrics}, ttl_s: 30, stale_s: 30", "`environments.prod.resources.Metric` has `stale_s: 30`, which is not longer than its `ttl_s: 30`"),
    ],
)  # fmt: skip
def test_a_live_catalogue_that_cannot_be_read_is_a_problem(project, resources, expected):
    """The gate calls it by itself, so all that can be known against that is said at load, on its line."""
    line, _, message = _problem(_with(project, metrics=_tool("metrics", _live(resources))))

    assert expected == message
    assert line in {7, 8}


def test_an_operation_that_is_not_allowed_is_not_read_either(project):
    """SECURITY: being named by a catalogue allows nothing."""
    tool = _tool("metrics", f"    deny: [listMetrics]\n{_live()}")

    expected = (9, "resources.operation", "`listMetrics` is not allowed in `prod`; add it to `allow`")
    assert expected == _problem(_with(project, metrics=tool))


@pytest.mark.parametrize("name", ["Agent", "Role", "Action", "Tool", "String", "has", "Set"])
def test_a_type_is_not_called_like_what_policies_have_already(project, name):
    """`resource is Role` would mean two things."""
    tool = _tool("metrics", _live().replace("Metric:", f"{name}:"))

    assert (
        "must be a type's name such as `Metric`, and not a word of Cedar" in _problem(_with(project, metrics=tool))[2]
    )


# -- covers, and whose catalogue a type is --------------------------------------------------------------------------

_COVERS = "{publish: {covers: [{type: Metric, where: {tier: critical}, at: '$args#/body/names/*'}]}}"


def test_an_operation_covers_what_another_tool_lists(project):
    """The only catalogue of a type is meant, whosever it is; while it is not read, calls that need it must wait."""
    bundle = _with(project, reports=_tool("reports", operations=_COVERS)).load()

    publish = bundle.catalog.operations["reports.publish"]
    (cover,) = publish.covers
    assert ("Metric", {"tier": ("critical",)}, "/body/names/*", "metrics") == (
        cover.type, cover.where, cover.at.pointer, cover.catalogue,
    )  # fmt: skip
    assert (("metrics", "Metric"),) == publish.awaits
    assert () == bundle.catalog.operations["metrics.listMetrics"].awaits


def test_a_tools_own_catalogue_is_meant_before_anothers(project):
    """Two tools may both have metrics."""
    tool = _tool("reports", _live(), _COVERS)

    (cover,) = _with(project, reports=tool).load().catalog.operations["reports.publish"].covers

    assert "reports" == cover.catalogue


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("{publish: {covers: [{type: Metrik, at: '$args#/body/names/*'}]}}", ("covers.type", "`covers` names Metrik, which no catalogue lists in `prod`; add one to `resources`")),
        ("{publish: {covers: [{type: Metric, at: $args.names}]}}", ("resources.at", "`$args.names` names no argument of `publish`; it has `body`")),
        ("{publish: {covers: [{type: Metric, at: '$response.body#/x'}]}}", ("config.value", "`operations.publish.covers.0.at`: `$response.body#/x` must name an argument: `$args.name` or `$args#/body/name`")),
        ("{publish: {covers: [{type: Metric, where: {tier: {a: 1}}, at: $args.body}]}}", ("config.value", "`operations.publish.covers.0.where.tier` must be a value such as `critical`, or a list of them")),
        ("{publish: {covers: [{type: Metric}]}}", ("config.missing_key", "`operations.publish.covers.0.at` is missing")),
    ],
)  # fmt: skip
def test_what_cannot_be_covered_is_a_problem(project, operations, expected):
    """SECURITY: a cover that silently covers nothing is worse than none."""
    assert expected == _problem(_with(project, reports=_tool("reports", operations=operations)))[1:]


def test_an_attribute_no_resource_has_is_a_problem_for_files_and_a_note_for_live_ones(project):
    """What a file holds is known; what a live catalogue will answer is only declared."""
    wrong = _COVERS.replace("tier", "teir")
    live = _with(project, reports=_tool("reports", operations=wrong)).load()
    file = {"toolspecs/metrics/m.yaml": "- {id: a, tier: critical}"}
    problem = _problem(
        _with(project.write(file), metrics=_tool("metrics", "    resources: {Metric: {file: m.yaml}}\n"))
    )

    assert ("covers.where", "no Metric has the attribute `teir`; did you mean `tier`?") == problem[1:]
    assert any("asks for Metric with `teir`, which the answer does not declare" in note.message for note in live.notes)


def test_a_type_that_two_other_tools_list_is_ambiguous(project):
    """Neither is guessed."""
    third = {**REPORTS, "info": {"title": "Third", "version": "1"}}
    project.write(
        {
            "toolspecs/third/openapi.json": json.dumps(third),
            "toolspecs/third/tool.yaml": _tool("third", operations=_COVERS),
        }
    )

    line, code, message = _problem(_with(project, reports=_tool("reports", _live())))

    assert "resources.ambiguous" == code
    assert message.startswith("Metric is listed by the tools `metrics` and `reports`; ")
    assert line > 0


def test_a_type_whose_name_is_nearly_a_catalogues_is_a_problem(project):
    """SECURITY: of a misspelt type nothing is listed, so every name would exist, and no attribute be read."""
    mapped = "{readMetric: {resources: [{type: Metrik, at: $args.name}]}}"
    far = mapped.replace("Metrik", "Cluster")

    wrong = _problem(_with(project, metrics=_tool("metrics", _live(), operations=mapped)))
    fine = _with(project, metrics=_tool("metrics", _live(), operations=far)).load()

    assert ("resources.type", "no catalogue lists Metrik in `prod`; did you mean `Metric`?") == wrong[1:]
    assert None is fine.catalog.operations["metrics.readMetric"].resources[0].catalogue
    assert ["no catalogue lists Cluster in `prod`, so every name exists; list them under its `resources:`"] == [
        note.message for note in fine.notes if note.kind == "unlisted"
    ]


# -- names in policies ----------------------------------------------------------------------------------------------

_MAPPED = "{readMetric: {resources: [{type: Metric, at: $args.name}]}}"
_IN_PROD, _IN_DEV, _LIVE = (
    "    resources: {Metric: {file: prod.yaml}}\n",
    "    resources: {Metric: {file: dev.yaml}}\n",
    _live(),
)
_NAMES = [
    ("in either file", _IN_PROD, _IN_DEV, "only_dev", None),
    ("in neither", _IN_PROD, _IN_DEV, "cpuu", "no catalogue of any environment lists a Metric `cpuu`; did you mean `cpu`?"),
    ("live elsewhere", _IN_PROD, _LIVE, "cpuu", None),
    ("live here", _LIVE, _IN_DEV, "cpuu", None),
    ("not catalogued elsewhere", _IN_PROD, "", "cpuu", None),
]  # fmt: skip


@pytest.mark.parametrize(("_", "prod", "dev", "name", "told"), _NAMES, ids=[row[0] for row in _NAMES])
def test_a_policy_names_resources_that_some_environment_has(project, _, prod, dev, name, told):
    """SECURITY: a forbid that names what exists nowhere protects nothing. Of what only a running gate reads nothing is said."""
    wide = f'  dev:\n    upstream: "http://127.0.0.1:9"\n    allow: ["*"]\n{dev}'
    spec = _tool("metrics", prod, _MAPPED).replace("  prod:\n", f"{wide}  prod:\n")
    project.write(
        {
            "toolspecs/metrics/tool.yaml": spec,
            "toolspecs/metrics/prod.yaml": "- {id: cpu}\n",
            "toolspecs/metrics/dev.yaml": "- {id: only_dev}\n",
            "policies/a.cedar": f'forbid (principal, action, resource == Metric::"{name}");\n',
        }
    )

    for environment in ("dev", "prod"):
        assert ([] if told is None else [told]) == [message for _, _, _, message in project.problems(environment)]
