"""The operators' API and the health listener, over HTTP."""

from __future__ import annotations

import pytest
from tests.listeners.served import Served, bad_bundle


async def test_reload(served: Served) -> None:
    """A bundle with problems is refused whole, each of them is told, and the last good one keeps serving."""
    revision = served.gateway.bundle.revision
    served.reloads = [bad_bundle()]
    told = await served.ask("POST", "/-/reload", door="admin")
    assert (told.status, told.json["reloaded"], told.json["revision"]) == (422, False, revision)
    assert told.json["problems"] == [
        {
            "path": "toolspecs/shop/tool.yaml",
            "line": 3,
            "code": "yaml.unknown_key",
            "message": "`alow` is not a key",
            "column": 0,
        }
    ]
    told = await served.ask("POST", "/-/reload", door="admin")
    assert told.json == {"reloaded": True, "revision": revision, "changed": False}


async def test_the_journal_is_asked_page_by_page(served: Served) -> None:
    """Filters and a cursor, newest or oldest first; the events are the very lines of the journal."""
    for name in ("a", "b", "c"):
        await served.ask("GET", f"/shop/items/{name}")
    await served.ask("DELETE", "/shop/items/d")
    await served.written(4)
    pages, cursor = [], ""
    while True:
        told = (await served.ask("GET", f"/-/journal?kind=Decided&order=oldest&limit=2{cursor}", door="admin")).json
        pages += told["events"]
        if told["next"] is None:
            break
        cursor = f"&cursor={told['next']}"
    assert [each["event"]["decision"] for each in pages] == ["permit", "permit", "permit", "refuse"]
    refused = (await served.ask("GET", "/-/journal?code=tool.disallowed", door="admin")).json["events"]
    assert [each["event"]["operation"] for each in refused] == ["shop.deleteItem"]
    permitted = (await served.ask("GET", "/-/journal?decision=permit&operation=shop.getItem", door="admin")).json
    assert len(permitted["events"]) == 3
    assert (await served.ask("GET", "/-/journal?since=2099-01-01T00:00:00Z", door="admin")).json["events"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=99999", "cursor=-1", "order=up", "since=monday", "since=2026-01-01T00:00:00",
              "decision=maybe", "rnu=x", "run=a&run=b", "until=%F0"],
)  # fmt: skip
async def test_a_bad_question_says_what_is_wrong(served: Served, query: str) -> None:
    """Unknown names, values out of range and repeats are refused with the name."""
    told = await served.ask("GET", f"/-/journal?{query}", door="admin")
    assert (told.status, told.json["code"]) == (422, "arguments.invalid")
    assert told.json["violations"][0]["path"] == f"/{query.partition('=')[0]}"


async def test_verify(served: Served) -> None:
    """The chain as it stands, and that a known head is in it."""
    await served.ask("GET", "/shop/items/a")
    told = (await served.ask("GET", "/-/journal/verify", door="admin")).json
    assert (told["intact"], told["rows"] >= 2) == (True, True)
    head = told["head"]
    good = await served.ask(
        "GET", f"/-/journal/verify?head={head['writer']}:{head['seq']}:{head['hash']}", door="admin"
    )
    assert good.json["intact"]
    bad = await served.ask("GET", f"/-/journal/verify?head={head['writer']}:{head['seq']}:{'0' * 64}", door="admin")
    assert not bad.json["intact"]
    assert (await served.ask("GET", "/-/journal/verify?head=x", door="admin")).status == 422


async def test_runs_show_their_steps(served: Served) -> None:
    """A run is its calls, numbered, with the agent's reason, the decision and the outcome."""
    await served.ask("GET", "/shop/items/a", headers={"Toolgate-Reason": "look"})
    await served.ask("DELETE", "/shop/items/b", headers={"Toolgate-Reason": "looks deprecated"})
    await served.written(2)
    (run,) = (await served.ask("GET", "/-/runs", door="admin")).json["runs"]
    assert (run["calls"], run["refusals"]) == (2, 1)
    told = (await served.ask("GET", f"/-/runs/{run['run']}", door="admin")).json
    steps = [(step["number"], step["operation"], step["reason"], step["decision"]) for step in told["calls"]]
    assert steps == [(1, "shop.getItem", "look", "permit"), (2, "shop.deleteItem", "looks deprecated", "refuse")]
    assert (told["calls"][0]["outcome"], told["calls"][1]["code"]) == ("completed", "tool.disallowed")
    assert (await served.ask("GET", "/-/runs/run_none", door="admin")).json["code"] == "arguments.invalid"


async def test_bundle(served: Served) -> None:
    """What is served, for operators."""
    told = (await served.ask("GET", "/-/bundle", door="admin")).json
    assert (told["environment"], told["environments"]) == ("prod", ["dev", "prod"])
    assert [(tool["tool"], tool["operations"], tool["allowed"]) for tool in told["tools"]] == [("shop", 3, 2)]


async def test_operators_are_not_called_from_pages(served: Served) -> None:
    """The admin listener has the same gate: Host, Origin, no tools, no tokens it cannot verify."""
    for headers in ({"Origin": "http://localhost"}, {"Sec-Fetch-Site": "cross-site"}):
        told = await served.ask("POST", "/-/reload", door="admin", headers=headers)
        assert told.json["code"] == "request.header"
    assert (await served.ask("POST", "/-/reload", door="admin", headers={"Host": "evil"})).json[
        "code"
    ] == "request.host"
    assert (await served.ask("GET", "/shop/items/a", door="admin")).json["code"] == "tool.unknown"
    token = {"Toolgate-Token": "x"}
    assert (await served.ask("GET", "/-/bundle", door="admin", headers=token)).json["code"] == "auth.invalid"


async def test_health_answers_three_paths_and_nothing_else(served: Served) -> None:
    """Live, ready, metrics; no tool, no admin path, nothing but GET."""
    for path in ("/-/live", "/-/ready", "/metrics"):
        assert (await served.ask("GET", path, door="health")).status == 200
        assert (await served.ask("POST", path, door="health")).json["code"] == "tool.unknown"
    for path in ("/-/bundle", "/-/journal", "/-/tools", "/shop/items/a", "/"):
        assert (await served.ask("GET", path, door="health")).json["code"] == "tool.unknown"
