"""Files → Bundle: what holds for each operation in each environment, or every problem at once with file and line."""

from __future__ import annotations

import json

import pytest

from toolgate.core.bundle import Bundle, BundleError
from toolgate.core.catalog import Credential, Found, Secret
from toolgate.load.bundle import load

from .conftest import DOCUMENT, Project, document

TOOL = """
tool: metrics
openapi: openapi.json
timeout_s: 9
max_body: 2MiB
environments:
  dev:
    openapi: openapi.dev.json
    upstream: http://metrics-dev:8080
    allow: ["*"]
    max_body: 3MiB
  prod:
    upstream: http://metrics:8080/base
    allow: [listMetrics, query*, removeMetric]
    deny: ["remove*"]
    credentials: {header: Authorization, value: "Bearer ${file:/run/token}"}
    resources:
      Metric: {file: metrics.yaml, id: name}
operations:
  "*": {timeout_s: 5, validate_responses: refuse}
  queryCluster:
    effect: read
    resources: [{type: Metric, at: "$args.body.metric"}]
    max_body: 1KiB
    cost: {usd: 0.002, tokens: {reserve: 5, settle: "$response.body#/usage"}}
    recovery:
      environment.resource_not_found: {hint: Switch., use: [metrics.listMetrics, metrics.removeMetric]}
"""
V2 = {"/v2/cluster": {"post": {"operationId": "queryClusterV2", "responses": {}}}}


@pytest.fixture
def example(metrics: Project) -> Project:
    return metrics.write(
        {
            "toolspecs/metrics/tool.yaml": TOOL,
            "toolspecs/metrics/openapi.dev.json": document(paths={**DOCUMENT["paths"], **V2}),
            "toolspecs/metrics/metrics.yaml": "- {name: cpu, tier: critical}\n- {name: mem}\n",
        }
    )


def test_an_operation_has_what_the_toolspec_says_of_it(example: Project) -> None:
    """Effect, limits, resources, recovery: the operation's beat the environment's beat the tool's."""
    query = example.load().catalog.operations["metrics.queryCluster"]
    assert ("read", True, "metrics__queryCluster", "/metrics/cluster") == (
        query.effect,
        query.allowed,
        query.name,
        query.path,
    )
    assert (1 << 10, 5, "refuse") == (query.limits.max_body, query.limits.timeout_s, query.validate_responses)
    assert [("Metric", "/body/metric")] == [(each.type, each.at.pointer) for each in query.resources]
    assert ("dev", "prod") == query.environments
    assert {"usd": 2_000, "tokens": 5_000_000} == {name: cost.hold for name, cost in query.cost.items()}
    assert query.target is not None
    assert ("metrics", 8080, "/base") == (query.target.host, query.target.port, query.target.base_path)
    assert (
        Credential("header", "Authorization", ("Bearer ", Secret("file", "/run/token"))),
    ) == query.target.credentials
    dev = example.load("dev").catalog.operations["metrics.listMetrics"]
    assert (3 << 20, "List.") == (dev.limits.max_body, dev.description)


def test_a_recovery_leads_only_where_one_may_go(example: Project) -> None:
    """An operation that is not allowed here is no way forward here."""
    way = example.load().catalog.operations["metrics.queryCluster"].recovery["environment.resource_not_found"]
    assert ("Switch.", ("metrics.listMetrics",)) == (way.hint, way.use)


def test_deny_beats_allow_and_nothing_listed_is_nothing_allowed(example: Project) -> None:
    """What is not allowed is known, and has nowhere to be sent."""
    bundle = example.load()
    removed = bundle.catalog.operations["metrics.removeMetric"]
    assert (False, None) == (removed.allowed, removed.target)
    assert {"metrics.listMetrics", "metrics.queryCluster"} == {each.key for each in bundle.catalog.allowed}


def test_what_only_others_have_is_known_by_name_and_path(example: Project) -> None:
    """Story 3: dev's endpoint in production."""
    catalog = example.load().catalog
    (v2,) = catalog.elsewhere
    assert ("metrics.queryClusterV2", False, None, ("dev",)) == (v2.key, v2.allowed, v2.target, v2.environments)
    found = catalog.find("POST", "/metrics/v2/cluster")
    assert isinstance(found, Found)
    assert (v2,) == found.operations
    assert catalog.operations["metrics.queryCluster"] is catalog.equivalent(v2)


def test_a_tool_without_an_entry_does_not_exist_here(example: Project) -> None:
    """All its operations are known from elsewhere, none is allowed."""
    bundle = example.load("staging")
    assert {} == bundle.catalog.operations
    assert 4 == len(bundle.catalog.elsewhere)
    assert bundle.tools["metrics"].target is None


def test_catalogues_hold_ids_with_their_attributes(example: Project) -> None:
    """Story 4: what is not listed does not exist."""
    metric = example.load().resources["metrics"]["Metric"]
    assert {"cpu": {"tier": "critical"}, "mem": {}} == metric.attributes
    assert "cpu" in metric
    assert "disk" not in metric
    assert {} == example.load("dev").resources["metrics"]


def test_the_document_and_overlays_may_say_the_same_and_yaml_wins(metrics: Project) -> None:
    """`x-toolgate-effect` in the document, another in an overlay, the toolspec's own above both."""
    paths = json.loads(json.dumps(DOCUMENT["paths"]))
    paths["/metrics"]["get"] |= {"x-toolgate-timeout_s": 3, "x-toolgate-max-body": "5KiB", "x-toolgate-effect": "write"}
    metrics.write(
        {
            "toolspecs/metrics/openapi.json": document(paths=paths),
            "toolspecs/metrics/overlay.yaml": 'overlay: 1.0.0\nactions: [{target: "$.paths[*].delete", update: {x-toolgate-effect: write}}]\n',
            "toolspecs/metrics/tool.yaml": "tool: metrics\nopenapi: openapi.json\noverlays: [overlay.yaml]\n"
            'environments: {prod: {allow: ["*"]}}\noperations: {listMetrics: {effect: read}}\n',
        }
    )
    operations = metrics.load().catalog.operations
    listed, removed = operations["metrics.listMetrics"], operations["metrics.removeMetric"]
    assert ("read", 3, 5 << 10) == (listed.effect, listed.limits.timeout_s, listed.limits.max_body)
    assert "write" == removed.effect


def revision(project: Project, environment: str = "prod") -> str:
    return project.load(environment).revision


def test_the_revision_follows_every_file_that_counts(example: Project) -> None:
    """Documents, toolspecs, catalogues, policies and the environment; not tests, not hidden files, not secrets."""
    first = revision(example)
    assert first.startswith("sha256:")
    assert first == revision(example)
    assert first != revision(example, "dev")
    example.write(
        {"policies/tests/a.yaml": "x", "policies/.swp": "x", "toolspecs/.git/x": "x", "toolspecs/metrics/.hidden": "x"}
    )
    assert first == revision(example)
    seen = {first}
    for change in (
        {"toolspecs/metrics/metrics.yaml": "- {name: cpu}\n"},
        {"toolspecs/metrics/openapi.dev.json": document(paths={**DOCUMENT["paths"], **V2}, info={"title": "T2"})},
        {"toolspecs/metrics/tool.yaml": f"{TOOL}# a comment\n"},
        {"policies/a.cedar": "permit (principal, action, resource);"},
        {"policies/b.cedar": "permit (principal, action, resource);"},
    ):
        example.write(change)
        seen.add(revision(example))
    assert 6 == len(seen)


def test_the_revision_does_not_follow_the_place(example: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same files elsewhere are the same revision."""
    other = Project(tmp_path_factory.mktemp("other") / "deep")
    for path in (example.root / "toolspecs" / "metrics").iterdir():
        other.write({f"toolspecs/metrics/{path.name}": path.read_text()})
    assert revision(example) == revision(other)


def test_what_is_not_enforced_is_noted(example: Project) -> None:
    """A cost that no budget counts."""
    example.write({"policies/tests/deep/a.yaml": ""})
    notes = {each.path.removeprefix(f"{example.root}/"): each.kind for each in example.load().notes}
    assert {"toolspecs/metrics/tool.yaml": "not_enforced"} == notes


def test_a_stranger_among_the_policies_is_a_problem(example: Project) -> None:
    """A file that nobody reads is a rule that nobody enforces."""
    example.write({"policies/a.ceder": "", "policies/sub/a.cedar": "", "policies/tests/a.txt": ""})
    expected = [
        ("policies/a.ceder", "policies.stranger"),
        ("policies/sub", "policies.stranger"),
        ("policies/tests/a.txt", "policies.stranger"),
    ]
    assert expected == [(path, code) for path, _, code, _ in example.problems()]


@pytest.mark.parametrize(
    ("files", "path", "code"),
    [
        ({}, "toolspecs", "toolspecs.empty"),
        ({"toolspecs/metrics/tool.yml": "tool: metrics"}, "toolspecs", "toolspecs.empty"),
        ({"toolspecs/a/tool.yaml": ""}, "toolspecs/a/tool.yaml", "config.empty"),
        ({"toolspecs/a/tool.yaml": "{}"}, "toolspecs/a/tool.yaml", "config.missing_key"),
        ({"toolspecs/a/tool.yaml": "- a"}, "toolspecs/a/tool.yaml", "config.value"),
        ({"toolspecs/a/tool.yaml": "tool: a\nopenapi: gone.yaml\nenvironments: {prod: {upstream: http://a}}"}, "toolspecs/a/tool.yaml", "file.unreadable"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_with_what_to_do(
    project: Project, files: dict[str, str], path: str, code: str
) -> None:
    """An empty or truncated file, an empty folder: a typed problem, never a traceback."""
    assert (path, code) in [(where, which) for where, _, which, _ in project.write(files).problems()]


def test_a_missing_folder_names_the_command_that_makes_one(project: Project) -> None:
    """The first thing anybody meets."""
    (project.root / "toolspecs").rmdir()
    ((path, _, code, message),) = project.problems()
    assert ("toolspecs", "toolspecs.missing") == (path, code)
    assert "toolgate init" in message


def prod(text: str) -> str:
    return f"tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod: {{allow: [listMetrics]}}\n{text}"


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (prod("operations: {listMetric: {effect: read}}"), (5, "operation.unmatched", "`listMetric` matches no operation; did you mean `listMetrics`?")),
        (prod('operations: {"x*": {effect: read}}'), (5, "operation.unmatched", "`x*` matches no operation")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    allow:\n      - listMetrics\n      - removeMetrics\n", (7, "operation.unmatched", "`removeMetrics` matches no operation `prod` has; did you mean `removeMetric`?")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod: {}\n  prud: {}\n", (5, "environment.unknown", "the environment `prud` is not one of the settings' `dev`, `staging`, `prod`; did you mean `prod`?")),
        (prod("operations:\n  listMetrics:\n    resources: [{type: Metric, at: $args.name}]\n"), (7, "resources.at", "`$args.name` names no argument of `listMetrics`; it has none")),
        (prod("operations:\n  removeMetric:\n    resources: [{type: Metric, at: $args.body.name}]\n"), (7, "resources.at", "`$args.body.name` names no argument of `removeMetric`; it has `name`")),
        (prod("operations:\n  listMetrics:\n    recovery: {tool.disallowed: {use: [metrics.lst]}}\n"), (7, "recovery.use", "`recovery` leads to `metrics.lst`, which no document has; did you mean `metrics.listMetrics`?")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod: {allow: [listMetrics], upstream: 'http://0x7f.1'}\n", (4, "upstream.url", "`environments.prod.upstream` has a numeric host that is not a plain IPv4 address such as `10.0.0.7`")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    credentials: {header: X-Key, value: hunter2}\n", (5, "credentials.value", "the credential for `X-Key` holds its value inline; keep it outside and name it as `${file:/path}` or `${env:NAME}`")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    upstream: http://m:80\n    credentials:\n      - {header: X-Key, value: '${env:A}'}\n      - {header: x-key, value: '${env:B}'}\n", (8, "credentials.repeated", "`x-key` is set by two credentials; keep one")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    credentials: {header: X-Key, value: '${env:A}'}\n", (4, "upstream.unpinned", "`environments.prod` adds credentials, and only the document says where they go; pin it with `upstream: https://metrics.example:443/v1`")),
        ("tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    expect: []\n", (5, "config.not_supported", "`environments.prod.expect` is not supported by this version yet; remove it")),
        ("tool: mcp\nopenapi: openapi.json\nenvironments: {prod: {}}\n", (1, "config.value", "`tool` must be a name such as `metrics`: `[a-z][a-z0-9_-]{0,31}`, and not `mcp`")),
    ],
)  # fmt: skip
def test_a_mistake_in_a_toolspec_is_told_with_its_line(
    metrics: Project, tool: str, expected: tuple[int, str, str]
) -> None:
    """`path:line: code: message`, each a sentence that says what to do or what was meant."""
    (problem,) = metrics.write({"toolspecs/metrics/tool.yaml": tool}).problems()
    assert ("toolspecs/metrics/tool.yaml", *expected) == problem


def test_the_lattice_is_proven_for_every_pair(metrics: Project) -> None:
    """What may change something in prod must be allowed in staging and dev too; reading is free."""
    tool = (
        "tool: metrics\nopenapi: openapi.json\nenvironments:\n"
        "  prod: {allow: ['*']}\n"
        "  dev: {allow: [queryCluster]}\n"
        "  staging: {allow: [queryCluster, removeMetric]}\n"
    )
    problems = metrics.write({"toolspecs/metrics/tool.yaml": tool}).problems("dev")
    told = [(line, message.partition(";")[0]) for _, line, code, message in problems if code == "environment.lattice"]
    expected = [
        (4, "`removeMetric` (destructive) is allowed in `prod` and not in the wider `dev`"),
        (6, "`removeMetric` (destructive) is allowed in `staging` and not in the wider `dev`"),
    ]
    assert (2, expected) == (len(problems), told)


@pytest.mark.parametrize(
    ("catalogue", "line", "code"),
    [
        ("a: {tier: x}", 1, "resources.list"),
        ("- {name: a}\n- {name: a}", 2, "resources.item"),
        ("- {name: 7}", 1, "resources.item"),
        ("- {nam: a}", 1, "resources.item"),
        ("- a", 1, "resources.item"),
        ("- {name: ''}", 1, "resources.item"),
        ("- {name: a, name: b}", 1, "yaml.duplicate_key"),
    ],
)
def test_a_catalogue_lists_each_resource_once_by_text(example: Project, catalogue: str, line: int, code: str) -> None:
    """An id that is not text or not alone is a problem."""
    ((path, where, which, _),) = example.write({"toolspecs/metrics/metrics.yaml": catalogue}).problems()
    assert ("toolspecs/metrics/metrics.yaml", line, code) == (path, where, which)


def test_two_tools_of_one_name_are_a_problem(example: Project) -> None:
    """Paths and keys begin with the tool: it must be one."""
    example.write(
        {
            "toolspecs/other/tool.yaml": "tool: metrics\nopenapi: a.json\nenvironments: {prod: {}}\n",
            "toolspecs/other/a.json": document(),
        }
    )
    ((path, line, code, _),) = example.problems()
    assert ("toolspecs/other/tool.yaml", 1, "tool.repeated") == (path, line, code)


def test_a_folder_nobody_reads_is_a_problem(example: Project) -> None:
    """A misspelt `tool.yaml` must not make a tool vanish; a folder of shared files is fine."""
    example.write({"toolspecs/other/toolspec.yaml": "tool: other"})
    ((path, _, code, _),) = example.problems()
    assert ("toolspecs/other", "toolspecs.stranger") == (path, code)


def test_every_problem_of_every_file_is_told_at_once(metrics: Project) -> None:
    """Nobody repairs one mistake to meet the next; they come sorted by file and line."""
    metrics.write(
        {
            "toolspecs/metrics/tool.yaml": "tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod: {allow: [nope], upstream: ftp://x}\n",
            "toolspecs/b/tool.yaml": "tool: b\nopenapi: b.json\nenvironments: {prod: {}}\n",
            "toolspecs/b/b.json": '{"openapi": "3.1.0", "paths": {"/x": {"$ref": "http://e/"}}}',
            "toolspecs/c/tool.yaml": "tool: c\ntool: d\n",
            "policies/x.txt": "",
        }
    )
    problems = metrics.problems("prodd")
    expected = [
        ("policies/x.txt", "policies.stranger"),
        ("settings", "environment.unknown"),
        ("toolspecs/b/b.json", "reference.remote"),
        ("toolspecs/c/tool.yaml", "yaml.duplicate_key"),
        ("toolspecs/metrics/tool.yaml", "operation.unmatched"),
        ("toolspecs/metrics/tool.yaml", "upstream.url"),
    ]
    assert expected == sorted((path, code) for path, _, code, _ in problems)


def test_an_id_that_repeats_is_told_with_the_names_its_operations_have(metrics: Project) -> None:
    """Whoever allows what the document calls an operation learns what the gate calls it, and why."""
    paths = json.loads(json.dumps(DOCUMENT["paths"]))
    paths["/cluster"]["post"]["operationId"] = paths["/metrics"]["get"]["operationId"] = "query"
    metrics.write(
        {
            "toolspecs/metrics/openapi.json": document(paths=paths),
            "toolspecs/metrics/tool.yaml": "tool: metrics\nopenapi: openapi.json\nenvironments: {prod: {allow: [query]}}\n",
        }
    )
    ((_, _, code, message),) = metrics.problems()
    assert "operation.unmatched" == code
    assert (
        "`query` matches no operation `prod` has: the document has this id more than once, so they are named "
        "`get_metrics`, `post_cluster`"
    ) == message


def test_an_annotation_that_is_wrong_is_told_with_its_place(metrics: Project) -> None:
    """In a vendor's document there are no lines; the pointer says where."""
    paths = json.loads(json.dumps(DOCUMENT["paths"]))
    paths["/metrics"]["get"]["x-toolgate-efect"] = "read"
    metrics.write({"toolspecs/metrics/openapi.json": document(paths=paths), "toolspecs/metrics/tool.yaml": prod("")})
    ((path, _, code, message),) = metrics.problems()
    assert ("toolspecs/metrics/openapi.json", "config.unknown_key") == (path, code)
    assert (
        "/paths/~1metrics/get: in its `x-toolgate-…`: the key `efect` is not known; did you mean `effect`?" == message
    )


def test_a_schema_that_cannot_be_compiled_is_a_problem(metrics: Project) -> None:
    """A reference that leads nowhere is told with its pointer, not met by the first call."""
    paths = {
        "/a": {
            "post": {
                "operationId": "a",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Gone"}}}},
            }
        }
    }
    metrics.write(
        {
            "toolspecs/metrics/openapi.json": document(paths=paths),
            "toolspecs/metrics/tool.yaml": 'tool: metrics\nopenapi: openapi.json\nenvironments: {prod: {allow: ["*"]}}\n',
        }
    )
    ((path, _, code, message),) = metrics.problems()
    assert ("toolspecs/metrics/openapi.json", "document.schema") == (path, code)
    assert "Gone" in message


def test_no_secret_reaches_bundle_or_problem(metrics: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack L10: the value behind a reference is nowhere in what was loaded."""
    (metrics.root / "token").write_text("hunter2")
    monkeypatch.setenv("METRICS_TOKEN", "hunter2")
    tool = (
        "tool: metrics\nopenapi: openapi.json\nenvironments:\n  prod:\n    upstream: http://m:80\n    allow: ['*']\n    credentials:\n"
        "      - {header: X-A, value: '${file:../../token}'}\n      - {query: key, value: '${env:METRICS_TOKEN}'}\n"
        "      - {basic: 'user:${env:METRICS_TOKEN}'}\n"
    )
    bundle = metrics.write({"toolspecs/metrics/tool.yaml": tool}).load()
    assert "hunter2" not in repr(bundle)
    assert "hunter2" not in repr(bundle.catalog.operations)
    target = bundle.tools["metrics"].target
    assert target is not None
    assert Secret("file", str(metrics.root / "token")) == target.credentials[0].value[0]
    assert [("header", False), ("query", False), ("header", True)] == [
        (each.location, each.basic) for each in target.credentials
    ]


def test_loading_is_all_or_nothing(example: Project) -> None:
    """A bundle, or BundleError with its problems; the error's text is their list."""
    assert isinstance(load(example.sources()), Bundle)
    example.write({"toolspecs/metrics/tool.yaml": "tool: [\n"})
    with pytest.raises(BundleError, match=r"tool\.yaml:2: yaml\.syntax: is not YAML"):
        load(example.sources())


GLOBS = [
    (["listMetrics"], {"listMetrics"}),
    (["query*"], {"queryCluster"}),
    (["*Metric"], {"removeMetric"}),
    (["*Metric*"], {"listMetrics", "removeMetric"}),
    (["?uery*"], {"queryCluster"}),
    (["*"], {"listMetrics", "queryCluster", "removeMetric"}),
]


@pytest.mark.parametrize(("patterns", "allowed"), GLOBS)
def test_a_glob_matches_whole_ids_and_nothing_more(metrics: Project, patterns: list[str], allowed: set[str]) -> None:
    """H07: a pattern stands for whole ids of its own tool, in their own case; `*` is any text, dots and slashes too."""
    prod = {"upstream": "http://metrics:8080", "allow": patterns}
    metrics.write(
        {
            "toolspecs/metrics/tool.yaml": json.dumps(
                {"tool": "metrics", "openapi": "openapi.json", "environments": {"prod": prod}}
            )
        }
    )
    assert allowed == {operation.id for operation in metrics.load().catalog.allowed}


@pytest.mark.parametrize(
    "pattern",
    [
        "list",
        "Metric",
        "LISTMETRICS",
        "list*s*x",
        "[l]istMetrics",
        "{listMetrics}",
        "metrics.listMetrics",
        "list%",
        "^list.*$",
    ],
)
def test_a_pattern_that_matches_nothing_is_a_problem(metrics: Project, pattern: str) -> None:
    """H04, H07: a slip in an allow-list or deny-list is told, never silently without effect."""
    for key in ("allow", "deny"):
        prod = {"upstream": "http://metrics:8080", "allow": ["*"]} | {key: [pattern]}
        spec = {"tool": "metrics", "openapi": "openapi.json", "environments": {"prod": prod}}
        metrics.write({"toolspecs/metrics/tool.yaml": json.dumps(spec)})
        assert ["operation.unmatched"] == [code for _, _, code, _ in metrics.problems()]


def only_prod(metrics: Project, prod: dict[str, object], **tool: object) -> Project:
    spec = {"tool": "metrics", "openapi": "openapi.json", "environments": {"prod": {"allow": ["*"], **prod}}, **tool}
    return metrics.write({"toolspecs/metrics/tool.yaml": json.dumps(spec)})


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[fd00:ec2::254]/",
        "http://100.100.100.200",
    ],
)
def test_a_document_does_not_choose_an_address_of_the_host(metrics: Project, url: str) -> None:
    """L01, F20: metadata and link-local addresses are the operator's to name, never a vendor's document's."""
    metrics.write({"toolspecs/metrics/openapi.json": document(servers=[{"url": url}])})
    assert ["upstream.url"] == [code for _, _, code, _ in only_prod(metrics, {}).problems()]
    assert [] == only_prod(metrics, {"upstream": url}).problems()


def test_a_documents_security_brings_no_credential(metrics: Project) -> None:
    """F21: what is sent beside the arguments is what the toolspec binds, whatever the document asks for or waives."""
    schemes = {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    metrics.write({"toolspecs/metrics/openapi.json": document(components=schemes, security=[{"key": []}])})
    bundle = only_prod(metrics, {"upstream": "http://metrics:8080"}).load()
    assert {()} == {operation.target.credentials for operation in bundle.catalog.allowed if operation.target}


@pytest.mark.parametrize("name", ["Host", "Transfer-Encoding", "transfer_encoding", "X_Forwarded_For", "Toolgate_Run"])
def test_headers_of_the_gate_are_neither_credentials_nor_forwarded(metrics: Project, name: str) -> None:
    """C07: framing, routing and identity stay the gate's own, however they are spelled."""
    credential = {"header": name, "value": "${env:KEY}"}
    for made in (
        only_prod(metrics, {"upstream": "http://metrics:8080", "credentials": credential}).problems(),
        only_prod(metrics, {"upstream": "http://metrics:8080"}, forward_headers=[name]).problems(),
    ):
        assert ["config.value"] == [code for _, _, code, _ in made]
