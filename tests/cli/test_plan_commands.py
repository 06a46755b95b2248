"""`toolgate plan`: checked offline against a bundle, shown, drawn and compared; of a running gate by id."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.cli.conftest import Toolgate
from tests.listeners.served import write_shop
from tests.listeners.test_plans import Door, opened
from tests.support.policies import permit_all

from toolgate.cli import main

PLAN: dict[str, Any] = {
    "goal": "look and note",
    "steps": [
        {"stepId": "read", "name": "ReadItem", "operationId": "shop.getItem", "arguments": {"id": "hammer"}},
        {"stepId": "look", "operationId": "shop.getItem", "arguments": {"id": "nail"}, "timeout": 400, "attempts": 2},
        {
            "stepId": "write", "operationId": "shop.putItem", "dependsOn": ["read", "look"],
            "arguments": {"id": "hammer", "body": {"n": 1}},
        },
    ],
}  # fmt: skip
YAML = """\
goal: look and note
steps:
  - {stepId: read, operationId: shop.getItem, arguments: {id: hammer}}
  - stepId: gone
    operationId: shop.getItm
  - stepId: write
    operationId: shop.putItem
    dependsOn: [read, raed]
"""


@pytest.fixture
def shop(folder: Path) -> Path:
    """A project with a shop, and a plan in it."""
    write_shop(folder)
    permit_all(folder)
    (folder / "toolgate.yaml").write_text("environment: prod\nenvironments: [dev, prod]\n")
    (folder / "plan.json").write_text(json.dumps(PLAN, indent=2))
    (folder / "plan.yaml").write_text(YAML)
    return folder


def changed(**of_step: dict[str, Any]) -> dict[str, Any]:
    steps = [{**step, **of_step.get(step["stepId"], {})} for step in PLAN["steps"] if of_step.get(step["stepId"]) != {}]
    return {**PLAN, "steps": steps}


def test_a_plan_that_would_be_locked_is_ok(toolgate: Toolgate, shop: Path) -> None:
    """Exit 0; as JSON the plan as it would be locked: names, attempts and operation keys written out."""
    told = toolgate("plan", "check", "plan.json")
    value = json.loads(toolgate("plan", "check", "plan.json", "--json").output)

    assert shop.is_dir()
    assert (told.exit_code, told.output) == (0, "ok: plan.json: 3 steps, 2 of them ready at once\n")
    (plan,) = value["plans"]
    assert (plan["file"], plan["accepted"], plan["violations"]) == ("plan.json", True, [])
    assert plan["document"]["steps"][2]["attempts"] >= 1


@pytest.mark.usefixtures("shop")
def test_everything_wrong_is_told_at_once_with_its_line(toolgate: Toolgate) -> None:
    """`file:line: code: message; hint`, exit 1; the same in JSON."""
    told = toolgate("plan", "check", "plan.yaml", "plan.json")
    value = json.loads(toolgate("plan", "check", "plan.yaml", "--json").output)

    assert told.exit_code == 1
    first, second, third = told.stdout.splitlines()
    assert first.startswith("plan.yaml:5: tool.unknown: `/steps/1/operationId`: ")
    assert "did you mean `shop.getItem`?" in first
    assert second.startswith("plan.yaml:8: plan.dependency: `/steps/2/dependsOn/1`: ")
    assert third == "ok: plan.json: 3 steps, 2 of them ready at once"
    assert [5, 8] == [each["line"] for each in value["plans"][0]["violations"]]
    assert not value["plans"][0]["accepted"]


@pytest.mark.usefixtures("shop")
def test_a_plan_comes_from_standard_input(folder: Path) -> None:
    """`-`, as JSON or YAML; tabs are JSON."""
    text = (folder / "plan.json").read_text().replace("  ", "\t")
    told = CliRunner().invoke(main, ["plan", "check", "-"], input=text, prog_name="toolgate")

    assert (told.exit_code, told.output) == (0, "ok: -: 3 steps, 2 of them ready at once\n")


@pytest.mark.usefixtures("shop")
def test_who_proposes_makes_a_difference(toolgate: Toolgate, folder: Path) -> None:
    """What no statement can ever permit to this principal is told, and is no problem for another."""
    (folder / "policies" / "permit-all.cedar").unlink(missing_ok=True)
    for file in (folder / "policies").glob("*.cedar"):
        file.unlink()
    (folder / "policies" / "one.cedar").write_text(
        '@id("writers") permit (principal in Role::"writer", action, resource);'
    )
    anybody, writer = (
        toolgate("plan", "check", "plan.json"),
        toolgate("plan", "check", "plan.json", "--as", "corp/ann", "--role", "writer"),
    )

    assert (anybody.exit_code, writer.exit_code) == (1, 0)
    assert "policy.not_allowed" in anybody.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"goal": "a", "goal": "b", "steps": []}', "bad.json: plan.form: "),
        (b'{"goal": "a"', "bad.json: plan.form: "),
        (b"\xff", "bad.json: plan.form: "),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_file_that_is_no_plan_is_a_problem(toolgate: Toolgate, folder: Path, content: bytes, said: str) -> None:
    """Exit 2, one sentence, no traceback: by every command that reads one."""
    (folder / "bad.json").write_bytes(content)
    for words in (("check",), ("show",), ("graph",), ("diff", "plan.json")):
        told = toolgate("plan", *words, "bad.json")
        assert told.exit_code == 2, told.output
        assert said in told.output


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"stepId": "a"}], "operationId"),
        ([{"stepId": "a", "operationId": "t.a"}, {"stepId": "a", "operationId": "t.a"}], "two steps are called `a`"),
        ([{"stepId": "a", "operationId": "t.a", "dependsOn": ["z"]}], "`a` depends on `z`, which is no step"),
        (
            [
                {"stepId": "a", "operationId": "t.a", "dependsOn": ["b"]},
                {"stepId": "b", "operationId": "t.a", "dependsOn": ["a"]},
            ],
            "in a circle",
        ),
        ([], "steps"),
        ({}, "steps"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_cannot_be_drawn_is_told(toolgate: Toolgate, folder: Path, steps: Any, said: str) -> None:
    """A name twice, a name of nothing, a circle: exit 2 and what it is."""
    (folder / "bad.json").write_text(json.dumps({"goal": "g", "steps": steps}))
    for words in ("show", "graph"):
        told = toolgate("plan", words, "bad.json")
        assert (told.exit_code, said in told.output) == (2, True), told.output


@pytest.mark.usefixtures("shop")
def test_a_plan_is_shown_step_by_step(toolgate: Toolgate) -> None:
    """What is called with what, after what, within what."""
    told = toolgate("plan", "show", "plan.json")

    assert told.output == (
        "look and note\n\n"
        "Step 1: read  ReadItem  shop.getItem\n"
        '  argument   id = "hammer"\n\n'
        "Step 2: look  shop.getItem\n"
        '  argument   id = "nail"\n'
        "  at most    400 ms, 2 attempts\n\n"
        "Step 3: write  shop.putItem\n"
        "  after      `read`, `look`\n"
        '  argument   id = "hammer"\n'
        '  argument   body = {"n": 1}\n'
    )


@pytest.mark.usefixtures("shop")
def test_a_plan_is_drawn(toolgate: Toolgate) -> None:
    """As lanes in a terminal, and as a flowchart for a page."""
    lanes, flowchart = (
        toolgate("plan", "graph", "plan.json"),
        toolgate("plan", "graph", "plan.json", "--format", "mermaid"),
    )

    assert lanes.output == (
        "●    read  ReadItem  shop.getItem\n│ ●  look  shop.getItem\n├─╯\n●    write  shop.putItem\n"
    )
    assert flowchart.output == (
        'flowchart TD\n  s1["ReadItem<br/>shop.getItem"]\n  s2["look<br/>shop.getItem"]\n  s3["write<br/>shop.putItem"]\n'
        "  s1 --> s3\n  s2 --> s3\n"
    )
    assert json.loads(toolgate("plan", "graph", "plan.json", "--json").output) == {"mermaid": flowchart.output.strip()}


@pytest.mark.usefixtures("shop")
def test_two_plans_are_compared(toolgate: Toolgate, folder: Path) -> None:
    """What is added, dropped and changed, values as they would be sent; and that it costs a replan, with the reasons."""
    new = changed(look={}, write={"arguments": {"id": "hammer", "body": {"n": 1.0}}, "dependsOn": ["read"]})
    new["steps"].append({"stepId": "more", "operationId": "shop.getItem"})
    (folder / "new.json").write_text(json.dumps(new))
    told = toolgate("plan", "diff", "plan.json", "new.json")
    value = json.loads(toolgate("plan", "diff", "plan.json", "new.json", "--json").output)

    assert told.exit_code == 1
    lines = told.output.splitlines()
    assert lines[:3] == ["dropped  look  shop.getItem", "added    more  shop.getItem", "changed  write  shop.putItem"]
    assert "  /arguments/body/n: 1 → 1.0" in lines
    assert "expands: revising the one to the other costs one of `max_replans`" in lines
    assert (value["added"], value["dropped"], value["narrows"]) == (["more"], ["look"], False)
    assert any("`more` is new" in each for each in value["expands"])


@pytest.mark.usefixtures("shop")
def test_a_plan_that_narrows_is_told_to_be_free(toolgate: Toolgate, folder: Path) -> None:
    """Less time for a step is no expansion; nothing changed is exit 0."""
    (folder / "new.json").write_text(json.dumps(changed(look={"timeout": 300})))
    told, same = toolgate("plan", "diff", "plan.json", "new.json"), toolgate("plan", "diff", "plan.json", "plan.json")

    assert told.output.splitlines() == [
        "changed  look  shop.getItem", "  /timeout: 400 → 300", "", "narrows: revising the one to the other is free",
    ]  # fmt: skip
    assert (same.exit_code, same.output) == (0, "ok: nothing changes\n")


async def asked(door: Door, *words: str) -> Result:
    admin = ("-e", "prod", "--admin", f"127.0.0.1:{door.ports['admin']}")
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, ["plan", *words, *admin], env={}, prog_name="toolgate")
    )


@pytest.mark.usefixtures("folder")
async def test_a_locked_plan_is_shown_by_id_and_by_digest(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With how far its run has come; drawn, its steps say what they are in; one of nothing is a no."""
    async with opened(tmp_path_factory.mktemp("gate")) as door:
        told = await asked(door, "show", "plan_1")
        drawing = await asked(door, "graph", "plan_1")
        nothing = await asked(door, "show", "plan_2")

    assert told.output.splitlines()[:5] == [
        "look",
        "  plan       plan_1, sha256:1",
        "  in         run_1, by digest, in prod",
        "  done       1 of 2 steps; expires 1970-01-01T01:00:00.000Z",
        "  replans    2 left",
    ]
    assert drawing.output == "●  read  ReadItem  shop.getItem  done\n│\n●  write  shop.putItem  ready\n"
    assert (nothing.exit_code, "there is no plan `plan_2` here" in nothing.stderr) == (1, True)


@pytest.mark.usefixtures("shop")
def test_what_a_plan_says_steers_no_terminal(toolgate: Toolgate, folder: Path) -> None:
    """Control characters of a plan are shown as escapes, whatever is shown of it."""
    evil = "a\x1b[2J\u202eb"
    plan = changed(read={"name": evil, "operationId": f"t.{evil}", "arguments": {evil: evil}, "outputs": {"o": evil}})
    (folder / "evil.json").write_text(json.dumps({**plan, "goal": evil}))
    commands = (
        ("show", "evil.json"),
        ("graph", "evil.json"),
        ("check", "evil.json"),
        ("diff", "plan.json", "evil.json"),
    )
    shown = "".join(toolgate("plan", *words).output for words in commands)

    assert [] == [char for char in "\x1b\u202e" if char in shown]


@pytest.mark.usefixtures("shop")
def test_what_exists_is_given_by_hand(toolgate: Toolgate, folder: Path) -> None:
    """A literal that names nothing of a catalogue is a problem; of a live one, what `--resources` says is known."""
    tool = folder / "toolspecs" / "shop" / "tool.yaml"
    listed = 'resources: {Item: {from: {operation: listItems, items: "$response.body", id: id}, ttl_s: 30}}'
    bound = 'operations: {getItem: {resources: [{type: Item, at: "$args.id"}]}}\n'
    text = (
        tool.read_text().replace("resources: {Item: {file: items.yaml}}", listed).replace("[getItem, putItem]", '["*"]')
    )
    tool.write_text(text + bound)
    document = folder / "toolspecs" / "shop" / "openapi.yaml"
    lists = '  /items:\n    get: {operationId: listItems, responses: {"200": {description: ok}}}\n'
    document.write_text(document.read_text().replace("paths:\n", f"paths:\n{lists}"))
    (folder / "known.yaml").write_text("Item: {hammer: {}}\n")
    unknown, told = (
        toolgate("plan", "check", "plan.json"),
        toolgate("plan", "check", "plan.json", "--resources", "known.yaml"),
    )

    assert unknown.exit_code == 0, unknown.output
    assert (told.exit_code, "environment.resource_not_found" in told.stdout, "`nail`" in told.stdout) == (1, True, True)
