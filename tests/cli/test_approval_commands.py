"""`toolgate approvals`: a person reads what is asked and answers, with a token of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.listeners.test_approvals import Desk, opened

from toolgate.cli import main


@pytest.fixture(autouse=True)
def _alone(folder: Path) -> None:
    """No settings file and no variable of this machine."""
    assert folder.is_dir()


async def toolgate(desk: Desk, who: str, *words: str) -> Result:
    admin = ("-e", "prod", "--admin", f"127.0.0.1:{desk.ports['admin']}")
    environ = {"TOOLGATE_TOKEN": who}
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, ["approvals", *words, *admin], env=environ, prog_name="toolgate")
    )


async def test_a_person_grants_what_is_asked() -> None:
    """List, show, grant: each says what is asked, of whom and until when; the list is empty afterwards."""
    async with opened() as desk:
        name = await desk.asked(actor="agent-7")
        listed = await toolgate(desk, "ann", "list")
        shown = await toolgate(desk, "ann", "show", name)
        granted = await toolgate(desk, "ann", "grant", name, "--comment", "checked")
        empty = await toolgate(desk, "ann", "list")
        every = await toolgate(desk, "ann", "list", "--all", "--json")

    row = listed.output.splitlines()[1].split()
    assert [name, "pending", "corp/agent-7", 'metrics.removeMetric("node_cpu")', "oncall"] == [row[0], row[1], *row[4:]]
    assert "by corp/agent-7, for whom agent-7 acts" in shown.output
    assert "  why      a person decides\n" in shown.output
    assert '"name": "node_cpu"' in shown.output
    assert granted.output == (
        f"granted  {name}  metrics.removeMetric, for corp/agent-7\nthe agent may repeat it until 2023-11-14T22:23:20.000Z\n"
    )
    assert empty.output == "nothing is pending\n"
    assert [("granted", "checked")] == [
        (each["state"], each["comment"]) for each in json.loads(every.output)["approvals"]
    ]


async def test_a_person_declines() -> None:
    """The comment goes to the agent, and the answer is final: another one exits with 1 in the gate's own words."""
    async with opened() as desk:
        name = await desk.asked()
        declined = await toolgate(desk, "ann", "decline", name, "-m", "it is in use")
        late = await toolgate(desk, "bob", "grant", name)
        _, told = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")

    assert declined.output == f"declined  {name}  metrics.removeMetric, for corp/agent-7\n"
    assert (late.exit_code, late.stdout) == (1, "")
    assert "approval.declined" in late.stderr
    assert told["comment"] == "it is in use"


async def test_a_person_takes_a_yes_back() -> None:
    """Before it is used; the reason goes to the agent. A second thought is told how it stands."""
    async with opened() as desk:
        name = await desk.asked()
        early = await toolgate(desk, "ann", "revoke", name)
        await toolgate(desk, "ann", "grant", name)
        revoked = await toolgate(desk, "ann", "revoke", name, "--why", "the wrong one")
        late = await toolgate(desk, "bob", "grant", name)
        _, told = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")

    assert early.stderr == (
        f"toolgate: approval.pending: the request `{name}` is not granted, so there is nothing to take back."
        f" Decline it with POST /-/approvals/{name}/decline.\n"
    )
    assert revoked.output == f"revoked  {name}  metrics.removeMetric, for corp/agent-7\n"
    assert (late.exit_code, "was granted, and that was taken back" in late.stderr) == (1, True)
    assert (told["state"], told["comment"]) == ("revoked", "the wrong one")


async def test_a_list_says_what_is_asked() -> None:
    """Arguments short, and what is masked only as that; of a plan its goal. JSON has all of it."""
    long, secret = "x" * 500, {"$masked": "0123456789abcdef"}
    async with opened() as desk:
        await desk.asked(request={"arguments": {"body": {"name": long, "key": secret}}})
        await desk.asked(digest="sha256:2", kind="plan", operation=None, request={"goal": "tidy up", "document": {}})
        listed = await toolgate(desk, "ann", "list")
        told = json.loads((await toolgate(desk, "ann", "list", "--json")).output)

    plan, call = listed.output.splitlines()[1:]
    assert 'a plan: "tidy up"' in plan
    assert f'metrics.removeMetric(name="{"x" * 58}…, key=[masked])' in call
    assert long == told["approvals"][1]["request"]["arguments"]["body"]["name"]


async def test_who_may_not_answer_is_told_why() -> None:
    """Exit 1 and the reason; so for an id of nothing."""
    async with opened() as desk:
        name = await desk.asked()
        told = {who: await toolgate(desk, who, "grant", name) for who in ("agent-oncall", "viewer", "eve")}
        nothing = await toolgate(desk, "ann", "show", "apr_0")

    assert [1, 1, 1, 1] == [each.exit_code for each in (*told.values(), nothing)]
    assert "asked for this" in told["agent-oncall"].stderr
    assert "the role `oncall`" in told["viewer"].stderr
    assert f"there is no approval `{name}` here" in told["eve"].stderr
    assert "there is no approval `apr_0` here" in nothing.stderr


async def test_one_of_two_roles_is_not_enough() -> None:
    """The other role is named."""
    async with opened() as desk:
        name = await desk.asked(roles=("oncall", "owner"))
        told = await toolgate(desk, "bob", "grant", name, "--role", "owner")

    assert (
        told.output == f"pending  {name}  metrics.removeMetric, for corp/agent-7\nit waits for the role `oncall` too\n"
    )


async def test_what_agents_wrote_steers_no_terminal() -> None:
    """Control characters of a request are shown as escapes, in the list and in full."""
    evil = "a\x1b[2J\u202eb"
    async with opened() as desk:
        name = await desk.asked(request={"arguments": {"name": evil}}, why=evil, operation=f"t.{evil}")
        told = [await toolgate(desk, "ann", *words) for words in (("list",), ("show", name), ("decline", name))]

    assert [[], [], []] == [[char for char in "\x1b\u202e" if char in each.output] for each in told]


async def test_usage() -> None:
    """Two filters that exclude each other are a mistake, not a guess."""
    async with opened() as desk:
        told = await toolgate(desk, "ann", "list", "--all", "--state", "used")

    assert (told.exit_code, "do not go together" in told.stderr) == (2, True)
