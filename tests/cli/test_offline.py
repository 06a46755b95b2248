"""`check` and `explain` without a gate: what only a running one reads is said to be unknown, or given by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Toolgate = Callable[..., Result]

TOOL = """\
tool: shop
openapi: openapi.yaml
environments:
  prod:
    upstream: https://shop.example
    allow: [getOrder, listOrders, createOrder]
    resources:
      Order: {from: {operation: listOrders, items: $response.body#/orders}}
operations:
  getOrder: {resources: [{type: Order, at: $args.id}]}
"""
ASKED = ("explain", "shop.getOrder", "--args", '{"id": 7}')


@pytest.fixture
def project(folder: Path) -> Path:
    """A project whose orders are listed by the shop itself."""
    spec = folder / "toolspecs" / "shop"
    spec.mkdir(parents=True)
    (spec / "tool.yaml").write_text(TOOL)
    (folder / "openapi.yaml").rename(spec / "openapi.yaml")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text('@id("all") permit (principal, action, resource);\n')
    (folder / "toolgate.yaml").write_text("environment: prod\nenvironments: [prod]\n")
    return folder


def test_check_says_which_operation_lists_what_exists(toolgate: Toolgate, project: Path) -> None:
    """How many there are is known to the running gate only."""
    assert project.is_dir()
    assert "; Order as `shop.listOrders` lists them\n" in toolgate("check").stdout
    assert {"Order": "shop.listOrders"} == json.loads(toolgate("check", "--json").stdout)["reports"][0]["views"][0][
        "live"
    ]


def test_explain_does_not_guess_what_exists(toolgate: Toolgate, project: Path) -> None:
    """Neither yes nor no: it could not be done, and how it can be."""
    shown = toolgate(*ASKED)

    assert project.is_dir()
    assert 3 == shown.exit_code
    assert (
        "the list of Order is read from `shop.listOrders` by a running gate, so this is not known here; "
        "give it with `--resources FILE`, or ask the gate (POST /-/explain)"
    ) in shown.stderr


def test_explain_decides_what_does_not_depend_on_it(toolgate: Toolgate, project: Path) -> None:
    """Operations that are disallowed, unknown, or about no such resource."""
    assert project.is_dir()
    assert "tool.disallowed" in toolgate("explain", "shop.deleteOrder").stdout
    assert 0 == toolgate("explain", "shop.listOrders").exit_code


@pytest.mark.parametrize(("listed", "ends"), [("{Order: {'7': {}}}", 0), ("{Order: {'8': {}}}", 1), ("Order: {}", 1)])
def test_explain_takes_what_exists_from_a_file(toolgate: Toolgate, project: Path, listed: str, ends: int) -> None:
    """As the cases of `toolgate test` write it."""
    (project / "known.yaml").write_text(listed)
    shown = toolgate(*ASKED, "--resources", "known.yaml")

    assert ends == shown.exit_code
    assert ("OrderNotFound" in shown.stdout) is (ends == 1)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("Ordr: {}", "known.yaml:1: resources.type: no catalogue lists resources of the type `Ordr`; did you mean `Order`?"),
        ("[a]", "known.yaml:1: resources.list: is not a mapping; write `{Metric: {node_cpu: {tier: critical}}}`"),
        ("Order: [a]", "known.yaml:1: resources.list: `Order` is not a mapping of ids to attributes; write `{node_cpu: {tier: critical}}`"),
        ("Order: {a: b}", "known.yaml:1: resources.list: `Order` is not a mapping of ids to attributes; write `{node_cpu: {tier: critical}}`"),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_of_that_kind_is_a_problem(
    toolgate: Toolgate, project: Path, listed: str, expected: str
) -> None:
    """A misspelt type would make everything look as if it did not exist."""
    (project / "known.yaml").write_text(listed)
    shown = toolgate(*ASKED, "--resources", "known.yaml")

    assert (2, True) == (shown.exit_code, expected in shown.stderr)


POLICY = """\
@id("evenings") permit (principal in Role::"clerk", action, resource)
when { context.now.toTime() > duration("17h") && context has on_behalf_of && context.on_behalf_of == "bob" };
"""
LATE = ("explain", "shop.listOrders", "--as", "ann", "--role", "clerk", "--now", "2026-11-22T17:30:00Z")


@pytest.mark.parametrize(
    ("words", "ends", "told"),
    [
        ((*LATE, "--on-behalf-of", "bob"), 0, "permitted"),
        ((*LATE[:-1], "2026-11-22T17:30:00+01:00", "--on-behalf-of", "bob"), 1, 'but for `context.now.toTime() > duration("17h")`'),
        ((*LATE[:3], "ann", *LATE[6:], "--on-behalf-of", "bob"), 1, 'nearly: `evenings` would permit it, but for `principal in Role::"clerk"`'),
        ((*LATE, "--on-behalf-of", "eve"), 1, 'but for `context.on_behalf_of == "bob"`'),
    ],
)  # fmt: skip
def test_explain_takes_the_time_and_whom_it_is_for(
    toolgate: Toolgate, project: Path, words: tuple[str, ...], ends: int, told: str
) -> None:
    """What policies may read of a call can be said here, and what does not hold is told, also of a permit's head."""
    (project / "policies/all.cedar").write_text(POLICY)
    shown = toolgate(*words)

    assert (ends, True) == (shown.exit_code, told in shown.stdout), shown.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--now", "noon"), "`noon` must be a date and time such as `2026-11-22T08:00:00Z`"),
        (("--on-behalf-of", "bob"), "`--role`, `--claim` and `--on-behalf-of` describe a principal; name it with `--as corp/alice`"),
    ],
)  # fmt: skip
def test_explain_says_what_it_cannot_read(toolgate: Toolgate, project: Path, words: tuple[str, ...], told: str) -> None:
    """A slip on the command line is told in a sentence."""
    assert project.is_dir()
    shown = toolgate("explain", "shop.listOrders", *words)

    assert (2, True) == (shown.exit_code, told in " ".join(shown.stderr.split()))
