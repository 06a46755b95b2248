"""The HTTP side: routes, the bearer token, and answers in JSON.

RULE: no route is reached without the token, and every error is `{"error": "one sentence"}`.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web
from examples.metrics_upstream.anomalies import judge
from examples.metrics_upstream.history import AGGREGATES, History, Sample
from examples.metrics_upstream.reports import Reports

CLUSTER = "eu-1"  # this host
_BASELINE = ("node_cpu", "node_memory_used_percent", "node_filesystem_used_percent", "node_load5")
_VALUES_FOR_A_DOLLAR = 100_000
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """The routes of one environment: dev queries clusters by /metrics/v2, every other one by /metrics/v1."""

    def __init__(self, history: History, *, token: str, environment: str, clock: Callable[[], float]) -> None:
        self._history = history
        self._authorization = f"Bearer {token}".encode()
        self._version = "v2" if environment == "dev" else "v1"
        self._clock = clock
        self._reports = Reports()
        self._flags: dict[str, str] = {}

    def application(self, pauses_s: Iterable[float]) -> web.Application:
        """The routes, and the sampling of the host with these pauses."""
        app = web.Application(middlewares=[self._only_with_token, _errors_as_json], client_max_size=1 << 20)
        app.add_routes(
            [
                web.get("/metrics", self.list_metrics),
                web.post(f"/metrics/{self._version}/cluster", self.query_cluster),
                web.get("/metrics/v1/baseline", self.query_baseline),
                web.post("/metrics/{name}/flag", self.flag_metric),
                web.delete("/metrics/{name}", self.remove_metric),
                web.post("/detect", self.detect),
                web.post("/reports", self.publish),
                web.get("/reports/{report}", self.get_report),
            ]
        )
        app.cleanup_ctx.append(lambda _: _sampling(self._history, pauses_s))
        return app

    @web.middleware
    async def _only_with_token(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        presented = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(presented, self._authorization):
            headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
            return web.json_response({"error": "a bearer token is needed"}, status=401, headers=headers)
        return await handler(request)

    async def list_metrics(self, _: web.Request) -> web.Response:
        metrics = [
            {"name": metric.name, "tier": metric.tier, "unit": metric.unit, "flagged": metric.name in self._flags}
            for metric in self._history.metrics.values()
        ]
        return web.json_response({"metrics": metrics})

    async def query_cluster(self, request: web.Request) -> web.Response:
        body = await _json_object(request)
        name = body["metric"]
        _only_this_cluster(body["cluster"])
        metric = self._known(name)
        series = self._history.window(name, float(body.get("window_s", 300)))
        kind = body.get("aggregate", "avg")
        answer = {
            "cluster": CLUSTER,
            "metric": name,
            "unit": metric.unit,
            "aggregate": {"kind": kind, "value": _aggregated(kind, series)},
            "series": [{"at": sample.at_s, "value": sample.value} for sample in series],
        }
        return web.json_response(answer)

    async def query_baseline(self, request: web.Request) -> web.Response:
        _only_this_cluster(request.query.get("cluster", ""))
        present = [name for name in _BASELINE if name in self._history.metrics]
        return web.json_response({"cluster": CLUSTER, "metrics": [self._usual(name) for name in present]})

    def _usual(self, name: str) -> Mapping[str, Any]:
        usual = self._history.baseline(name)
        figures = {"mean": usual.mean, "stddev": usual.stddev, "p95": usual.p95, "samples": usual.samples}
        return {"name": name, "unit": self._history.metrics[name].unit, **figures}

    async def flag_metric(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self._known(name)
        self._flags[name] = str((await _json_object(request))["reason"])
        return web.json_response({"name": name, "flagged": True, "reason": self._flags[name]})

    async def remove_metric(self, request: web.Request) -> web.Response:
        self._known(request.match_info["name"])
        self._history.forget(request.match_info["name"])
        return web.Response(status=204)

    async def detect(self, request: web.Request) -> web.Response:
        body = await _json_object(request)
        series, threshold = body["series"], float(body.get("threshold", 3.5))
        judged = judge([float(point["value"]) for point in series])
        anomalies = [
            {"at": point["at"], "value": point["value"], "score": round(score, 3)}
            for point, score in zip(series, judged.scores, strict=True)
            if abs(score) > threshold
        ]
        figures = {"median": judged.median, "deviation": judged.deviation, "threshold": threshold}
        usage = {"usd": round(len(series) / _VALUES_FOR_A_DOLLAR, 5)}
        return web.json_response({"checked": len(series), **figures, "anomalies": anomalies, "usage": usage})

    async def publish(self, request: web.Request) -> web.Response:
        report = self._reports.publish(await _json_object(request), round(self._clock(), 3))
        return web.json_response(report, status=201, headers={"Location": f"/reports/{report['report']}"})

    async def get_report(self, request: web.Request) -> web.Response:
        report = self._reports.find(request.match_info["report"])
        if report is None:
            raise web.HTTPNotFound(text="there is no such report")
        return web.json_response(report)

    def _known(self, name: str) -> Any:
        if name not in self._history.metrics:
            raise web.HTTPNotFound(text=f"there is no metric {name} here")
        return self._history.metrics[name]


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return web.json_response({"error": answer.text}, status=answer.status)
    except (KeyError, TypeError, ValueError, IndexError):
        return web.json_response({"error": "the body is not what this operation takes"}, status=400)


async def _sampling(history: History, pauses_s: Iterable[float]) -> AsyncIterator[None]:
    async def sample_forever() -> None:
        for pause_s in pauses_s:
            history.sample()
            await asyncio.sleep(pause_s)

    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(sample_forever())
        yield
        sampling.cancel()


async def _json_object(request: web.Request) -> Mapping[str, Any]:
    body = await request.json()
    if not isinstance(body, dict):
        raise TypeError(request.path)
    return body


def _only_this_cluster(cluster: str) -> None:
    if cluster != CLUSTER:
        raise web.HTTPNotFound(text=f"this server speaks for the cluster {CLUSTER} only")


def _aggregated(kind: str, series: tuple[Sample, ...]) -> float | None:
    aggregate = AGGREGATES[kind]
    return aggregate([sample.value for sample in series]) if series else None
