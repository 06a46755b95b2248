"""`toolgate test`: cases over a project, told as a tree, as JSON and as JUnit; and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from xml.etree import ElementTree as ET

import pytest
from click.testing import Result
from tests.support.shop import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0
Toolgate = Callable[..., Result]

TOOL = """\
tool: shop
openapi: openapi.yaml
environments:
  dev: {upstream: "http://dev.example", allow: ["*"], resources: {Order: {file: orders.yaml}}}
  prod: {upstream: "http://prod.example", allow: [listOrders, getOrder, createOrder, deleteOrder], resources: {Order: {file: orders.yaml}}}
operations:
  getOrder: {resources: [{type: Order, at: "$args.id"}]}
  deleteOrder: {resources: [{type: Order, at: "$args.id"}]}
"""
ORDERS = '- {id: "1", state: open}\n- {id: "2", state: shipped}\n'
POLICY = """\
@id("clerks-read")
permit (principal in Role::"clerk", action in Action::"read", resource);

@id("clerks-delete")
permit (principal in Role::"clerk", action == Action::"shop.deleteOrder", resource is Order)
when { context.environment == "dev" };

@id("shipped-stays")
@reason("A shipped order is history")
@hint("Refund it instead.")
forbid (principal, action == Action::"shop.deleteOrder", resource is Order)
when { resource.state == "shipped" };
"""
FIXTURES = """\
principals:
  clerk: {id: corp/ann, roles: [clerk]}
  guest: {}
"""
CASES = """\
environment: all
cases:
  - note: a clerk reads
    call: {operation: shop.listOrders, principal: clerk}
    want: {permit: true, statements: [clerks-read]}
  - note: who has no role does not
    call: {operation: shop.listOrders, principal: guest}
    want: {refusal: policy.not_allowed, title: NotAllowed}
  - note: a shipped order stays
    call: {operation: shop.deleteOrder, arguments: {id: 2}}
    environment: dev
    want: {refusal: policy.denied, statements: [shipped-stays], hint: Refund it instead.}
  - note: open orders may go in dev only
    matrix:
      - {environment: dev, want: {permit: true}}
      - {environment: prod, want: {refusal: policy.not_allowed}}
    call: {operation: shop.deleteOrder, arguments: {id: 1}}
"""


@pytest.fixture
def shop(folder: Path) -> Path:
    """A project with policies and cases that pass."""
    for name, text in {
        "toolgate.yaml": SETTINGS,
        "toolspecs/shop/tool.yaml": TOOL,
        "toolspecs/shop/orders.yaml": ORDERS,
        "toolspecs/shop/openapi.yaml": (folder / "openapi.yaml").read_text(),
        "policies/shop.cedar": POLICY,
        "policies/tests/fixtures.yaml": FIXTURES,
        "policies/tests/orders.yaml": CASES,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def append(shop: Path, case: str) -> None:
    with (shop / "policies/tests/orders.yaml").open("a") as file:
        file.write(f"  - {{{case}}}\n")


WRONG = "note: a guest reads, call: {operation: shop.listOrders, principal: guest}, environment: prod, want: {permit: true, statements: [clerks-read]}"  # fmt: skip


def test_cases_that_pass(toolgate: Toolgate, shop: Path) -> None:
    """A line per case below its file, with how many combinations and environments it stands for; the end is 0."""
    done = toolgate("test")

    assert shop.is_dir()
    assert (0, "") == (done.exit_code, done.stderr)
    assert [
        "policies/tests/orders.yaml",
        "  ok      a clerk reads (2 ways)",
        "  ok      who has no role does not (2 ways)",
        "  ok      a shipped order stays",
        "  ok      open orders may go in dev only (2 ways)",
        "",
        "ok: 7 cases",
    ] == done.stdout.splitlines()


def test_a_failure_says_everything_needed_to_mend_it(toolgate: Toolgate, shop: Path) -> None:
    """What was wanted, what came and why, the hint an agent gets, and the condition that failed; the end is 4."""
    append(shop, WRONG)
    append(shop, "note: an open order stays, environment: prod, call: {operation: shop.deleteOrder, arguments: {id: 1}}, want: {refusal: policy.denied}")  # fmt: skip
    done = toolgate("test", "-k", "an open")

    assert 4 == done.exit_code
    assert [
        "policies/tests/orders.yaml",
        "  FAILED  an open order stays (line 19)",
        "    in prod",
        "      refusal: wanted policy.denied, came policy.not_allowed",
    ] == done.stdout.splitlines()[:4]
    assert "      decided: refused with policy.not_allowed: " in done.stdout
    assert "      hint: " in done.stdout
    assert '      nearly: `clerks-delete` would permit it, but for `context.environment == "dev"`\n' in done.stdout
    assert "failed: 1 of 1 case\n" in done.stdout


def test_a_missing_role_is_nearly_a_permit(toolgate: Toolgate, shop: Path) -> None:
    """The commonest cause: which part of the permit's head does not hold."""
    append(shop, WRONG)
    done = toolgate("test", "-k", "a guest")

    assert 4 == done.exit_code
    assert '      nearly: `clerks-read` would permit it, but for `principal in Role::"clerk"`\n' in done.stdout


def test_a_case_that_fails_in_some_ways_names_them(toolgate: Toolgate, shop: Path) -> None:
    """Only the combinations and environments that failed are told, below the case they belong to."""
    append(shop, "note: orders are read, matrix: {call.principal: [clerk, guest]}, call: {operation: shop.listOrders}, want: {permit: true, statements: [clerks-read]}")  # fmt: skip
    shown = toolgate("test").stdout

    assert '  FAILED  orders are read (2 of 4 ways, line 18)\n    in dev [principal=guest]\n      permit: wanted true, came false\n      statements: wanted ["clerks-read"], came []\n' in shown  # fmt: skip
    assert "    in prod [principal=guest]\n" in shown
    assert "failed: 2 of 11 cases\n" in shown


def test_json_holds_every_decision(toolgate: Toolgate, shop: Path) -> None:
    """For programs: each case with its place, its decision and what differs."""
    append(shop, WRONG)
    done = toolgate("test", "--json", "--coverage")
    shown = json.loads(done.stdout)
    failed = [case for case in shown["cases"] if not case["passed"]]

    assert (4, 7, 1, 0) == (done.exit_code, shown["passed"], shown["failed"], shown["left_out"])
    assert {"file": "policies/tests/orders.yaml", "line": 18, "note": "a guest reads", "matrix": None, "environment": "prod"} == {key: failed[0][key] for key in ("file", "line", "note", "matrix", "environment")}  # fmt: skip
    assert (False, "policy.not_allowed", []) == tuple(failed[0]["decision"][key] for key in ("permit", "refusal", "statements"))  # fmt: skip
    assert ["permit", "statements"] == [each["key"] for each in failed[0]["differences"]]
    assert 100 == shown["coverage"]["percent"]


def test_junit_has_the_usual_shape(toolgate: Toolgate, shop: Path) -> None:
    """`testsuites` of `testsuite`s of `testcase`s, with counts that add up and a `failure` in each that failed."""
    append(shop, WRONG.replace("a guest reads", '"a <guest> & \\x01"'))
    done = toolgate("test", "--junit", "report.xml")
    root = ET.parse(shop / "report.xml").getroot()
    (suite,) = root
    cases = list(suite)

    assert 4 == done.exit_code
    assert ["testsuites", "testsuite", {"testcase"}] == [root.tag, suite.tag, {case.tag for case in cases}]
    for element in (root, suite):
        assert {"tests": "8", "failures": "1", "errors": "0", "skipped": "0"} == {key: element.get(key) for key in ("tests", "failures", "errors", "skipped")}  # fmt: skip
        assert float(element.get("time", "")) > 0
    assert {"name", "classname", "file", "line", "time"} == {key for case in cases for key in case.attrib}
    assert "policies.tests.orders" == cases[0].get("classname")
    assert ("a clerk reads (dev)", "3") == (cases[0].get("name"), cases[0].get("line"))
    (failure,) = cases[-1]
    assert ("a <guest> & \\x01 (prod)", "failure", "decision") == (cases[-1].get("name"), failure.tag, failure.get("type"))  # fmt: skip
    assert "permit: wanted true, came false" == failure.get("message") == (failure.text or "").splitlines()[0]


def test_coverage_names_what_was_never_tested(toolgate: Toolgate, shop: Path) -> None:
    """Statements by file and line, codes, operations; --fail-under makes it count."""
    with (shop / "policies/shop.cedar").open("a") as file:
        file.write('\n@id("clerks-create")\npermit (principal in Role::"clerk", action == Action::"shop.createOrder", resource);\n')  # fmt: skip
    done = toolgate("test", "--coverage", "--fail-under", "75")
    strict = toolgate("test", "--fail-under", "76")

    assert (0, 4) == (done.exit_code, strict.exit_code)
    assert "statements: 3 of 4 decided a case (75 %)\n" in done.stdout
    assert "  policies/shop.cedar:14: permit `clerks-create` never did\n" in done.stdout
    assert "  never: " in done.stdout
    assert "shop.createOrder" in done.stdout
    assert "arguments.invalid" in done.stdout
    assert "toolgate: 75 % of the statements decided a case; `--fail-under` asks for 76 %\n" == strict.stderr


def test_where_cases_are_decided(toolgate: Toolgate, shop: Path) -> None:
    """With --environment only there, and what is left out is said; nothing left is an error."""
    prod = toolgate("test", "-e", "prod")
    (shop / "policies/tests/orders.yaml").write_text(CASES.partition("  - note: open")[0].replace("environment: all\n", "environment: dev\n"))  # fmt: skip
    none = toolgate("test", "-e", "prod")
    dev = toolgate("test")

    assert (0, "ok: 3 cases") == (prod.exit_code, prod.stdout.splitlines()[-1])
    assert "2 cases of other environments left out\n" == prod.stderr
    assert (0, "ok: 3 cases") == (dev.exit_code, dev.stdout.splitlines()[-1])
    assert 2 == none.exit_code
    assert "policies/tests: case.none: no case is decided in `prod`; name it under `environment:`, or leave `--environment` out" in none.stderr  # fmt: skip


def test_places(toolgate: Toolgate, shop: Path) -> None:
    """A file, a folder, the policies folder and a whole project can be named; fixtures of the tests hold in each."""
    elsewhere = shop / "more"
    elsewhere.mkdir()
    (elsewhere / "cases.yaml").write_text("- {note: elsewhere, call: {operation: shop.listOrders}, want: {permit: true}}\n")  # fmt: skip

    for place in (".", "policies", "policies/tests", "policies/tests/orders.yaml"):
        done = toolgate("test", place)
        assert (0, "ok: 7 cases") == (done.exit_code, done.stdout.splitlines()[-1]), place
    assert "ok: 8 cases" == toolgate("test", "policies", "more").stdout.splitlines()[-1]
    assert "  ok      elsewhere" == toolgate("test", "more").stdout.splitlines()[1]


def problem_of(done: Result) -> str:
    assert (2, "") == (done.exit_code, done.stdout)
    return str(done.stderr.splitlines()[0])


def test_no_cases_is_an_error(toolgate: Toolgate, shop: Path) -> None:
    """A suite that tests nothing is never a success: an empty folder, a filter that keeps nothing, a place that is not there."""
    (shop / "empty").mkdir()

    assert "-k: case.none: no case has `nothing like it` in its file or note" == problem_of(toolgate("test", "-k", "nothing like it"))  # fmt: skip
    assert problem_of(toolgate("test", "empty")).startswith(
        "empty: case.none: holds no cases; write a `NAME.yaml` there"
    )
    assert "absent: file.unreadable: is not there" == problem_of(toolgate("test", "absent"))
    (shop / "policies/tests/orders.yaml").unlink()
    assert problem_of(toolgate("test")).startswith("policies/tests: case.none: holds no cases;")


STRANGERS = [
    ("want: {statements: [clerk-reads]}", "case.statement: there is no statement `clerk-reads`; did you mean `clerks-read`?"),
    ("facts: {run: {completed: [shop.listOrder]}}", "case.operation: there is no operation `shop.listOrder`; did you mean `shop.listOrders`?"),
    ("facts: {run: {by_operation: {shop.getOders: 1}}}", "case.operation: there is no operation `shop.getOders`; did you mean `shop.getOrder`?"),
    ("facts: {unready: {shp: asleep}}", "case.tool: there is no tool `shp`; did you mean `shop`?"),
    ("facts: {resources: {Ordre: {}}}", "case.resource: no catalogue lists resources of the type `Ordre`, so these would say nothing"),
    ("facts: {resources: {Order: {'1': {stat: open}}}}", "case.attribute: no catalogue says `stat` of resources of the type `Order`; did you mean `state`?"),
    ("environment: prd", "environment.unknown: the environment `prd` is not one of `environments`: `dev`, `prod`; did you mean `prod`?"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "told"), STRANGERS)
def test_a_name_nobody_knows_is_told_before_anything_runs(
    toolgate: Toolgate, shop: Path, written: str, told: str
) -> None:
    """A misspelt name would make a case pass or fail for the wrong reason."""
    want = "" if "want" in written else ", want: {permit: true}"
    append(shop, f"note: n, call: {{operation: shop.listOrders}}, {written}{want}")

    assert f"policies/tests/orders.yaml:18: {told}" == problem_of(toolgate("test"))


def test_amounts_of_what_a_budget_does_not_give_are_told(toolgate: Toolgate, shop: Path) -> None:
    """They would be told of nothing, and the case would say what it does not mean."""
    (shop / "policies/budgets.yaml").write_text("budgets: [{name: run-calls, scope: [run], calls: 5}]\n")
    append(
        shop, "note: n, call: {operation: shop.listOrders}, facts: {taken: {run-calls: {usd: 1}}}, want: {permit: true}"
    )

    told = "case.budget: the budget `run-calls` gives no `usd`; it gives `calls`"
    assert f"policies/tests/orders.yaml:18: {told}" == problem_of(toolgate("test"))


def test_attributes_of_fixtures_are_the_catalogues(toolgate: Toolgate, shop: Path) -> None:
    """Statements cannot read another, so cases with it would test what never is."""
    fixtures = shop / "policies/tests/fixtures.yaml"
    fixtures.write_text(f"{fixtures.read_text()}resources:\n  Order:\n    '1': {{state: open, weight: 3}}\n")
    line = fixtures.read_text().count("\n")

    told = "case.attribute: no catalogue says `weight` of resources of the type `Order`; there are `state`"
    assert f"policies/tests/fixtures.yaml:{line}: {told}" == problem_of(toolgate("test"))


def test_an_operation_nobody_knows_is_called_on_purpose_only(toolgate: Toolgate, shop: Path) -> None:
    """A misspelt operation is refused, so a case that wants a no would pass; only `tool.unknown` says it is meant."""
    append(shop, "note: n, call: {operation: shop.deleteOrdr, arguments: {id: 1}}, want: {permit: false}")
    told = "case.operation: there is no operation `shop.deleteOrdr`; did you mean `shop.deleteOrder`?"

    assert f"policies/tests/orders.yaml:18: {told}" == problem_of(toolgate("test"))
    orders = shop / "policies/tests/orders.yaml"
    orders.write_text(orders.read_text().replace("want: {permit: false}", "want: {refusal: tool.unknown}"))
    assert 0 == toolgate("test").exit_code


def test_names_of_every_sort_are_told_at_once(toolgate: Toolgate, shop: Path) -> None:
    """An environment nobody knows does not hide the statement nobody knows."""
    append(shop, "note: a, call: {operation: shop.listOrders}, environment: prd, want: {permit: true}")
    append(shop, "note: b, call: {operation: shop.listOrders}, want: {statements: [clerk-reads]}")
    lines = toolgate("test").stderr.splitlines()

    assert ["environment.unknown", "case.statement"] == [line.split(": ")[1] for line in lines[:2]]


def test_the_facts_of_a_case_are_what_policies_see(toolgate: Toolgate, shop: Path) -> None:
    """Time, run, resources and readiness come from the case alone."""
    (shop / "policies/facts.cedar").write_text(
        """\
@id("list-first")
forbid (principal, action == Action::"shop.getOrder", resource)
unless { context.run.completed.contains("shop.listOrders") };

@id("not-at-night")
forbid (principal, action == Action::"shop.listOrders", resource)
when { context.now.toTime() < duration("6h") };

@id("three-times")
forbid (principal, action == Action::"shop.listOrders", resource)
when { context.run.by_operation["shop.listOrders"] >= 3 };
"""
    )
    (shop / "policies/tests/facts.yaml").write_text(
        """\
- {note: list first, call: {operation: shop.getOrder, arguments: {id: 1}}, want: {statements: [list-first]}}
- note: then get
  call: {operation: shop.getOrder, arguments: {id: 1}}
  facts: {run: {completed: [shop.listOrders]}}
  want: {permit: true}
- note: at night nothing is listed
  call: {operation: shop.listOrders}
  matrix:
    - {facts.now: 2026-11-22T05:59:59Z, want: {statements: [not-at-night]}}
    - {facts.now: 2026-11-22T06:00:00Z, want: {permit: true}}
- note: three times and no more
  call: {operation: shop.listOrders}
  matrix:
    - {facts.run: {by_operation: {shop.listOrders: 2}}, want: {permit: true}}
    - {facts.run: {by_operation: {shop.listOrders: 3}}, want: {statements: [three-times]}}
- note: resources of the case stand for the catalogue
  call: {operation: shop.deleteOrder, arguments: {id: 77}}
  environment: dev
  matrix:
    - {facts.resources.Order: {"77": {state: shipped}}, want: {statements: [shipped-stays]}}
    - {facts.resources.Order: {"77": {state: open}}, want: {permit: true}}
    - {facts.resources.Order: {}, want: {refusal: environment.resource_not_found}}
- note: a tool that is not ready waits
  call: {operation: shop.listOrders}
  facts: {unready: {shop: its credential cannot be read}}
  want: {refusal: environment.not_ready, stage: environment}
"""
    )
    done = toolgate("test", "policies/tests/facts.yaml")

    assert (0, "ok: 10 cases") == (done.exit_code, done.stdout.splitlines()[-1]), done.stdout


def test_audit_statements_are_wanted_by_would(toolgate: Toolgate, shop: Path) -> None:
    """`would` says what a statement in `@mode("audit")` would have changed, and nothing is changed."""
    policy = shop / "policies/shop.cedar"
    policy.write_text(policy.read_text() + '\n@id("nobody-lists")\n@mode("audit")\nforbid (principal, action == Action::"shop.listOrders", resource);\n')  # fmt: skip
    (shop / "policies/tests/orders.yaml").write_text(
        """\
- {note: it would, call: {operation: shop.listOrders}, want: {permit: true, would: {refusal: policy.denied, statements: [nobody-lists]}}}
- {note: it would not, call: {operation: shop.getOrder, arguments: {id: 1}}, want: {permit: true, would: null}}
"""
    )
    done = toolgate("test", "--coverage")

    assert 0 == done.exit_code, done.stdout
    assert "`nobody-lists` never did" not in done.stdout


def test_watch_runs_again_after_a_change(shop: Path) -> None:
    """--watch runs at once and after every change of a policy, tells what cannot be loaded, and goes on."""
    command = [sys.executable, "-m", "toolgate.cli", "test", "--watch"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    process = subprocess.Popen(command, cwd=shop, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda stream: [lines.put(line) for line in stream], args=(process.stdout,), daemon=True).start()  # fmt: skip

    def until(text: str) -> None:
        while text not in lines.get(timeout=DEADLINE_S):
            pass

    policy = shop / "policies/shop.cedar"
    try:
        until("ok: 7 cases")
        until("waiting for changes")
        policy.write_text(POLICY.replace('"shipped" };', '"shiped" };'))
        until("failed: 1 of 7 cases")
        until("waiting for changes")
        policy.write_text(POLICY.replace("forbid", "deny"))
        until("problem")
        until("waiting for changes")
        policy.write_text(POLICY)
        until("ok: 7 cases")
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(timeout=DEADLINE_S)
        process.stdout.close()
    assert 130 == ended


def test_where_nobody_is_served_without_a_token_a_case_names_who_calls(toolgate: Toolgate, shop: Path) -> None:
    """With issuers and no `identity.anonymous`, a case without a principal would test what never happens."""
    (shop / "keys.json").write_text('{"keys": []}')
    issuer = "{name: corp, issuer: https://issuer.example, audience: shop, jwks: {file: keys.json}}"
    (shop / "toolgate.yaml").write_text(f"environment: prod\nenvironments: [dev, prod]\nidentity: {{issuers: [{issuer}]}}\n")  # fmt: skip
    open_order = "policies/tests/orders.yaml:17: case.principal: names nobody, and without a token nobody is served: name a `principal`, or set `identity.anonymous`"  # fmt: skip

    assert open_order in toolgate("test").stderr.splitlines()


def test_cases_judge_the_policies_whatever_the_mode(toolgate: Toolgate, shop: Path) -> None:
    """`mode: audit` sends what policies refuse; cases say what they refuse."""
    (shop / "toolgate.yaml").write_text(f"{SETTINGS}mode: audit\naudit_in_production: true\n")

    assert 0 == toolgate("test").exit_code


def test_a_live_catalogue_must_be_given(toolgate: Toolgate, shop: Path) -> None:
    """What a case does not list is not known, as before the gate's first reading; the failure says what to write."""
    spec = shop / "toolspecs/shop/tool.yaml"
    document = shop / "toolspecs/shop/openapi.yaml"
    live = '{from: {operation: listOrders, items: "$response.body#/orders"}, ttl_s: 30}'
    spec.write_text(TOOL.replace("{file: orders.yaml}", live))
    reply = "{description: ok, content: {application/json: {schema: {type: object, required: [orders], properties: {orders: {type: array, items: {type: object, required: [id, state], properties: {id: {type: string}, state: {type: string}}}}}}}}}"  # fmt: skip
    document.write_text(document.read_text().replace('listOrders, responses: {"200": {description: ok}}', f'listOrders, responses: {{"200": {reply}}}'))  # fmt: skip
    unread = toolgate("test")
    with (shop / "policies/tests/fixtures.yaml").open("a") as file:
        file.write('resources: {Order: {"1": {state: open}, "2": {state: shipped}}}\n')
    given = toolgate("test")

    assert 4 == unread.exit_code, unread.output
    assert "      the resources of type `Order` are listed live: give the case its own under `resources:`\n" in unread.stdout  # fmt: skip
    assert 0 == given.exit_code, given.output
