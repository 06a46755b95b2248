"""Commands that ask a running gate: the kill switch and the balances."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.listeners.served import Served, serving_bundle
from tests.listeners.test_runs import budgeted_shop

from toolgate import ledger as ledgers
from toolgate.cli import main
from toolgate.core.model import Charge, Event, Settlement


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving_bundle(budgeted_shop(tmp_path)) as served:
        yield served


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file and no variable of this machine."""
    for name in os.environ:
        if name.startswith("TOOLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


async def toolgate(served: Served, *words: str, **environ: str) -> Result:
    admin = ("-e", "prod", "--admin", f"127.0.0.1:{served.ports['admin']}")
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(main, [*words, *admin], env=environ, prog_name="toolgate")
    )


async def test_a_tool_is_frozen_and_thawed(served: Served) -> None:
    """One line says what was done and by whom; doing it twice is said."""
    frozen = await toolgate(served, "freeze", "--tool", "shop", "--why", "an incident")
    assert (frozen.exit_code, frozen.output) == (0, "frozen  the tool `shop`, by digest\n")
    assert (await served.ask("GET", "/shop/items/hammer")).json["code"] == "tool.disabled"
    again = await toolgate(served, "freeze", "--tool", "shop", "--why", "an incident")
    assert again.output == "frozen  the tool `shop`, by digest (it was frozen already)\n"
    listed = await toolgate(served, "freezes")
    assert "an incident" in listed.output
    thawed = await toolgate(served, "thaw", "--tool", "shop", "--why", "it is over", "--json")
    assert json.loads(thawed.output)["action"] == "thaw"
    assert (await served.ask("GET", "/shop/items/hammer")).status == 200
    assert (await toolgate(served, "freezes")).output == "nothing is frozen\n"
    assert json.loads((await toolgate(served, "freezes", "--json")).output) == {"freezes": []}


async def test_everything_is_frozen(served: Served) -> None:
    """By one flag, which is never implied."""
    assert (
        await toolgate(served, "freeze", "--everything", "--why", "4711")
    ).output == "frozen  everything, by digest\n"
    assert (await served.ask("GET", "/shop/items/hammer")).json["code"] == "gateway.frozen"


@pytest.mark.parametrize("words", [(), ("--everything", "--tool", "shop"), ("--run", "a", "--principal", "b")])
async def test_exactly_one_thing_is_named(served: Served, words: tuple[str, ...]) -> None:
    """Usage, exit 2, and nothing is asked of the gate."""
    told = await toolgate(served, "freeze", *words, "--why", "x")
    assert told.exit_code == 2
    assert "exactly one of" in told.stderr


async def test_a_slip_in_a_name_is_told(served: Served) -> None:
    """The gate's own words and exit 1; a run nobody heard of is frozen with a warning."""
    told = await toolgate(served, "freeze", "--tool", "shp", "--why", "x")
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == "toolgate: there is no such tool here; did you mean `shop`?\n"
    told = await toolgate(served, "freeze", "--run", "run_none", "--why", "x")
    assert told.exit_code == 0
    assert "never heard of the run `run_none`" in told.stderr


async def test_balances_are_printed_by_who_took_most(served: Served) -> None:
    """A row for each spender; a budget nobody took of is there too."""
    for _ in range(2):
        await served.ask("GET", "/shop/items/hammer")
    told = await toolgate(served, "budgets")
    lines = [line.split() for line in told.output.splitlines()]

    assert lines[0] == ["budget", "given", "who", "taken", "left", "overrun"]
    assert lines[2] == ["daily", "7", "calls", "a", "day", "principal", "digest", "2", "5"]
    value: Any = json.loads((await toolgate(served, "budgets", "--json", "--limit", "1")).output)
    assert value["budgets"][1]["most"] == [
        {"scope": {"principal": "digest"}, "taken": "2", "left": "5", "overrun": "0"}
    ]


async def test_balances_are_read_out_of_a_file(tmp_path: Path) -> None:
    """The same without a gate: what is committed, held against the budgets of the folder; a window that is over is over."""
    budgeted_shop(tmp_path)
    (tmp_path / "toolgate.yaml").write_text("environment: prod\nenvironments: [dev, prod]\n")
    ledger = ledgers.open(f"sqlite://{tmp_path}/ledger.db", clock=lambda: 1_700_000_000_000)
    guards = (Charge("b:run-calls:calls:run_1", 2, 5), Charge("b:daily:calls:digest:2023-11-14", 2, 7))
    await ledger.record(Event("Decided", 1_700_000_000_000, {}, "c1"), guards)
    ended = Event("Finished", 1_700_000_000_000, {}, "c1")
    await ledger.finish(ended, Settlement(extra=(Charge("b:run-calls:calls:run_1", 7, 5),)))
    await ledger.close()
    told = await asyncio.to_thread(CliRunner().invoke, main, ["budgets", "--file", "ledger.db", "--json"])
    by_name = {each["budget"]: each for each in json.loads(told.stdout)["budgets"]}

    assert by_name["run-calls"]["most"] == [{"scope": {"run": "run_1"}, "taken": "5", "left": "0", "overrun": "4"}]
    assert by_name["daily"]["most"] == []
    table = await asyncio.to_thread(CliRunner().invoke, main, ["budgets", "--file", "ledger.db"])
    assert ["run-calls", "5", "calls", "run", "run_1", "5", "0", "4"] in [
        line.split() for line in table.stdout.splitlines()
    ]
    missing = await asyncio.to_thread(CliRunner().invoke, main, ["budgets", "--file", "nowhere.db"])
    assert (missing.exit_code, "there is no journal at" in missing.stderr) == (3, True)


async def test_a_token_is_sent_and_never_written_on_the_command_line(served: Served, tmp_path: Path) -> None:
    """From a file or the variable; the gate judges it."""
    (tmp_path / "token").write_text("nonsense\n")
    for words, environ in ((("--token-file", "token"), {}), ((), {"TOOLGATE_TOKEN": "nonsense"})):
        told = await toolgate(served, "freezes", *words, **environ)
        assert told.exit_code == 1
        assert "auth.invalid" in told.stderr
        assert "nonsense" not in told.output


async def test_nobody_there_is_said(served: Served, unused_tcp_port: int) -> None:
    """Exit 3 with what to look at; `off` is usage."""
    ran = CliRunner().invoke(main, ["budgets", "-e", "prod", "--admin", f"127.0.0.1:{unused_tcp_port}"])
    assert ran.exit_code == 3
    assert "refused the connection; is it running" in ran.stderr
    ran = CliRunner().invoke(main, ["budgets", "-e", "prod", "--admin", "unix:/nowhere/admin.sock"])
    assert ran.exit_code == 3
    ran = CliRunner().invoke(main, ["budgets", "-e", "prod", "--admin", "off"])
    assert ran.exit_code == 2
    health = await toolgate(served, "budgets")
    assert health.exit_code == 0
