"""A run's plan and what people answered, as `toolgate runs show` and the journal tell them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.conftest import Toolgate

from toolgate import ledger as ledgers
from toolgate.cli.agreed import agreement, names_of, plan_line, step_line
from toolgate.core import locking, requests, runs
from toolgate.core.approval import Asking
from toolgate.core.model import Event
from toolgate.core.plan import LockedPlan, Plan, Step

NOW_MS = 1_795_365_757_000
AT = "2026-11-22T16:42:37.000Z"
PLAN = Plan(
    "weekly \x1bdigest", (Step("fetch", "FetchMetrics", "m.query"), Step("publish", "publish", "m.publish", ("fetch",)))
)
LOCKED = LockedPlan(
    f"plan_{'0' * 26}", "sha256:1", "sha256:r", "sha256:o", "prod", "digest", "run_1", PLAN, NOW_MS, NOW_MS + 9
)
ASKING = Asking("sha256:2", "call", "digest", "run_1", ("oncall",), "m.publish", (), "a person\x1b decides")
APPROVAL = f"apr_{'0' * 26}"


def decided(number: int, operation: str, **more: Any) -> Event:
    told = {"number": number, "principal": "digest", "environment": "prod", "operation": operation, "effect": "read"}
    return Event("Decided", NOW_MS, {**told, "arguments": {}, "decision": "permit", **more}, f"C{number}", "run_1")


def finished(number: int, status: int, **more: Any) -> Event:
    told = {"operation": "m.query", "outcome": "completed", "status": status, "sent": "yes", "latency_ms": 1.0}
    return Event("Finished", NOW_MS, {**told, **more}, f"C{number}", "run_1")


EVENTS = (
    runs.implicit("run_1", "digest", NOW_MS),
    locking.locked(LOCKED, None),
    decided(1, "m.query", plan=LOCKED.id, step="fetch", attempt=1),
    finished(1, 503, plan=LOCKED.id, step="fetch", outputs={}),
    decided(2, "m.query", plan=LOCKED.id, step="fetch", attempt=2, approval="apr_1"),
    finished(2, 200, plan=LOCKED.id, step="fetch", outputs={}),
    requests.requested(APPROVAL, ASKING, NOW_MS),
    requests.declined(requests.asked(requests.requested(APPROVAL, ASKING, NOW_MS)), "corp/ann", "not\x1b now", NOW_MS),
    runs.finished("run_1", "digest", 2, ("publish",), NOW_MS),
)


async def written(folder: Path) -> Path:
    path = folder / "run.db"
    ledger = ledgers.open(f"sqlite://{path}", clock=lambda: NOW_MS)
    for event in EVENTS:
        await ledger.record(event, ())
    await ledger.close()
    return path


async def test_a_run_is_told_with_its_plan(toolgate: Toolgate, tmp_path: Path) -> None:
    """How far it came, which step each call was and how often it was tried, who answered what, what was left."""
    path = await written(tmp_path)
    lines = toolgate("runs", "show", "run_1", "--file", str(path)).output.splitlines()

    assert lines[1] == '  plan "weekly \\x1bdigest": 1 of 2 steps done; not done: `publish`'
    assert [line for line in lines if line.startswith("  plan     ")] == [
        "  plan     `fetch` (FetchMetrics)",
        "  plan     `fetch` (FetchMetrics), attempt 2",
    ]
    assert [line for line in lines if line.startswith("  ruling")] == [
        "  ruling   permitted",
        "  ruling   permitted, as apr_1 lets it",
    ]
    assert [line for line in lines[-7:] if line] == [
        f"locked  {AT}  plan {LOCKED.id}, 2 steps",
        f"asked  {AT}  {APPROVAL}, m.publish: a person\\x1b decides",
        f"declined  {AT}  {APPROVAL}, by corp/ann: not\\x1b now",
        f"finished  {AT}  incomplete: `publish` not done",
    ]
    told = json.loads(toolgate("runs", "show", "run_1", "--file", str(path), "--json").stdout)
    assert [each["event"] for each in told["agreed"]] == ["PlanLocked", "ApprovalRequested", "ApprovalDeclined"]


def test_a_plan_that_is_done_says_no_more() -> None:
    """Nothing is left to name; a run without a plan has no line."""
    document = {"goal": "g", "steps": [{"stepId": "a", "operationId": "t.a"}]}
    done = {"event": "Finished", "step": "a", "outcome": "completed", "status": 200}

    assert plan_line([{"event": "PlanLocked", "document": document}, done]) == 'plan "g": 1 of 1 step done'
    assert plan_line([{"event": "Decided"}, done]) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["steps", "stepId", "name", "goal"]), inner)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "PlanLocked",
        "PlanRefused",
        "ApprovalRequested",
        "ApprovalGranted",
        "ApprovalDeclined",
        "ApprovalRevoked",
        "Finished",
    ]
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"event": KINDS},
            optional=dict.fromkeys(("document", "step", "status", "outcome", "violations", "kind", "why", "comment", "at"), ANYTHING),
        )
    )
)  # fmt: skip
def test_any_line_of_a_journal_is_told(events: list[dict[str, Any]]) -> None:
    """What somebody wrote into the file, or what was cut, ends no command and steers no terminal."""
    told = [plan_line(events) or "", *(agreement(event) for event in events if event["event"] != "Finished")]
    told += [step_line(event, names_of(events)) or "" for event in events]

    assert [] == [line for line in told if "\n" in line]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (locking.locked(LOCKED, "sha256:0"), f"revised  {AT}  plan {LOCKED.id}, 2 steps"),
        (
            Event("PlanRefused", NOW_MS, {"code": "plan.rejected", "violations": [{}, {}]}),
            f"refused  {AT}  a plan: plan.rejected, 2 problems",
        ),
        (
            requests.requested(APPROVAL, Asking("sha256:3", "replan", "digest", "run_1", ()), NOW_MS),
            f"asked  {AT}  {APPROVAL}, a replan",
        ),
    ],
)
def test_each_event_is_one_line(event: Event, line: str) -> None:
    """What happened, when, to what."""
    assert line == unstyle(agreement({"event": event.kind, "at": AT, **event.data}))
