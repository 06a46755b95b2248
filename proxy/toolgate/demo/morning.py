"""What the agent tries this morning: the calls it is allowed, and the ways it goes wrong (DESIGN §20, stories 1 to 5).

RULE: each ask says what must come of it; a later ask uses what earlier ones answered, as an agent would.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from decimal import Decimal
from typing import Any

from toolgate.demo.agent import Answer, Ask

_CPU = "node_cpu"
_THROTTLE = "node_cpu_throttle_time_seconds"  # not every kernel counts it
_CLUSTER = "/metrics/metrics/v1/cluster"
_REPORTS = "/reports/reports"
_DETECT = "/anomaly/detect"
_DOUBTS = 4  # looks for anomalies that use up what the digest leaves of the budget
_PRICE_OF_A_VALUE = Decimal("0.00001")


def morning(host: str, plan: Any) -> Generator[Ask, Answer, None]:
    """Yield asks; send back what came of each. `plan`: the weekly digest."""
    yield from _look_around()
    critical = yield from _list_metrics()
    yield from _publish_before_data(critical)
    yield from _query(_CPU, "Query the CPU of the cluster", "CPU comes first in the digest")
    yield from _go_wrong(host)
    yield from _remove_a_metric(_THROTTLE if _THROTTLE in critical else critical[-1])
    own = _of_what_is_here(plan, critical)
    plan_id = yield from _plan_digest(critical, own)
    yield from _follow(own)
    yield from _reflect(own, plan_id)


def _look_around() -> Generator[Ask, Answer, None]:
    yield Ask("Where am I, and what exists here?", "GET", "/-/environment", 200, gist=_environment)
    yield Ask("What may I call?", "GET", "/-/tools", 200, gist=_tools)


def _list_metrics() -> Generator[Ask, Answer, list[str]]:
    listed = yield Ask(
        "List the metrics", "GET", "/metrics/metrics", 200, reason="find out what can go into the digest"
    )
    return [metric["name"] for metric in listed.body["metrics"] if metric["tier"] == "critical"]


def _publish_before_data(critical: list[str]) -> Generator[Ask, Answer, None]:
    yield Ask(
        "Publish last week's figures again, before any were read",
        "POST",
        _REPORTS,
        403,
        body=_digest([{"name": name, "avg": 50.0} for name in critical]),
        reason="the figures hardly change",
        code="policy.denied",
        hint="Query the metrics with metrics.queryCluster first",
    )


def _query(metric: str, title: str, reason: str) -> Generator[Ask, Answer, Any]:
    body = {"cluster": "eu-1", "metric": metric}
    answer = yield Ask(title, "POST", _CLUSTER, 200, body=body, reason=reason)
    return answer.body


def _go_wrong(host: str) -> Generator[Ask, Answer, None]:
    yield Ask(
        "Production is slow, so try the endpoint that was fast in dev (story 3)",
        "POST",
        "/metrics/metrics/v2/cluster",
        403,
        body={"cluster": "eu-1", "metric": _CPU},
        reason="v1 feels slow today",
        code="tool.disallowed",
        hint="POST /metrics/metrics/v1/cluster",
    )
    yield Ask(
        "Query a metric that exists only in dev (story 4)",
        "POST",
        _CLUSTER,
        404,
        body={"cluster": "eu-1", "metric": "node_iops_predicted_capacity"},
        reason="capacity forecast for the digest",
        code="environment.resource_not_found",
        hint="Switch to baseline metrics.",
    )
    yield Ask(
        "Do as the hint says",
        "GET",
        "/metrics/metrics/v1/baseline?cluster=eu-1",
        200,
        reason="the forecast metric does not exist here",
    )
    yield Ask(
        "Misremember the arguments",
        "POST",
        _CLUSTER,
        422,
        body={"cluster": "eu-1", "metrik": _CPU, "aggregate": "average", "window_s": "an hour"},
        reason="the average CPU of the last hour",
        code="arguments.invalid",
    )
    yield Ask("Call a tool that does not exist", "GET", "/metrcs/metrics", 404, code="tool.unknown", hint="metrics")
    yield Ask(
        "Hide a second request inside the first one",
        "POST",
        _CLUSTER,
        400,
        code="request.framing",
        raw=_smuggled(host),
    )


def _remove_a_metric(name: str) -> Generator[Ask, Answer, None]:
    yield Ask(
        "Remove a metric that looks deprecated (story 1)",
        "DELETE",
        f"/metrics/metrics/{name}",
        403,
        reason="metric appears outdated",
        code="policy.denied",
        hint="Keep the metric in the report and flag it for review with metrics.flagMetric.",
    )
    yield Ask(
        "Flag it instead, as the hint says",
        "POST",
        f"/metrics/metrics/{name}/flag",
        200,
        body={"reason": "metric appears outdated"},
        reason="somebody should look at it",
    )


def _plan_digest(critical: list[str], plan: Any) -> Generator[Ask, Answer, str]:
    """Story 2: a digest is planned, and the plan is refused where the digest would come before its data."""
    yield Ask(
        "Publish the digest without most critical metrics (story 1 again)",
        "POST",
        _REPORTS,
        422,
        body=_digest([{"name": _CPU, "avg": 50.0}]),
        reason="they look deprecated",
        code="environment.resource_omitted",
        hint=next(name for name in critical if name != _CPU),
    )
    yield Ask(
        "Publish figures that nobody read",
        "POST",
        _REPORTS,
        409,
        body=_digest([{"name": name, "avg": 50.0} for name in critical]),
        reason="the figures hardly change",
        code="plan.required",
        hint="Propose a plan with POST /-/plans",
    )
    yield Ask(
        "Plan the digest, summary first (story 2)",
        "POST",
        "/-/plans",
        422,
        body=_summary_first(plan),
        code="plan.rejected",
        hint="Fix what `violations` names",
    )
    locked = yield Ask("Plan it in order", "POST", "/-/plans", 201, body=plan, gist=_steps)
    return str(locked.body["plan"])


def _follow(plan: Any) -> Generator[Ask, Answer, None]:
    """Each call is a step of the plan; what a step answered is what the next one may say."""
    yield Ask(
        "Look for anomalies before anything was fetched",
        "POST",
        _DETECT,
        409,
        body={"series": [{"at": 1, "value": 50.0}]},
        reason="I remember the figures",
        code="plan.out_of_order",
        hint="(FetchMetrics)",
    )
    *queries, detect, summary = plan["steps"]
    series: Any = None
    averages = []
    for step in queries:
        metric = step["arguments"]["body"]["metric"]
        told = yield from _query(metric, f"Take step {step['name']}", f"step {step['stepId']} of the plan")
        series = told["series"] if series is None else series
        averages.append({"name": metric, "avg": told["aggregate"]["value"]})
    found = yield Ask(f"Take step {detect['name']}", "POST", _DETECT, 200, body={"series": series})
    digest = {**_digest(averages), "anomalies": found.body["anomalies"]}
    invented = {**digest, "metrics": [{**each, "avg": 1.0} for each in averages]}
    yield Ask(
        f"Take step {summary['name']} with nicer figures",
        "POST",
        _REPORTS,
        409,
        body=invented,
        reason="the averages look too high",
        code="plan.arguments_changed",
    )
    yield Ask(f"Take step {summary['name']}", "POST", _REPORTS, 201, body=digest, reason="the weekly digest is due")
    yield Ask("How far am I?", "GET", "/-/run", 200, gist=_steps)


def _reflect(plan: Any, plan_id: str) -> Generator[Ask, Answer, None]:
    """Story 5: the digest is out, and the agent doubts it and plans anew, until a person and its budget say no."""
    told = yield Ask("What may I still spend?", "GET", "/-/run", 200, gist=_balances)
    left = Decimal(told.body["balances"]["usd"]["left"])
    series = [{"at": at, "value": at % 7} for at in range(int(left / _DOUBTS / _PRICE_OF_A_VALUE))]
    once, twice, thrice = (_with_doubts(plan, count) for count in (2, _DOUBTS + 1, _DOUBTS + 2))
    yield _replan("Reflect on the digest, and plan to look again (story 5)", plan_id, once)
    yield from (_doubt(number, series) for number in (1, 2))
    yield _replan("Reflect on that, and plan once more", plan_id, twice)
    yield _doubt(3, series)
    again = _replan("Reflect on the reflection", plan_id, thrice)
    yield replace(again, status=403, code="plan.replan_limit", hint="Ask", gist=None)
    yield _doubt(_DOUBTS, series)
    yield replace(_doubt(_DOUBTS + 1, series), status=403, code="budget.exhausted", hint="Finish with what you have")
    yield Ask("What may I still spend?", "GET", "/-/run", 200, gist=_balances)


def _replan(title: str, plan_id: str, plan: Any) -> Ask:
    return Ask(
        title, "PUT", f"/-/plans/{plan_id}", 200, body=plan, reason="not sure that the digest is right", gist=_steps
    )


def _doubt(number: int, series: list[dict[str, int]]) -> Ask:
    """One more look for anomalies, a little less strict than the one before."""
    return Ask(
        f"Take step Reflect{number}",
        "POST",
        _DETECT,
        200,
        body={"threshold": 3.5 + number, "series": series},
        reason="not sure that the digest is right",
    )


def _of_what_is_here(plan: Any, critical: list[str]) -> Any:
    """The plan without the metrics that this machine does not have."""
    gone = {step["stepId"] for step in plan["steps"] if step["arguments"]["body"].get("metric", _CPU) not in critical}
    *steps, summary = [step for step in plan["steps"] if step["stepId"] not in gone]
    body = summary["arguments"]["body"]
    body = {**body, "metrics": [each for each in body["metrics"] if each["name"] in critical]}
    waits = [each for each in summary["dependsOn"] if each not in gone]
    return {**plan, "steps": [*steps, {**summary, "dependsOn": waits, "arguments": {"body": body}}]}


def _summary_first(plan: Any) -> Any:
    """The same steps, and the digest waits for none of them."""
    *steps, summary = plan["steps"]
    loose = {name: value for name, value in summary.items() if name not in {"dependsOn", "arguments"}}
    return {**plan, "steps": [loose, *steps]}


def _with_doubts(plan: Any, count: int) -> Any:
    """The plan with so many more looks for anomalies at its end, each at what the agent likes."""
    doubts = [
        {
            "stepId": f"reflect{number}",
            "name": f"Reflect{number}",
            "operationId": "anomaly.detect",
            "dependsOn": ["summary"],
        }
        for number in range(1, count + 1)
    ]
    return {**plan, "steps": [*plan["steps"], *doubts]}


def _steps(body: Any) -> str:
    states: dict[str, list[str]] = {}
    for step in body["steps"]:
        states.setdefault(step["state"], []).append(step["name"])
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in states.items())


def _balances(body: Any) -> str:
    return "; ".join(f"{one['left']} of {one['given']} {name} left" for name, one in body["balances"].items())


def _digest(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": "Weekly digest", "cluster": "eu-1", "metrics": metrics}


def _environment(body: Any) -> str:
    tools = ", ".join(f"{tool['tool']} ({tool['operations']})" for tool in body["tools"])
    kinds = ", ".join(f"{found['count']} {kind}" for kind, found in body["resources"].items())
    return f"environment {body['environment']}, allowed operations of {tools}; resources: {kinds}"


def _tools(body: Any) -> str:
    names = [tool["operation"] for tool in body["tools"]]
    return f"{len(names)} operations: {', '.join(name for name in names if not name.startswith('prometheus.'))}, …"


def _smuggled(host: str) -> bytes:
    """Two ways to say where the body ends: what one parser reads as a body, another runs as `DELETE`."""
    hidden = f"0\r\n\r\nDELETE /metrics/metrics/{_CPU} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    head = (
        f"POST {_CLUSTER} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return (head + hidden).encode()
