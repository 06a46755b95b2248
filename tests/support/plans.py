"""A bundle to plan against, plans, calls of their steps, and the cursor of a run kept in memory.

RULE: the bundle is loaded as any is, so that signatures, constraints and policies are the real ones; only the ledger is
a stand-in, and takes guards as `spending.Accounts` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.course import Courses
from toolgate.core.mask import mask_key
from toolgate.core.model import (
    Call,
    Charge,
    Facts,
    Named,
    OpenedRun,
    Permit,
    Place,
    Principal,
    Refusal,
    RunFacts,
    Settlement,
    UpstreamRequest,
    ValidCall,
    Violation,
)
from toolgate.core.outputs import Wanted, output_digest
from toolgate.core.plan import Attempted, LockedPlan, Plan, PlanFacts, PlanRules
from toolgate.core.planning import PROBLEMS, Now, lock, validated
from toolgate.load.bundle import Sources, load

from .spending import Accounts

ANN = Principal("ann", ("digest",))
BOB = Principal("bob", ("guest",))
NOW_MS = 1_795_334_400_000  # 2026-11-22T08:00:00Z
KEY = mask_key(b"k" * 32)
PLAN_ID = "plan_01KAPLAN"

_TEXT = {"type": "string"}
_SERIES = {"type": "array", "items": {"type": "number"}}


def _post(name: str, body: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    content = {"application/json": {"schema": body}}
    return {
        "operationId": name,
        "requestBody": {"required": required, "content": content},
        "responses": {"200": {"description": "ok"}},
    }


def _object(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


DOCUMENT: Mapping[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Metrics", "version": "1"},
    "paths": {
        "/metrics": {"get": {"operationId": "list", "responses": {"200": {"description": "ok"}}}},
        "/cluster": {
            "post": _post("query", _object(["cluster"], cluster=_TEXT, metric=_TEXT, days={"type": "integer"}))
        },
        "/detect": {
            "post": _post(
                "detect", _object(["series"], series=_SERIES, by={"anyOf": [{"const": "z"}, {"type": "integer"}]})
            )
        },
        "/reports": {
            "post": _post(
                "publish", _object(["title"], title=_TEXT, body={}, key={"type": "string", "format": "password"})
            )
        },
        "/scale": {
            "get": {
                "operationId": "scale",
                "parameters": [{"name": "by", "in": "query", "schema": {"type": "number"}}],
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/metrics/{name}": {
            "delete": {
                "operationId": "remove",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"enum": ["a", "b"]}}],
                "responses": {"204": {"description": "gone"}},
            },
            "put": {
                "operationId": "hidden",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": _TEXT}],
                "responses": {"204": {"description": "ok"}},
            },
        },
    },
}
TOOL = """
tool: m
openapi: openapi.json
environments:
  dev: {upstream: "http://127.0.0.1:9", allow: ["*"]}
  prod:
    upstream: "http://127.0.0.1:9"
    allow: [list, query, detect, publish, remove, scale]
    resources: {Metric: {file: metrics.yaml}}
operations:
  query: {effect: read, cost: {usd: 0.002}, timeout_s: 2, resources: [{type: Metric, at: $args.body.metric}]}
  detect: {effect: read, cost: {usd: {reserve: 0.01, settle: "$response.body#/usd"}}}
"""
METRICS = "- {id: cpu, tier: critical}\n- {id: iops, tier: standard}\n"
POLICY = '@id("digest") permit (principal in Role::"digest", action, resource);\n'


def project(root: Path, **files: str) -> Path:
    """Write the project; `files` replaces or adds some, by path with `__` for `/`."""
    every = {
        "toolspecs/m/tool.yaml": TOOL,
        "toolspecs/m/openapi.json": json.dumps(DOCUMENT),
        "toolspecs/m/metrics.yaml": METRICS,
        "policies/all.cedar": POLICY,
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in every.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def loaded(root: Path) -> Bundle:
    return load(Sources(root / "toolspecs", root / "policies", "prod", ("dev", "prod")))


def with_rules(bundle: Bundle, **rules: Any) -> Bundle:
    return replace(bundle, plans=PlanRules(**rules), courses=Courses(bundle.courses.compiling))


def step(step_id: str, operation: str = "m.query", *after: str, **more: Any) -> dict[str, Any]:
    """A step of a proposed plan; by default a query of the cluster it is called after."""
    given = {"arguments": {"body": {"cluster": step_id}}} if operation == "m.query" else {}
    written = {"stepId": step_id, "operationId": operation, **given, **more}
    return {**written, "dependsOn": list(after)} if after else written


def proposal(*steps: Mapping[str, Any], goal: str = "weekly digest") -> dict[str, Any]:
    return {"goal": goal, "steps": list(steps)}


def planned(bundle: Bundle, *steps: Mapping[str, Any], principal: Principal = ANN) -> Plan:
    found = validated(proposal(*steps), principal, bundle)
    assert isinstance(found, Plan), found
    return found


def locked(bundle: Bundle, *steps: Mapping[str, Any], plan_id: str = PLAN_ID) -> LockedPlan:
    return lock(planned(bundle, *steps), bundle, plan_id=plan_id, principal=ANN.id, run="run_1", at_ms=NOW_MS)


def call(
    bundle: Bundle,
    operation: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    at_ms: int = NOW_MS,
    run: OpenedRun | None = None,
    **said: str,
) -> ValidCall:
    """A call that fits its schema; `said` is its `plan` and `step`."""
    asked = Call("01CALL", at_ms, ANN, Named(operation, arguments or {}), run=run, **said)
    valid = engine.check(asked, Facts(), bundle)
    assert isinstance(valid, ValidCall), valid
    return valid


@dataclass
class Following:
    """A run with a plan: what was called, and how it ended. Guards are taken as a ledger takes them."""

    bundle: Bundle
    locked: LockedPlan
    steps: dict[str, Attempted] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)

    @property
    def plan(self) -> PlanFacts:
        return PlanFacts(self.locked, self.steps, KEY)

    @property
    def facts(self) -> Facts:
        return Facts(levels=self.accounts, run=RunFacts("run_1", started_ms=NOW_MS), plan=self.plan)

    def decide(self, operation: str, arguments: Mapping[str, Any] | None = None, **said: Any) -> Permit | Refusal:
        return engine.decide(call(self.bundle, operation, arguments, **said), self.facts, self.bundle)

    def begin(self, operation: str, arguments: Mapping[str, Any] | None = None, **said: Any) -> Permit:
        """Permit and record a call."""
        permit = self.decide(operation, arguments, **said)
        assert isinstance(permit, Permit), permit
        assert self.accounts.take(permit.guards, permit.valid.call.at_ms) is None
        if permit.step is not None:
            before = self.steps.get(permit.step.step, Attempted())
            self.steps[permit.step.step] = Attempted("running", permit.step.attempt, before.outputs)
        return permit

    def end(self, permit: Permit, state: str | None = "done", **outputs: Any) -> None:
        """Finish it; None: it was surely not sent."""
        taking = permit.step
        assert taking is not None
        places = tuple(guard for guard in permit.guards if isinstance(guard, Place))
        charges = tuple(guard for guard in permit.guards if isinstance(guard, Charge))
        self.accounts.settle(Settlement(() if state else charges, places=places))
        if state is None:
            self.steps.pop(taking.step)
            return
        digests = {name: output_digest(value, KEY) for name, value in outputs.items()}
        wanted = taking.outputs or Wanted((), ())
        kept = {name: digests.get(name) for name, _ in (*wanted.of_body, *wanted.of_headers)}
        self.steps[taking.step] = Attempted(state, taking.attempt, kept)  # type: ignore[arg-type]

    def do(self, operation: str, arguments: Mapping[str, Any] | None = None, **outputs: Any) -> Permit:
        permit = self.begin(operation, arguments)
        self.end(permit, "done", **outputs)
        return permit


def query(cluster: str) -> dict[str, Any]:
    """The arguments of `step(cluster)`."""
    return {"body": {"cluster": cluster}}


def bare(of: ValidCall) -> ValidCall:
    return of._replace(request=UpstreamRequest("POST", "/x", (), None))


def follow(bundle: Bundle, *steps: dict[str, Any]) -> Following:
    return Following(bundle, locked(bundle, *steps))


def refused(decision: Permit | Refusal, code: str) -> Refusal:
    assert isinstance(decision, Refusal), decision
    assert (code, "plan") == (decision.code.code, decision.stage)
    return decision


def wrong(bundle: Bundle, *steps: Any, principal: Principal = ANN, now: Now | None = None) -> tuple[Violation, ...]:
    found = validated(proposal(*steps), principal, bundle, *(() if now is None else (now,)))
    assert not isinstance(found, Plan)
    assert {each.code for each in found} <= set(PROBLEMS)
    assert [] == [each for each in found if not each.hint or not each.hint[0].isupper() or each.hint[-1] != "."]
    return found


def only(bundle: Bundle, *steps: Any, **options: Any) -> tuple[str, str | None, str]:
    (violation,) = wrong(bundle, *steps, **options)
    return violation.path, violation.code, violation.message


# The steps most plans here are made of.
EU = step("eu", outputs={"series": "$response.body#/series"})
DETECT = step("detect", "m.detect", "eu", arguments={"body": {"series": "$steps.eu.outputs.series"}})
PUBLISH = step("summary", "m.publish", "detect", name="GenerateSummary")
SERIES = {"body": {"series": [1, 2.5]}}
TITLE = {"body": {"title": "t"}}
