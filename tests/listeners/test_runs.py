"""The agent's own paths about its run, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.listeners.served import Served, serving_bundle, write_shop
from tests.support.policies import permit_all

from toolgate.load.bundle import Sources, load

BUDGETS = """\
budgets:
  - {name: run-calls, scope: [run], calls: 5}
  - {name: daily, scope: [principal], calls: 7, window: day}
  - {name: run-bytes, scope: [run], bytes: 100000}
  - {name: run-time, scope: [run], seconds: 900}
limits:
  - {name: burst, scope: [principal, tool], rate: 10/s, burst: 20}
  - {name: at-once, scope: [run], concurrency: 4}
"""


def budgeted_shop(folder: Path, budgets: str = BUDGETS) -> Any:
    toolspecs, policies = write_shop(folder), permit_all(folder)
    (policies / "budgets.yaml").write_text(budgets)
    return load(Sources(toolspecs, policies, "prod", ("dev", "prod")))


async def opened(served: Served, body: Any = None, **headers: str) -> dict[str, Any]:
    told = await served.ask("POST", "/-/runs", headers=headers, **({} if body is None else {"json": body}))
    assert told.status == 201, told.body
    run: dict[str, Any] = told.json
    return run


async def test_a_run_is_opened_and_named_by_its_token(served: Served) -> None:
    """201 with run, token and end; calls with the token are in that run, numbered, and the others in the implicit one."""
    run = await opened(served, {"labels": {"task": "weekly digest"}})
    assert run.keys() == {"run", "token", "expires_at"}
    for _ in range(2):
        assert (await served.ask("GET", "/shop/items/a", headers={"Toolgate-Run": run["token"]})).status == 200
    assert (await served.ask("GET", "/shop/items/a")).status == 200
    shown = (await served.ask("GET", f"/-/runs/{run['run']}", door="admin")).json

    assert [step["number"] for step in shown["calls"]] == [1, 2]
    (started,) = (await served.ask("GET", f"/-/journal?run={run['run']}&kind=RunStarted", door="admin")).json["events"]
    assert started["event"]["labels"] == {"task": "weekly digest"}
    assert started["event"]["principal"] == "digest"
    runs = {each["run"]: each["calls"] for each in (await served.ask("GET", "/-/runs", door="admin")).json["runs"]}
    assert sorted(runs.values()) == [1, 2]


async def test_a_run_shows_what_it_has_done(served: Served) -> None:
    """`GET /-/run`: of the token's run, or of the implicit one, which exists by name before its first call."""
    token = (run := await opened(served))["token"]
    await served.ask("GET", "/shop/items/a", headers={"Toolgate-Run": token})
    await served.ask("DELETE", "/shop/items/a", headers={"Toolgate-Run": token})
    mine = (await served.ask("GET", "/-/run", headers={"Toolgate-Run": token})).json
    assert (mine["run"], mine["calls"], mine["refusals"], mine["stopped"]) == (run["run"], 2, 1, None)
    assert (mine["expires_at"], mine["parent"]) == (run["expires_at"], None)

    implicit = (await served.ask("GET", "/-/run")).json
    assert implicit["run"] != run["run"]
    assert (implicit["calls"], implicit["expires_at"]) == (0, None)
    await served.ask("GET", "/shop/items/a")
    again = (await served.ask("GET", "/-/run")).json
    assert (again["run"], again["calls"]) == (implicit["run"], 1)


async def test_a_finished_run_takes_no_more_calls(served: Served) -> None:
    """Finishing twice is finishing once; its token names it still, and every call of it is refused."""
    token = (await opened(served))["token"]
    headers = {"Toolgate-Run": token}
    await served.ask("GET", "/shop/items/a", headers=headers)
    for _ in range(2):
        told = await served.ask("POST", "/-/run/finish", headers=headers)
        assert (told.status, told.json["finished"], told.json["calls"]) == (200, True, 1)
    refused = await served.ask("GET", "/shop/items/a", headers=headers)
    assert (refused.status, refused.json["code"]) == (403, "run.stopped")
    assert refused.json["recovery"]["action"] == "fix_arguments"
    assert refused.json["recovery"]["hint"] == "Leave `Toolgate-Run` out, or open another run (`POST /-/runs`)."
    assert (await served.ask("POST", "/-/runs", headers=headers)).json["code"] == "run.stopped"
    finished = (await served.ask("GET", "/-/journal?kind=RunFinished", door="admin")).json["events"]
    assert [each["event"]["calls"] for each in finished] == [1]


async def test_a_run_that_was_stopped_cannot_be_finished(served: Served) -> None:
    """It would be a way out; the answer says so, and not that it is done."""
    token = (run := await opened(served))["token"]
    headers = {"Toolgate-Run": token}
    await served.ask("GET", "/shop/items/a", headers=headers)
    await served.ask("POST", "/-/freeze", door="admin", json={"run": run["run"], "why": "an incident"})
    told = await served.ask("POST", "/-/run/finish", headers=headers)
    assert (told.status, told.json["code"], told.json["recovery"]["action"]) == (403, "run.stopped", "stop")
    ended = await served.ask("GET", "/-/journal?kind=RunFinished", door="admin")
    assert ended.json["events"] == []
    shown = (await served.ask("GET", "/-/run", headers=headers)).json
    assert "is frozen: an incident" in shown["frozen"]


@pytest.mark.parametrize(
    ("asked", "detail", "hint"),
    [
        ({"parnt": "x"}, "`parnt` is not known; did you mean `parent`?", "Fix `/parnt` and send it again."),
        ({"zz": 1}, "`zz` is not known: a new run has `parent` and `labels`", "Fix `/zz` and send it again."),
        ({"labels": {"a b": "x"}}, "the name of the label `a b` has 1 to 64", "Fix `/labels` and send it again."),
        ({"labels": {"a": 1}}, "the label `a` is a text of at most", "Fix `/labels/a` and send it again."),
    ],
)
async def test_what_is_wrong_with_a_new_run_is_named(served: Served, asked: Any, detail: str, hint: str) -> None:
    """An agent reads its answer and mends what it sent."""
    told = await served.ask("POST", "/-/runs", json=asked)
    assert told.json["detail"].startswith(detail)
    assert told.json["recovery"]["hint"] == hint


async def test_finishing_the_implicit_run_begins_another(served: Served) -> None:
    """The next call is the first of a new run; a run nothing was called in is left as it is."""
    before = (await served.ask("POST", "/-/run/finish")).json["run"]
    await served.ask("GET", "/shop/items/a")
    assert (await served.ask("POST", "/-/run/finish")).json["run"] == before
    await served.ask("GET", "/shop/items/a")
    after = (await served.ask("GET", "/-/run")).json
    assert after["run"] != before
    assert after["calls"] == 1


async def test_a_sub_run_is_opened_in_its_parent(served: Served) -> None:
    """Its parent is the run it is asked in, so nobody takes another's; it ends with its parent; too deep is refused."""
    parent = await opened(served)
    child = await opened(served, {"parent": parent["run"]}, **{"Toolgate-Run": parent["token"]})
    shown = (await served.ask("GET", "/-/run", headers={"Toolgate-Run": child["token"]})).json
    assert shown["parent"] == parent["run"]
    assert child["expires_at"] <= parent["expires_at"]
    grandchild = await opened(served, {"parent": child["run"]}, **{"Toolgate-Run": child["token"]})
    deep = await served.ask(
        "POST", "/-/runs", json={"parent": grandchild["run"]}, headers={"Toolgate-Run": grandchild["token"]}
    )
    assert (deep.status, deep.json["code"], deep.json["title"]) == (403, "plan.recursion", "RecursionNotApproved")
    for headers in ({}, {"Toolgate-Run": child["token"]}):
        other = await served.ask("POST", "/-/runs", json={"parent": parent["run"]}, headers=headers)
        assert (other.status, other.json["violations"][0]["path"]) == (422, "/parent")
    await served.ask("POST", "/-/run/finish", headers={"Toolgate-Run": parent["token"]})
    stopped = await served.ask("GET", "/shop/items/a", headers={"Toolgate-Run": grandchild["token"]})
    assert stopped.json["code"] == "run.stopped"


async def test_runs_are_not_opened_without_end(served: Served) -> None:
    """Each is remembered until its token ends, so there is a most; finishing frees nothing, waiting does."""
    for _ in range(9):
        run = await opened(served)
        await served.ask("POST", "/-/run/finish", headers={"Toolgate-Run": run["token"]})
    told = await served.ask("POST", "/-/runs")

    assert (told.status, told.json["code"]) == (429, "limit.rate")
    assert 3500 < int(told.headers["Retry-After"]) <= 3600
    assert "`runs.max_open`" in told.json["detail"]


async def test_an_implicit_run_can_be_a_parent(served: Served) -> None:
    """An agent without a token opens runs for its sub-agents in the run it is in."""
    await served.ask("GET", "/shop/items/a")
    implicit = (await served.ask("GET", "/-/run")).json["run"]
    child = await opened(served, {"parent": implicit})
    shown = (await served.ask("GET", "/-/run", headers={"Toolgate-Run": child["token"]})).json
    assert shown["parent"] == implicit


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], ""),
        ({"labels": []}, "/labels"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {"a": "x" * 257}}, "/labels/a"),
        ({"labels": {"a": "line\nbreak"}}, "/labels/a"),
        ({"labels": {"": "x"}}, "/labels"),
        ({"labels": {f"n{at}": "x" for at in range(17)}}, "/labels"),
        ({"parent": 1}, "/parent"),
        ({"parents": "run_1"}, "/parents"),
    ],
)
async def test_a_run_that_is_asked_for_badly_is_not_opened(served: Served, body: Any, path: str) -> None:
    """What is wrong is named by its place; nothing is journaled."""
    told = await served.ask("POST", "/-/runs", json=body)
    assert (told.status, told.json["violations"][0]["path"]) == (422, path)
    assert (await served.ask("GET", "/-/journal?kind=RunStarted", door="admin")).json["events"] == []


@pytest.mark.parametrize("body", [b"{", b'{"labels":{"a":"x","a":"y"}}', b"\xff", b'{"labels":{"a":NaN}}'])
async def test_a_body_that_is_no_json_opens_nothing(served: Served, body: bytes) -> None:
    """Read as strictly as a call."""
    told = await served.ask("POST", "/-/runs", data=body, headers={"Content-Type": "application/json"})
    assert told.json["code"] == "arguments.malformed"
    told = await served.ask("POST", "/-/runs", data=b"{}", headers={"Content-Type": "text/plain"})
    assert told.json["code"] == "arguments.media_type"


async def test_balances_are_told_as_decimals(tmp_path: Path) -> None:
    """By dimension the one with the least left, and every budget by itself."""
    async with serving_bundle(budgeted_shop(tmp_path)) as served:
        for _ in range(2):
            assert (await served.ask("GET", "/shop/items/hammer")).status == 200
        shown = (await served.ask("GET", "/-/run")).json

    assert shown["balances"]["calls"] == {"given": "5", "taken": "2", "left": "3"}
    by_name = {each["budget"]: each for each in shown["budgets"]}
    assert (by_name["daily"]["taken"], by_name["daily"]["left"]) == ("2", "5")
    assert by_name["daily"]["again_s"] > 0
    assert by_name["daily"]["operations"] is None
    assert shown["deadline_at"] > "2023"


async def test_what_is_left_is_left_for_any_call(tmp_path: Path) -> None:
    """A budget for some operations is not what every call has left: it stands apart, with the operations a caller may know."""
    budgets = """
budgets:
  - {name: run-calls, scope: [run], calls: 5}
  - {name: writes, scope: [run], calls: 1, match: {effects: [write, destructive]}}
  - {name: sent, scope: [run], bytes: 100, match: {operations: ["shop.put*"]}}
"""
    async with serving_bundle(budgeted_shop(tmp_path, budgets)) as served:
        shown = (await served.ask("GET", "/-/run")).json
        listed = (await served.ask("GET", "/-/tools")).json["tools"]

    assert {"calls": {"given": "5", "taken": "0", "left": "5"}} == shown["balances"]
    covered = {each["budget"]: each["operations"] for each in shown["budgets"]}
    writing = sorted(each["operation"] for each in listed if each["effect"] != "read")
    assert {"run-calls": None, "writes": writing, "sent": ["shop.putItem"]} == covered


async def test_every_governed_reply_says_what_is_left(tmp_path: Path) -> None:
    """Structured fields of registered units; the last call says 0, and so does its refusal."""
    async with serving_bundle(budgeted_shop(tmp_path)) as served:
        first = await served.ask("GET", "/shop/items/hammer")
        for _ in range(4):
            last = await served.ask("GET", "/shop/items/hammer")
        refused = await served.ask("GET", "/shop/items/hammer")
        own = await served.ask("GET", "/-/run")

    assert first.headers["RateLimit-Policy"] == (
        '"burst";q=20;w=2, "at-once";q=4;qu="concurrent-requests", "run-calls";q=5, "daily";q=7;w=86400, '
        '"run-bytes";q=100000;qu="content-bytes"'
    )
    assert first.headers["RateLimit"].startswith('"burst";r=19;t=1, "at-once";r=4, "run-calls";r=4, "daily";r=6;t=')
    assert '"run-calls";r=0' in last.headers["RateLimit"]
    assert (refused.status, refused.json["code"]) == (403, "budget.exhausted")
    assert '"run-calls";r=0' in refused.headers["RateLimit"]
    assert "RateLimit" not in own.headers


async def test_who_may_come_again_is_told_when(tmp_path: Path) -> None:
    """429 with `Retry-After`, and the same in the limit's own header."""
    limits = "limits:\n  - {name: slow, scope: [principal], rate: 1/min, burst: 1}\n"
    async with serving_bundle(budgeted_shop(tmp_path, limits)) as served:
        await served.ask("GET", "/shop/items/hammer")
        told = await served.ask("GET", "/shop/items/hammer")

    assert (told.status, told.json["code"]) == (429, "limit.rate")
    assert told.headers["Retry-After"] == "60"
    assert (told.headers["RateLimit-Policy"], told.headers["RateLimit"]) == ('"slow";q=1;w=60', '"slow";r=0;t=60')


async def test_what_governs_nothing_says_nothing(served: Served) -> None:
    """No budgets, no headers; the upstream's own pass."""
    served.upstream.reply = served.upstream.reply._replace(headers=(("ratelimit", '"theirs";r=1'),))
    told = await served.ask("GET", "/shop/items/a")
    assert told.headers["RateLimit"] == '"theirs";r=1'
    assert "RateLimit-Policy" not in told.headers


async def test_an_upstreams_limits_never_stand_beside_the_gates(tmp_path: Path) -> None:
    """One name, one speaker."""
    async with serving_bundle(budgeted_shop(tmp_path)) as served:
        served.upstream.reply = served.upstream.reply._replace(headers=(("RateLimit", '"run-calls";r=77'),))
        told = await served.ask("GET", "/shop/items/hammer")

    assert "r=77" not in told.headers["RateLimit"]
