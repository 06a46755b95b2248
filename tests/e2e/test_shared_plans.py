"""Three sidecars and one Redis, each a process: one run goes through all of them, and through their deaths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.world import Heard
from tests.support.gate import Gate
from tests.support.replicas import Replicas, replicas
from tests.support.waiting import until


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Replicas]:
    with replicas(tmp_path, 3, calls=1000) as running:
        yield running


class Agent:
    """One run, opened at the first gate; its token is good at all of them."""

    def __init__(self, running: Replicas) -> None:
        opened = running.gates[0].call("POST", "/-/runs").json
        self._token = {"Toolgate-Run": opened["token"]}
        self.run = opened["run"]

    def ask(self, gate: Gate, method: str, path: str, body: Any = None, **headers: str) -> Heard:
        return gate.call(method, path, body, **self._token, **headers)

    def get(self, gate: Gate, item: str) -> Heard:
        return self.ask(gate, "GET", f"/store/items/{item}")

    def note(self, gate: Gate, item: str) -> Heard:
        return self.ask(gate, "POST", f"/store/notes/{item}", {"text": item})

    def propose(self, gate: Gate, *steps: dict[str, Any]) -> Any:
        heard = self.ask(gate, "POST", "/-/plans", {"goal": "go through all gates", "steps": list(steps)})
        assert heard.status == 201, heard.json
        return heard.json

    def steps(self, gate: Gate, plan: str) -> dict[str, str]:
        told = self.ask(gate, "GET", f"/-/plans/{plan}").json
        return {step["stepId"]: step["state"] for step in told["steps"]}


def getting(step: str, *after: str) -> dict[str, Any]:
    told = {"stepId": step, "operationId": "store.getItem", "arguments": {"id": f"plain-{step}"}}
    return told | {"dependsOn": list(after)} if after else told


def code(heard: Heard) -> str | None:
    return None if heard.status == 200 else heard.json["code"]


def test_a_plan_goes_on_where_its_gate_died(three: Replicas) -> None:
    """Proposed at one gate, which is killed at once; followed at the others; finished at the first, which came back."""
    first, second, third = three.gates
    agent = Agent(three)
    plan = agent.propose(first, getting("a"), getting("b", "a"), getting("c", "b"))["plan"]
    first.kill()
    assert {"a": "ready", "b": "waiting", "c": "waiting"} == agent.steps(second, plan)
    assert "plan.out_of_order" == code(agent.get(third, "plain-b"))
    assert [None, "plan.step_done", None] == [
        code(agent.get(gate, item)) for gate, item in ((third, "plain-a"), (second, "plain-a"), (second, "plain-b"))
    ]
    first.start()
    refused = agent.ask(first, "POST", "/-/run/finish")
    assert ("plan.incomplete", ["c"]) == (code(refused), refused.json["recovery"]["alternatives"])
    assert "plan.step_done" == code(agent.get(first, "plain-b"))
    assert code(agent.get(first, "plain-c")) is None
    assert {"a": "done", "b": "done", "c": "done"} == agent.steps(third, plan)
    assert 200 == agent.ask(second, "POST", "/-/run/finish").status
    assert "loop.run_stopped" != code(agent.get(third, "plain-c")) is not None
    assert Counter(["plain-a", "plain-b", "plain-c"]) == Counter(three.seen)


def test_what_was_running_when_its_gate_was_killed_is_not_sent_again(three: Replicas) -> None:
    """Perhaps it was done: once its gate is back and has read its journal, all of them say so, and none sends it."""
    first, second, third = three.gates
    agent = Agent(three)
    step = {"stepId": "note", "operationId": "store.addNote", "arguments": {"id": "held-note"}}
    plan = agent.propose(second, step, getting("a", "note"))["plan"]
    with ThreadPoolExecutor() as pool:
        running = pool.submit(_unheard, lambda: agent.note(first, "held-note"))
        until(lambda: "held-note" in three.seen, "the step is at the upstream")
        assert {"note": "running", "a": "waiting"} == agent.steps(third, plan)
        first.kill()
        running.result()
    assert code(agent.note(third, "held-note")) in {"plan.step_not_ready", "plan.outcome_unknown"}
    first.start()
    for gate in three.gates:
        assert {"note": "unknown", "a": "waiting"} == agent.steps(gate, plan)
        assert "plan.outcome_unknown" == code(agent.note(gate, "held-note"))
    assert ["held-note"] == three.seen


def test_a_step_is_sent_once_by_three_gates_at_once(three: Replicas) -> None:
    """M17: thirty calls of one step, ten through each gate: the upstream sees one."""
    agent = Agent(three)
    agent.propose(three.gates[1], getting("a"), getting("b", "a"))
    for step in ("a", "b"):
        with ThreadPoolExecutor(30) as pool:
            asked = [pool.submit(agent.get, three.gates[n % 3], f"plain-{step}") for n in range(30)]
        codes = Counter(code(each.result()) for each in asked)
        assert 1 == codes.pop(None)
        assert codes.keys() <= {"plan.step_done", "plan.step_not_ready", "loop.repeated_refusal"}, codes
    assert ["plain-a", "plain-b"] == three.seen
    assert len({plan for gate in three.gates for call in gate.events("Decided") if (plan := call.get("plan"))}) == 1


def _unheard(ask: Any) -> None:
    with suppress(OSError, HTTPException):
        ask()
