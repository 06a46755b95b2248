"""What `check` says of the policies, and the schema they are checked against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cedarpy
import pytest
from click.testing import Result

Toolgate = Callable[..., Result]


@pytest.fixture
def policies(project: Path) -> Callable[[str], None]:
    """Replace the starter policy; the toolspec allows everything in dev and prod."""
    spec = project / "toolspecs/shop/tool.yaml"
    text = spec.read_text().partition("    allow:")[0]
    allowed = f'{text}    allow: ["*"]\n'
    prod = allowed.partition("  dev:")[2]
    spec.write_text(f"{allowed}  prod:{prod}operations: {{purgeRefunds: {{effect: destructive}}}}\n")
    settings = project / "toolgate.yaml"
    settings.write_text(settings.read_text().replace("environments: [dev]", "environments: [dev, prod]"))

    def write(text: str) -> None:
        (project / "policies/shop.cedar").write_text(text)

    return write


def lines(shown: Result) -> list[str]:
    assert shown.exit_code == 0, shown.output
    return shown.stdout[shown.stdout.index("policies: ") :].splitlines()[:-1]


_ISSUER = "{name: corp, issuer: 'https://a', audience: toolgate, jwks: {file: keys.json}, roles: {claim: groups%s}}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("", "asks for no token, so that an agent could answer itself; configure `identity.issuers`"),
        ("listen: {admin: off}", "is `off`; configure `identity.issuers`"),
        ("listen: {admin: 'unix:a.sock'}", "the role `oncall`, which nobody can have"),
        (f"identity: {{issuers: [{_ISSUER % ', map: {ops: [dba]}'}]}}", "the role `oncall`, which nobody can have"),
        (f"identity: {{issuers: [{_ISSUER % ', map: {ops: [oncall]}'}]}}", None),
        (f"identity: {{issuers: [{_ISSUER % ''}]}}", None),
    ],
)
def test_approvals_that_nobody_can_give_are_warned_about(
    toolgate: Toolgate, policies: Callable[[str], None], project: Path, settings: str, told: str | None
) -> None:
    """Only where a statement asks for one: what waits for nobody is never sent."""
    file = project / "toolgate.yaml"
    file.write_text(f"environment: dev\nenvironments: [dev, prod]\n{settings}\n")
    (project / "keys.json").write_text("{}")
    policies('@id("any") permit (principal, action, resource);\n')
    quiet = toolgate("check")
    policies(
        '@id("any") permit (principal, action, resource);\n@id("ask") @approval("oncall") forbid (principal, action, resource);\n'
    )
    shown = toolgate("check")

    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert told is None or "policies/shop.cedar:2: `ask` asks for" in shown.stderr
    assert (told or "") in shown.stderr
    assert (told is None) == (shown.stderr == "")


def test_what_statements_reach(toolgate: Toolgate, policies: Callable[[str], None]) -> None:
    """How many there are, which reach nothing, what none permits, and what anyone may change."""
    policies(
        '@id("reads") permit (principal in Role::"agent", action in Action::"read", resource);\n'
        '@id("anyone") permit (principal, action == Action::"shop.createOrder", resource);\n'
        '@id("in-prod") forbid (principal, action, resource) when { context.environment == "prod" && context.run.calls > 9 };\n'
        '@id("asked") @approval("oncall") forbid (principal, action in Action::"destructive", resource);\n'
        '@id("tried") @mode("audit") permit (principal, action == Action::"shop.deleteOrder", resource);\n'
        '@id("never") permit (principal, action, resource) when { context.environment == "dev" && false };\n'
    )

    assert lines(toolgate("check")) == [
        "policies: 6 statements (4 permits, 2 forbids); 1 in audit; 1 that asks for a person",
        "  match nothing in any environment: 1",
        "    policies/shop.cedar:6: `never`",
        "  match nothing in dev: 1",
        "    `in-prod`",
        "  allowed in dev, and no statement permits it: 3",
        "    `shop.deleteOrder`",
        "    `shop.searchOrders`",
        "    `shop.purgeRefunds`",
        "  `anyone` permits any principal in dev what changes something: 1",
        "    `shop.createOrder`",
        "  allowed in prod, and no statement permits it: 3",
        "    `shop.deleteOrder`",
        "    `shop.searchOrders`",
        "    `shop.purgeRefunds`",
        "  `anyone` permits any principal in prod what changes something: 1",
        "    `shop.createOrder`",
    ]
    found = json.loads(toolgate("check", "--json").stdout)["reports"][0]["policies"]
    assert {"statements": 6, "permits": 4, "audit": 1, "approvals": 1} == {
        key: found[key] for key in ("statements", "permits", "audit", "approvals")
    }
    assert [{"id": "never", "path": "policies/shop.cedar", "line": 6}] == found["idle"]
    assert {"anyone": ["shop.createOrder"]} == found["environments"][1]["for_anyone"]


def test_what_a_narrower_environment_may_permit_beyond_a_wider(
    toolgate: Toolgate, policies: Callable[[str], None]
) -> None:
    """Noted with the statement and its place, not refused."""
    policies('@id("a") permit (principal in Role::"agent", action, resource) when { context.environment == "prod" };')

    assert (
        "    policies/shop.cedar:1: `a` permits in `prod` what it may not permit in the wider `dev`: `shop.createOrder` "
        "and 3 more"
    ) in lines(toolgate("check"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("// nothing yet\n", "there are no policies"),
        ("forbid (principal, action, resource);", "no statement permits any operation"),
        ('@mode("audit") permit (principal, action, resource);', "no statement permits any operation"),
    ],
)
def test_a_gate_that_would_refuse_everything_is_warned_of(
    toolgate: Toolgate, policies: Callable[[str], None], text: str, why: str
) -> None:
    """It is sound, and certainly not what was meant; the warning says what to write."""
    policies(text)
    shown = toolgate("check")

    assert shown.exit_code == 0
    assert (
        f"warning: {why}, so every call in `prod` would be refused; "
        'write one in the policies folder, such as `permit (principal, action in Action::"read", resource);`\n'
    ) in shown.stderr


def test_a_policies_folder_that_is_not_there_is_named(toolgate: Toolgate, project: Path) -> None:
    """A misspelt `policies:` looks like a gate without policies."""
    settings = project / "toolgate.yaml"
    settings.write_text(settings.read_text().replace("policies: policies/", "policies: policis/"))
    shown = toolgate("check")

    assert (
        "warning: the policies folder `policis` is not there, so every call in `dev` would be refused" in shown.stderr
    )


ROLES = [
    ("{anonymous: {id: me, roles: [clerk]}}", "; did you mean `clerk`?"),
    ("{anonymous: {id: me}}", "; roles that somebody can have: none (`identity`)"),
    ("{development: true}", None),
    ("{issuers: [{name: corp, issuer: 'https://id.example', audience: gate, jwks: {url: 'https://id.example/jwks'}}]}", "; roles that somebody can have: none (`identity`)"),
    ("{issuers: [{name: corp, issuer: 'https://id.example', audience: gate, jwks: {url: 'https://id.example/jwks'}, roles: {claim: groups, map: {a: clerk, b: [x, y]}}}]}", "; did you mean `clerk`?"),
    ("{issuers: [{name: corp, issuer: 'https://id.example', audience: gate, jwks: {url: 'https://id.example/jwks'}, roles: {claim: groups}}]}", None),
]  # fmt: skip


@pytest.mark.parametrize(("identity", "told"), ROLES, ids=[row[0] for row in ROLES])
def test_a_role_that_nobody_can_have_is_warned_of(
    toolgate: Toolgate, policies: Callable[[str], None], project: Path, identity: str, told: str | None
) -> None:
    """Where the settings say every role there can be; a token that may say any leaves it open."""
    settings = project / "toolgate.yaml"
    kept = "".join(
        line for line in settings.read_text().splitlines(True) if not line.startswith(("identity", "  anon"))
    )
    settings.write_text(f"{kept}identity: {identity}\n")
    policies('@id("a") permit (principal in Role::"clrk", action, resource);')
    shown = toolgate("check", "--environment", "dev")

    message = "warning: policies/shop.cedar:1: nobody can have the role `clrk` that `a` names"
    assert 0 == shown.exit_code, shown.output
    assert (None if told is None else f"{message}{told}") == next(
        (line for line in shown.stderr.splitlines() if line.startswith(message)), None
    )


def test_types_of_resources_that_nothing_lists_are_noted(
    toolgate: Toolgate, policies: Callable[[str], None], project: Path
) -> None:
    """Every name exists of what no catalogue lists; said of each environment."""
    policies("permit (principal, action, resource);")
    spec = project / "toolspecs/shop/tool.yaml"
    text = spec.read_text().replace(
        "operations: {", 'operations: {getOrder: {resources: [{type: Order, at: "$args.id"}]}, '
    )
    spec.write_text(text)
    told = toolgate("check").stdout
    found = json.loads(toolgate("check", "--json").stdout)["reports"][0]["unlisted"]

    messages = [
        f"no catalogue lists Order in `{name}`, so every name exists; list them under its `resources:`"
        for name in ("dev", "prod")
    ]
    assert "resources that nothing lists: 2\n" in told
    assert sorted(messages) == sorted(each["message"] for each in found)


def test_a_slip_in_a_policy_is_told_with_its_column(toolgate: Toolgate, policies: Callable[[str], None]) -> None:
    """As `path:line:column: code: message`, once for all environments."""
    policies('permit (principal, action, resource)\nwhen { context.enviroment == "prod" };')
    shown = toolgate("check")
    as_json = json.loads(toolgate("check", "--json").stdout)

    told = "`context.enviroment` is not known; did you mean `context.environment`?"
    assert (2, f"policies/shop.cedar:2:16: policy.unknown: {told}\n") == (shown.exit_code, shown.stdout)
    place = {"path": "policies/shop.cedar", "line": 2, "column": 16}
    assert [{**place, "code": "policy.unknown", "message": told}] == as_json["problems"]


def test_a_statement_that_is_wrong_in_one_environment_names_it(
    toolgate: Toolgate, policies: Callable[[str], None], project: Path
) -> None:
    """Documents differ between environments: what is an argument in one is none in another."""
    document = (project / "toolspecs/shop/openapi.yaml").read_text()
    (project / "toolspecs/shop/dev.yaml").write_text(
        document.replace("name: id, in: path", "name: key, in: path").replace("{id}", "{key}")
    )
    policies('permit (principal, action == Action::"shop.getOrder", resource) when { context.args.id == 7 };')
    spec = project / "toolspecs/shop/tool.yaml"
    spec.write_text(spec.read_text().replace("  dev:\n", "  dev:\n    openapi: dev.yaml\n"))
    there = toolgate("check", "--environment", "prod")
    here = toolgate("check", "--environment", "dev")

    told = "policies/shop.cedar:1:85: policy.unknown: `context.args.id` is not an argument of `shop.getOrder`; there is `key`"
    assert (2, f"{told} (in `dev`)\n") == (there.exit_code, there.stdout)
    assert (2, f"{told}\n") == (here.exit_code, here.stdout)


def test_an_environment_is_named_once(toolgate: Toolgate, policies: Callable[[str], None], project: Path) -> None:
    """A message that says where it holds is not followed by the same again."""
    policies("forbid (principal, action, resource is Order) when { resource.tier == 1 };")
    spec = project / "toolspecs/shop/tool.yaml"
    (spec.parent / "orders.yaml").write_text("- {id: '1', tier: 1}\n")
    text = spec.read_text().replace(
        "operations: {", 'operations: {getOrder: {resources: [{type: Order, at: "$args.id"}]}, '
    )
    spec.write_text(text.replace("  dev:\n", "  dev:\n    resources: {Order: {file: orders.yaml}}\n"))
    shown = toolgate("check", "--environment", "dev")

    told = "`resource.tier`: no catalogue of `prod` says what attributes an Order has\n"
    assert (2, True) == (shown.exit_code, shown.stdout.endswith(told)), shown.stdout


def test_the_schema_of_policies_is_cedars(toolgate: Toolgate, project: Path) -> None:
    """As text and as JSON, whole or of one action; also while a policy is broken."""
    (project / "policies/shop.cedar").write_text("permit (")
    text = toolgate("schema", "cedar").stdout
    encoded = toolgate("schema", "cedar", "--json").stdout
    one = toolgate("schema", "cedar", "--action", "shop.deleteOrder").stdout

    assert str(cedarpy.Schema.from_json_str(encoded)).replace("__cedar::", "") == str(
        cedarpy.Schema.from_str(text)
    ).replace("__cedar::", "")
    assert '// GET /shop/orders\naction "shop.listOrders" in ["read", "shop"] appliesTo {' in text
    assert 'action "shop.deleteOrder"' not in text  # only what the environment allows
    assert "    args: {\n      id: Long,\n    },\n" in one
    assert "listOrders" not in one.partition("action ")[2]


def test_the_schema_of_no_operation(toolgate: Toolgate, project: Path) -> None:
    """A slip names the nearest; `--action` goes with nothing else."""
    assert project.is_dir()
    shown = toolgate("schema", "cedar", "--action", "shop.deleteOrdr")
    assert (2, True) == (shown.exit_code, "did you mean `shop.deleteOrder`?" in shown.output)
    assert 2 == toolgate("schema", "toolspec", "--action", "shop.deleteOrder").exit_code
