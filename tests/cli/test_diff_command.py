"""`toolgate diff`: what a change of configuration changes for those who call."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tests.support.shop import SETTINGS

Toolgate = Callable[..., Result]

TOOL = """\
tool: shop
openapi: openapi.yaml
environments:
  dev: {upstream: "http://dev.example", allow: ["*"]}
  prod: {upstream: "http://prod.example", allow: [listOrders, getOrder, deleteOrder]}
"""
POLICY = """\
@id("clerks-read")
permit (principal in Role::"clerk", action in Action::"read", resource);

@id("managers-delete")
permit (principal in Role::"manager", action == Action::"shop.deleteOrder", resource);
"""
CASES = """\
principals: {manager: {roles: [manager]}}
cases:
  - {note: a clerk reads, call: {operation: shop.listOrders}, want: {permit: true}}
  - {note: a manager deletes, call: {operation: shop.deleteOrder, arguments: {id: 1}, principal: manager}, want: {permit: true}}
"""


@pytest.fixture
def old(folder: Path) -> Path:
    made = folder / "old"
    for name, text in {
        "toolgate.yaml": SETTINGS,
        "toolspecs/shop/tool.yaml": TOOL,
        "toolspecs/shop/openapi.yaml": (folder / "openapi.yaml").read_text(),
        "policies/shop.cedar": POLICY,
        "policies/tests/orders.yaml": CASES,
    }.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    return made


@pytest.fixture
def new(old: Path) -> Path:
    return Path(shutil.copytree(old, old.parent / "new"))


def replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_nothing_changes(toolgate: Toolgate, old: Path, new: Path) -> None:
    """Another layout, other comments, the order of statements: none of it is a change."""
    first, second = POLICY.split("\n\n")
    (new / "policies/shop.cedar").write_text(f"// moved\n{second}\n{first.replace(', ', ',  ')}\n")
    done = toolgate("diff", "old", "new")

    assert old.is_dir()
    assert (0, "ok: nothing that is compared changes\n", "") == (done.exit_code, done.stdout, done.stderr)
    assert {"changed": False, "environments": [], "identity": [], "statements": [], "operations": [], "resources": [], "budgets": [], "access": [], "cases": []} == json.loads(toolgate("diff", "old", "new", "--json").stdout)  # fmt: skip


def test_a_statement_that_goes_takes_access_with_it(toolgate: Toolgate, old: Path, new: Path) -> None:
    """Who loses what, where, and the cases that end otherwise with what decides on each side; the end is 1."""
    replace(new / "policies/shop.cedar", POLICY.partition("\n\n")[2], "")
    done = toolgate("diff", "old", "new")

    assert old.is_dir()
    assert 1 == done.exit_code
    assert "statements\n  removed  `managers-delete` (old/policies/shop.cedar:4)\n" in done.stdout
    assert "access\n  in dev, manager: listed → refused: `shop.deleteOrder`\n  in prod, manager: listed → refused: `shop.deleteOrder`\n" in done.stdout  # fmt: skip
    assert "cases\n  a manager deletes, in prod (new/policies/tests/orders.yaml:4)\n" in done.stdout
    assert "was  permitted by `managers-delete`\n" in done.stdout
    assert "is   refused with policy.not_allowed: " in done.stdout


def test_credentials_are_told_by_where_they_are(toolgate: Toolgate, old: Path, new: Path) -> None:
    """Where each is sent and read; what it is, and in which folder a side lies, is no part of it. Limits as they are."""
    tool, dev = "toolspecs/shop/tool.yaml", 'dev: {upstream: "http://dev.example"'
    for side, said in ((old, '"${file:../../key}"}'), (new, '"${env:SHOP_KEY}"}, max_body: 2MiB')):
        (side / "key").write_text("hunter2")
        with_key = f"{dev.replace('http:', 'https:')}, credentials: {{header: X-Key, value: {said}"
        replace(side / tool, dev, with_key)
    done = toolgate("diff", "old", "new", "-e", "dev")

    assert done.exit_code == 1
    assert (
        "in dev: credentials: header X-Key from file:key → header X-Key from env:SHOP_KEY; max_body: 1048576 → 2097152: "
        in done.stdout
    )
    assert "hunter2" not in done.output


def test_who_is_let_in_is_compared(toolgate: Toolgate, old: Path, new: Path) -> None:
    """Issuers by name, key by key; who calls without a token; a secret by its place."""
    issuer = "{name: corp, issuer: 'https://a', audience: toolgate, secret: '${env:%s}', algorithms: [HS256], roles: {claim: groups, map: {ops: [%s]}}}"
    for side, key, role in ((old, "ONE", "oncall"), (new, "TWO", "dba")):
        text = (side / "toolgate.yaml").read_text().partition("identity:")[0]
        (side / "toolgate.yaml").write_text(f"{text}identity: {{issuers: [{issuer % (key, role)}]}}\n")
    replace(new / "toolgate.yaml", "identity: {", "identity: {anonymous: {id: guest, roles: [clerk]}, ")
    done = toolgate("diff", "old", "new")
    told = json.loads(toolgate("diff", "old", "new", "--json").stdout)

    assert (
        "identity\n"
        "  issuer corp: keys: the secret of env:ONE → the secret of env:TWO\n"
        "  issuer corp: roles: by groups: ops as oncall → by groups: ops as dba\n"
        "  without a token: none → guest with the roles clerk\n"
    ) in done.stdout
    assert {"what": "without a token", "old": "none", "new": "guest with the roles clerk"} in told["identity"]


def test_a_forbid_changes_cases_only_the_other_side_has(toolgate: Toolgate, old: Path, new: Path) -> None:
    """A case that NEW dropped is asked of NEW all the same: nothing hides behind a deleted test."""
    replace(new / "policies/tests/orders.yaml", "note: a manager deletes", "note: a manager removes")
    replace(new / "policies/tests/orders.yaml", "shop.deleteOrder, arguments: {id: 1}", "shop.listOrders")
    replace(new / "policies/tests/orders.yaml", "want: {permit: true}}\n", "want: {permit: false}}\n")
    with (new / "policies/shop.cedar").open("a") as file:
        file.write('\n@id("one-stays")\nforbid (principal, action == Action::"shop.deleteOrder", resource) when { context.args.id == 1 };\n')  # fmt: skip
    shown = json.loads(toolgate("diff", "old", "new", "--json").stdout)

    assert old.is_dir()
    assert [{"id": "one-stays", "what": "added", "place": "new/policies/shop.cedar:7"}] == shown["statements"]
    assert [] == shown["access"]
    (case,) = shown["cases"]
    assert ("a manager deletes", "prod", "old/policies/tests/orders.yaml") == (case["note"], case["environment"], case["file"])  # fmt: skip
    assert (["managers-delete"], ["one-stays"]) == (case["old"]["statements"], case["new"]["statements"])
    assert "policy.denied" == case["new"]["refusal"]


CHANGES = [
    ("tool.yaml", "prod.example", "other.example", "in prod: upstream: http://prod.example:80 → http://other.example:80: `shop.deleteOrder`, `shop.getOrder`, `shop.listOrders`"),
    ("tool.yaml", "getOrder, deleteOrder", "getOrder", "in prod: allowed: yes → no; upstream: http://prod.example:80 → none: `shop.deleteOrder`"),
    ("tool.yaml", "tool: shop\n", "tool: shop\noperations: {getOrder: {effect: write}}\n", "in dev: effect: read → write: `shop.getOrder`"),
    ("openapi.yaml", "schema: {type: integer}}]\n    get", "schema: {type: string}}]\n    get", "in dev: arguments: another schema: `shop.deleteOrder`, `shop.getOrder`"),
    ("openapi.yaml", "operationId: searchOrders", "operationId: findOrders", "in dev: removed: `shop.searchOrders`"),
    ("openapi.yaml", "/orders/search", "/orders/find", "in dev: request: POST /shop/orders/search → POST /shop/orders/find: `shop.searchOrders`"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"), [(each[:3], each[3]) for each in CHANGES], ids=[each[3] for each in CHANGES]
)
def test_operations_that_are_not_what_they_were(
    toolgate: Toolgate, new: Path, change: tuple[str, str, str], told: str
) -> None:
    """Effects, requests, arguments, upstreams and allow-lists, with what changes alike told together."""
    file, before, after = change
    replace(new / "toolspecs/shop" / file, before, after)
    done = toolgate("diff", "old", "new")

    assert 1 == done.exit_code
    assert f"  {told}\n" in done.stdout


LISTED = """\
tool: shop
openapi: openapi.yaml
environments:
  prod: {upstream: "http://prod.example", allow: ["*"], resources: {Order: {file: orders.yaml}}}
operations:
  getOrder: {resources: [{type: Order, at: "$args.id"}]}
  createOrder: {covers: [{type: Order, where: {state: open}, at: "$args#/body/ids/*"}]}
"""


BUDGETS = """\
budgets:
  - {name: run-spend, scope: [run], usd: "0.05"}
  - {name: writes, scope: [run], calls: 5, match: {operations: [shop.getOrder]}}
limits:
  - {name: pace, scope: [principal, tool], rate: 20/s}
loops: {identical_refusals: 3}
"""


def test_what_may_be_spent(toolgate: Toolgate, old: Path, new: Path) -> None:
    """Budgets, limits and loops in the words of the file, also where another set of operations is meant; costs too."""
    priced = "tool: shop\noperations: {getOrder: {cost: {usd: 0.01}}}\n"
    for side in (old, new):
        replace(side / "toolspecs/shop/tool.yaml", "tool: shop\n", priced)
        (side / "policies/budgets.yaml").write_text(BUDGETS)
    assert 0 == toolgate("diff", "old", "new").exit_code
    for before, after in (
        ('"0.05"', '"0.1"'),
        ("[shop.getOrder]", "[shop.listOrders]"),
        ("20/s", "10/s"),
        ("loops: {identical_refusals: 3}\n", ""),
    ):
        replace(new / "policies/budgets.yaml", before, after)
    replace(new / "toolspecs/shop/tool.yaml", "0.01", "0.02")
    done = toolgate("diff", "old", "new", "-e", "prod")

    assert 1 == done.exit_code
    assert "operations\n  in prod: cost: usd 0.01 → usd 0.02: `shop.getOrder`\n" in done.stdout
    assert (
        "budgets\n"
        "  in prod, budget run-spend (usd): 0.05 usd by run → 0.1 usd by run\n"
        "  in prod, budget writes (calls): 5 calls by run, for 1 operation → 5 calls by run, for 1 operation, of other operations\n"
        "  in prod, limit pace: 20/s, 20 at once by principal, tool → 10/s, 10 at once by principal, tool\n"
        "  in prod, loops identical_refusals: 3 → none\n"
    ) in done.stdout
    shown = json.loads(toolgate("diff", "old", "new", "-e", "prod", "--json").stdout)["budgets"]
    assert {"environment": "prod", "bound": "loops identical_refusals", "old": "3", "new": "none"} in shown


def test_what_exists_and_what_it_is_like(toolgate: Toolgate, old: Path, new: Path) -> None:
    """A resource that comes, goes or has other attributes changes what policies permit: it is never nothing."""
    for side in (old, new):
        (side / "toolspecs/shop/tool.yaml").write_text(LISTED)
        (side / "toolspecs/shop/orders.yaml").write_text('- {id: "1", state: open}\n- {id: "2", state: shipped}\n')
    same = toolgate("diff", "old", "new")
    (new / "toolspecs/shop/orders.yaml").write_text('- {id: "2", state: open}\n- {id: "3", state: open}\n')
    done = toolgate("diff", "old", "new")
    shown = json.loads(toolgate("diff", "old", "new", "--json").stdout)

    assert (0, "ok: nothing that is compared changes\n") == (same.exit_code, same.stdout)
    assert 1 == done.exit_code
    assert (
        "resources\n  in prod, Order of shop: added: `3`\n  in prod, Order of shop: removed: `1`\n"
        "  in prod, Order of shop: other attributes: `2`\n" in done.stdout
    )
    assert {"environment": "prod", "tool": "shop", "type": "Order", "what": "other attributes", "ids": ["2"]} in shown["resources"]  # fmt: skip


def test_who_lists_a_type_and_what_must_be_covered(toolgate: Toolgate, old: Path, new: Path) -> None:
    """A list that is no longer from a file, and a cover that asks for less, are changes by themselves."""
    for side in (old, new):
        (side / "toolspecs/shop/tool.yaml").write_text(LISTED)
        (side / "toolspecs/shop/orders.yaml").write_text('- {id: "1", state: open}\n')
    replace(new / "toolspecs/shop/tool.yaml", "where: {state: open}", "where: {state: shipped}")
    covers = toolgate("diff", "old", "new")
    replace(new / "toolspecs/shop/tool.yaml", ", resources: {Order: {file: orders.yaml}}}", "}")
    replace(new / "toolspecs/shop/tool.yaml", "  createOrder:", "  # createOrder:")
    gone = toolgate("diff", "old", "new")

    assert "  in prod: covers: other resources: `shop.createOrder`\n" in covers.stdout
    assert "resources\n  in prod, Order of shop: listed by: a file → nobody\n" in gone.stdout


def test_roles_and_the_anonymous_one_are_asked(toolgate: Toolgate, old: Path, new: Path) -> None:
    """--role asks as somebody no fixture is; the anonymous principal is each side's own."""
    replace(new / "toolgate.yaml", "roles: [clerk]", "roles: [guest]")
    with (new / "policies/shop.cedar").open("a") as file:
        file.write(
            '\n@id("auditors-read")\npermit (principal in Role::"auditor", action in Action::"read", resource);\n'
        )
    done = toolgate("diff", "old", "new", "--role", "auditor", "-e", "prod")

    assert old.is_dir()
    assert "  in prod, anonymous: listed → refused: `shop.getOrder`, `shop.listOrders`\n" in done.stdout
    assert "  in prod, role auditor: refused → listed: `shop.getOrder`, `shop.listOrders`\n" in done.stdout
    assert "in dev" not in done.stdout


def test_environments_come_and_go(toolgate: Toolgate, old: Path, new: Path) -> None:
    """An environment that only one side has is a change by itself."""
    replace(new / "toolgate.yaml", "[dev, prod]", "[staging, prod]")
    replace(new / "toolspecs/shop/tool.yaml", "  dev:", "  staging:")
    done = toolgate("diff", "old", "new")

    assert old.is_dir()
    assert (1, "environments\n  staging: added\n  dev: removed\n\n") == (done.exit_code, done.stdout)


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_a_revision_is_the_old_side(toolgate: Toolgate, old: Path) -> None:
    """--git compares with the project as it was, without touching the repository or running what it configures."""
    git(old.parent, "init")
    git(old.parent, "add", "old")
    git(old.parent, "commit", "-m", "first")
    hook = old.parent / ".git/hooks/post-index-change"
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)
    index = (old.parent / ".git/index").read_bytes()
    replace(old / "policies/shop.cedar", '"manager"', '"boss"')
    done = toolgate("diff", "--git", "HEAD", "old")

    assert 1 == done.exit_code, done.output
    assert "  changed  `managers-delete` (old/policies/shop.cedar:4)\n" in done.stdout
    assert "in prod, manager: listed → refused" in done.stdout
    assert index == (old.parent / ".git/index").read_bytes()
    assert not list(old.parent.rglob("ran"))


def test_a_broken_revision_is_told_by_its_name(toolgate: Toolgate, old: Path) -> None:
    """Problems of OLD name the revision and the file in it, not where the copy lay."""
    good = (old / "policies/shop.cedar").read_text()
    (old / "policies/notes.txt").write_text("x")
    git(old.parent, "init")
    git(old.parent, "add", "old")
    git(old.parent, "commit", "-m", "first")
    (old / "policies/notes.txt").unlink()
    (old / "policies/shop.cedar").write_text(good)
    done = toolgate("diff", "--git", "HEAD", "old")

    assert 2 == done.exit_code
    assert done.stderr.startswith("HEAD:policies/notes.txt: policies.stranger: ")


def test_a_folder_outside_of_git_is_told_as_that(toolgate: Toolgate, old: Path) -> None:
    """No commit can be named where there is no repository: the revision is not what is wrong."""
    done = toolgate("diff", "--git", "HEAD", "old", GIT_CEILING_DIRECTORIES=str(old.parent.parent))

    assert 2 == done.exit_code
    assert "`old` lies in no git repository" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("old",), "name two configurations (`toolgate diff OLD NEW`) or a revision (`toolgate diff --git HEAD`)"),
        (("--git", "HEAD", "old", "old"), "with `--git` name NEW only: OLD is what it was at the revision"),
        (("--git", "--output=x", "old"), "`--output=x` names no commit of the repository of `old`"),
        (("--git", "nothing", "old"), "`nothing` names no commit of the repository of `old`"),
        (("old", "absent"), "absent"),
    ],
)
def test_usage(toolgate: Toolgate, old: Path, words: tuple[str, ...], told: str) -> None:
    """What cannot be compared is said in a sentence."""
    git(old.parent, "init")
    done = toolgate("diff", *words)

    assert old.is_dir()
    assert 2 == done.exit_code
    assert told in " ".join(done.stderr.split())
