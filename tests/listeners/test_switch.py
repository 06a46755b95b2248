"""The kill switch and the balances, over the operators' door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.listeners.served import Served, Told, serving_bundle
from tests.listeners.test_runs import budgeted_shop


async def throw(served: Served, action: str, **what: Any) -> Told:
    return await served.ask("POST", f"/-/{action}", door="admin", json={"why": "an incident", **what})


async def code(served: Served, path: str = "/shop/items/hammer", **headers: str) -> str | None:
    told = await served.ask("GET", path, headers=headers)
    return None if told.status == 200 else told.json["code"]


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        ({"everything": True}, "gateway.frozen"),
        ({"principal": "digest"}, "gateway.frozen"),
        ({"tool": "shop"}, "tool.disabled"),
        ({"run": None}, "run.stopped"),
    ],
)
async def test_what_is_frozen_is_refused_until_it_is_thawed(served: Served, what: dict[str, Any], refused: str) -> None:
    """At once, with who and why in the journal; people are told; nothing reaches the upstream."""
    assert await code(served) is None
    if "run" in what:
        what = {"run": (await served.ask("GET", "/-/run")).json["run"]}
    frozen = await throw(served, "freeze", **what)
    assert (frozen.status, frozen.json["changed"], frozen.json["known"]) == (200, True, True)
    sent = len(served.upstream.sent)
    assert await code(served) == refused
    told = await served.ask("GET", "/shop/items/hammer")
    assert "an incident" in told.json["detail"]
    assert told.json["recovery"]["action"] == "stop"
    assert len(served.upstream.sent) == sent

    (listed,) = (await served.ask("GET", "/-/freezes", door="admin")).json["freezes"]
    assert (listed["who"], listed["why"], listed["kind"]) == ("digest", "an incident", frozen.json["kind"])
    assert (await throw(served, "freeze", **what)).json["changed"] is False
    assert (await throw(served, "thaw", **what)).json["changed"] is True
    assert (await throw(served, "thaw", **what)).json["changed"] is False
    assert await code(served) is None
    assert (await served.ask("GET", "/-/freezes", door="admin")).json["freezes"] == []

    journaled = (await served.ask("GET", "/-/journal?kind=KillSwitch&order=oldest", door="admin")).json["events"]
    assert [each["event"]["action"] for each in journaled] == ["freeze", "freeze", "thaw", "thaw"]
    assert [event.data["action"] for event in served.told] == ["freeze", "freeze", "thaw", "thaw"]


async def test_others_go_on(served: Served) -> None:
    """A frozen run is one run; another of the same principal is not."""
    run = (await served.ask("POST", "/-/runs")).json
    await throw(served, "freeze", run=run["run"])
    assert await code(served, **{"Toolgate-Run": run["token"]}) == "run.stopped"
    assert await code(served) is None
    assert (await served.ask("POST", "/-/runs", headers={"Toolgate-Run": run["token"]})).json["code"] == "run.stopped"
    assert (await served.ask("POST", "/-/run/finish", headers={"Toolgate-Run": run["token"]})).status == 403


async def test_a_frozen_principal_opens_no_run(served: Served) -> None:
    """Opening another run leads nowhere."""
    await throw(served, "freeze", principal="digest")
    assert (await served.ask("POST", "/-/runs")).json["code"] == "gateway.frozen"


async def test_a_slip_in_a_name_is_seen(served: Served) -> None:
    """A tool that is not there is refused with the near one; a run or principal nobody heard of is frozen, and said so."""
    told = await throw(served, "freeze", tool="shp")
    assert (told.status, told.json["violations"][0]["suggestion"]) == (422, "shop")
    for what in ({"run": "run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA"}, {"principal": "digset"}):
        told = await throw(served, "freeze", **what)
        assert (told.status, told.json["known"]) == (200, False)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"everything": True},
        {"everything": False, "why": "x"},
        {"everything": True, "tool": "shop", "why": "x"},
        {"tool": "shop", "why": "  "},
        {"tool": "shop", "why": "x" * 513},
        {"tool": 1, "why": "x"},
        {"principal": "a\nb", "why": "x"},
        {"rnu": "run_1", "why": "x"},
        [],
    ],
)
async def test_the_switch_is_not_thrown_by_mistake(served: Served, body: Any) -> None:
    """Exactly one thing, and why; anything else is refused, and nothing is frozen."""
    for action in ("freeze", "thaw"):
        told = await served.ask("POST", f"/-/{action}", door="admin", json=body)
        assert (told.status, told.json["code"]) == (422, "arguments.invalid")
    assert (await served.ask("GET", "/-/freezes", door="admin")).json["freezes"] == []


async def test_agents_do_not_reach_the_switch(served: Served) -> None:
    """The paths exist on the operators' door only."""
    for path in ("/-/freeze", "/-/thaw", "/-/freezes", "/-/budgets"):
        for method in ("GET", "POST"):
            told = await served.ask(method, path)
            assert told.json["code"] == "tool.unknown"


async def test_operators_see_who_spends_what(tmp_path: Path) -> None:
    """Every budget with those who have taken most of it; an untouched one is there too."""
    async with serving_bundle(budgeted_shop(tmp_path)) as served:
        for _ in range(3):
            await served.ask("GET", "/shop/items/hammer")
        run = (await served.ask("POST", "/-/runs")).json
        await served.ask("GET", "/shop/items/nail", headers={"Toolgate-Run": run["token"]})
        told = (await served.ask("GET", "/-/budgets", door="admin")).json
        most = (await served.ask("GET", "/-/budgets?limit=1", door="admin")).json
        bad = await served.ask("GET", "/-/budgets?limit=0", door="admin")

    by_name = {each["budget"]: each for each in told["budgets"]}
    calls = by_name["run-calls"]
    assert (calls["given"], calls["spenders"], calls["taken"], calls["window"]) == ("5", 2, "4", None)
    assert [each["taken"] for each in calls["most"]] == ["3", "1"]
    assert calls["most"][1]["scope"] == {"run": run["run"]}
    assert by_name["daily"]["most"] == [{"scope": {"principal": "digest"}, "taken": "4", "left": "3", "overrun": "0"}]
    assert len(most["budgets"][0]["most"]) == 1
    assert bad.status == 422
