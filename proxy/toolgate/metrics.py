"""What is counted, and how Prometheus reads it.

RULE: on the path of a call a count is one addition to a plain number; the exposition is built when it is scraped.
Labels are registered operations and codes only, so that no caller can grow the series (attacks O10, H10).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from toolgate.core.codes import CODES
from toolgate.core.model import Event, Permit, Settlement
from toolgate.core.requests import APPROVAL_DECLINED, APPROVAL_GRANTED, APPROVAL_REQUESTED, APPROVAL_REVOKED
from toolgate.core.runs import RUN_STOPPED, Kind
from toolgate.situation import Reading
from toolgate.tally import Tally, in_units

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNKNOWN: Final = "_unknown"
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OUTCOMES: Final = frozenset(CODES) | {"completed"}
_ERROR: Final = "status"  # an error that says nothing of its cost is no surprise
_RELOADS: Final = ("loaded", "refused")
_ANSWERS: Final = {
    APPROVAL_REQUESTED: "requested", APPROVAL_GRANTED: "granted", APPROVAL_DECLINED: "declined", APPROVAL_REVOKED: "revoked",
}  # fmt: skip
KINDS: Final[tuple[str, ...]] = get_args(Kind)


class Log(Protocol):
    """The operations log: an event name in the past tense, and data in keys."""

    def error(self, event: str, **data: object) -> object: ...
    def warning(self, event: str, **data: object) -> object: ...


class _Histogram:
    """Counts per bucket; cumulated when read."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        shown, total = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            shown.append((bound, float(total)))
        return shown


class Metrics(Collector):
    """Every number of this process. Implements ports.Meter."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._calls: dict[tuple[str | None, str], int] = {}
        self._call_s = _Histogram()
        self._upstream_s = _Histogram()
        self._wire: dict[tuple[str, str], int] = {}
        self._authentications: dict[tuple[str, str], int] = {}
        self.key_ages_s: Callable[[], Mapping[str, float]] = dict  # by issuer
        self.catalogues: Callable[[], Iterable[Reading]] = tuple
        self._flips: dict[tuple[str, str], int] = {}
        self._unpriced: dict[tuple[str, str], int] = {}
        self.tally = Tally()
        self.freezes: Callable[[], Iterable[str]] = tuple  # by `everything` or `kind:name`
        self._stopped: dict[str, int] = {}
        self._plans: dict[str, int] = {}
        self._approvals: dict[str, int] = {}
        self._defects = 0
        self._reloads = dict.fromkeys(_RELOADS, 0)
        self._bundle = ("", "", "")
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []
        self._counters: list[tuple[str, str, Callable[[], float]]] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    # -- ports.Meter -----------------------------------------------------------------------------------------

    def ended(self, operation: str | None, outcome: str, seconds: float, upstream_seconds: float = 0.0) -> None:
        key = (operation, outcome)
        calls = self._calls
        calls[key] = calls.get(key, 0) + 1
        self._call_s.add(seconds)
        if upstream_seconds:
            self._upstream_s.add(upstream_seconds)

    def settled(self, permit: Permit, settlement: Settlement) -> None:
        self.tally.settle(permit, settlement)

    def unpriced(self, operation: str, why: str) -> None:
        """Count it, and tell of the first, the tenth, the hundredth: whoever calls decides how often it happens."""
        count = self._unpriced[operation, why] = self._unpriced.get((operation, why), 0) + 1
        if why != _ERROR and str(count).strip("0") == "1":
            self._log.warning("reply_unpriced", operation=operation, why=why, count=count)

    def short(self, key: str) -> None:
        self.tally.refuse(key)

    def flipped(self, operation: str, would: str) -> None:
        key = (operation, would)
        self._flips[key] = self._flips.get(key, 0) + 1

    def defect(self, where: str, error: BaseException) -> None:
        """Count something that should not break, and tell the operator where: its kind and place, never its values."""
        self._defects += 1
        self._log.error("defect_met", where=where, error=type(error).__name__, at=_place(error))

    # -- what the listeners and the composition root tell ----------------------------------------------------

    def wire_refused(self, listener: str, code: str) -> None:
        key = (listener, code)
        self._wire[key] = self._wire.get(key, 0) + 1

    def authenticated(self, issuer: str, result: str) -> None:
        """Count an answer to who calls, by the name of a configured issuer."""
        key = (issuer, result)
        self._authentications[key] = self._authentications.get(key, 0) + 1

    def run_stopped(self, code: str) -> None:
        """Count a run that was stopped, by the code of the refusal that stopped it."""
        known = code if code in CODES else UNKNOWN
        self._stopped[known] = self._stopped.get(known, 0) + 1

    def planned(self, result: str) -> None:
        """Count a plan that was proposed or revised: `locked`, or the code of its refusal."""
        known = result if result == "locked" or result in CODES else UNKNOWN
        self._plans[known] = self._plans.get(known, 0) + 1

    def told(self, event: Event) -> None:
        """Count what people are told: runs that were stopped, what is asked of people, and each of their answers."""
        if event.kind == RUN_STOPPED:
            self.run_stopped(str(event.data["code"]))
        elif event.kind in _ANSWERS:
            answer = _ANSWERS[event.kind]
            self._approvals[answer] = self._approvals.get(answer, 0) + 1

    def serving(self, revision: str, environment: str, version: str) -> None:
        """Name the bundle that is served from now on."""
        self._bundle = (revision, environment, version)

    def reloaded(self, result: str) -> None:
        """Count a reload: `loaded` or `refused`."""
        self._reloads[result] += 1

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Have a number read at each scrape."""
        self._gauges.append((name, meaning, read))

    def counter(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Have a number that only grows read at each scrape."""
        self._counters.append((name, meaning, read))

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    # -- prometheus_client -----------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        yield self._collect_calls()
        yield self._histogram("toolgate_call_seconds", "Time from taking a call to its end.", self._call_s)
        yield self._histogram("toolgate_upstream_seconds", "The upstream's share of it.", self._upstream_s)
        wire = CounterMetricFamily(
            "toolgate_wire_refusals", "Requests refused before they were calls.", labels=("listener", "code")
        )
        for labels, count in sorted(self._wire.items()):
            wire.add_metric(labels, count)
        yield wire
        yield from self._collect_identity()
        yield from self._collect_catalogues()
        yield from self._collect_budgets()
        yield from self._collect_stops()
        reloads = CounterMetricFamily("toolgate_bundle_reload", "Reloads of the bundle.", labels=("result",))
        for result, count in self._reloads.items():
            reloads.add_metric((result,), count)
        yield reloads
        flips = CounterMetricFamily(
            "toolgate_audit_flips",
            "Calls audit would have decided otherwise.",
            labels=("tool", "operation", "would"),
        )
        for (operation, would), count in sorted(self._flips.items()):
            flips.add_metric((operation.partition(".")[0], operation, would), count)
        yield flips
        revision, environment, version = self._bundle
        info = GaugeMetricFamily(
            "toolgate_bundle_info", "The bundle served now.", labels=("revision", "environment", "version")
        )
        info.add_metric((revision, environment, version), 1)
        yield info
        yield CounterMetricFamily("toolgate_defects", "Things that broke and should not.", value=self._defects)
        for name, meaning, read in self._gauges:
            yield GaugeMetricFamily(name, meaning, value=read())
        for name, meaning, read in self._counters:
            yield CounterMetricFamily(name, meaning, value=read())

    def _collect_budgets(self) -> Iterator[Metric]:
        tally, named = self.tally, ("budget", "dimension")
        spent = CounterMetricFamily("toolgate_budget_spent", "What calls came to, overrun included.", labels=named)
        for labels, amount in sorted(tally.spent.items()):
            spent.add_metric(labels, in_units(labels[1], amount))
        refused = CounterMetricFamily("toolgate_budget_refusals", "Calls a budget did not cover.", labels=named)
        for labels, count in sorted(tally.refusals.items()):
            refused.add_metric(labels, count)
        limited = CounterMetricFamily(
            "toolgate_limit_refusals", "Calls a limit did not let through.", labels=("limit",)
        )
        for limit, count in sorted(tally.limited.items()):
            limited.add_metric((limit,), count)
        left = GaugeMetricFamily(
            "toolgate_budget_left", "What is left of a budget to whoever has taken most of it.", labels=named
        )
        spenders = GaugeMetricFamily("toolgate_budget_spenders", "How many have taken of a budget.", labels=named)
        for each in tally.standing:
            budget = each.budget
            rest = each.most[0].left if each.most else budget.given
            left.add_metric((budget.name, budget.dimension), in_units(budget.dimension, rest))
            spenders.add_metric((budget.name, budget.dimension), each.spenders)
        yield from (spent, refused, limited, left, spenders, self._collect_unpriced())

    def _collect_unpriced(self) -> Metric:
        unpriced = CounterMetricFamily(
            "toolgate_unpriced",
            "Replies that did not say what their calls cost.",
            labels=("tool", "operation", "why"),
        )
        for (operation, why), count in sorted(self._unpriced.items()):
            unpriced.add_metric((operation.partition(".")[0], operation, why), count)
        return unpriced

    def _collect_stops(self) -> Iterator[Metric]:
        frozen = GaugeMetricFamily("toolgate_frozen", "What the kill switch holds, by kind.", labels=("kind",))
        held = Counter(key.partition(":")[0] for key in self.freezes())
        for kind in KINDS:
            frozen.add_metric((kind,), held[kind])
        stopped = CounterMetricFamily("toolgate_runs_stopped", "Runs the gate stopped, by why.", labels=("code",))
        for code, count in sorted(self._stopped.items()):
            stopped.add_metric((code,), count)
        plans = CounterMetricFamily("toolgate_plans", "Plans proposed or revised, by result.", labels=("result",))
        for result, count in sorted(self._plans.items()):
            plans.add_metric((result,), count)
        approvals = CounterMetricFamily(
            "toolgate_approvals", "Approvals asked of people, and their answers.", labels=("event",)
        )
        for event, count in sorted(self._approvals.items()):
            approvals.add_metric((event,), count)
        yield from (frozen, stopped, plans, approvals)

    def _collect_catalogues(self) -> Iterator[Metric]:
        sizes = GaugeMetricFamily(
            "toolgate_catalogue_resources", "Resources a live catalogue lists.", labels=("tool", "type")
        )
        ages = GaugeMetricFamily(
            "toolgate_catalogue_age_seconds",
            "Time since a live catalogue was read; absent before.",
            labels=("tool", "type"),
        )
        readings = CounterMetricFamily(
            "toolgate_catalogue_readings",
            "Readings of live catalogues by result: changed, unchanged, failed.",
            labels=("tool", "type", "result"),
        )
        for each in self.catalogues():
            named = (each.tool, each.type)
            sizes.add_metric(named, each.count)
            if each.age_s is not None:
                ages.add_metric(named, each.age_s)
            for result, count in each.results.items():
                readings.add_metric((*named, result), count)
        yield from (sizes, ages, readings)

    def _collect_identity(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "toolgate_authentications",
            "Callers by issuer and what came of their token: verified, remembered, anonymous, missing, invalid, expired.",
            labels=("issuer", "result"),
        )
        for labels, count in sorted(self._authentications.items()):
            answers.add_metric(labels, count)
        yield answers
        ages = GaugeMetricFamily(
            "toolgate_issuer_keys_age_seconds",
            "Time since an issuer's keys were read; absent before.",
            labels=("issuer",),
        )
        for issuer, age_s in sorted(self.key_ages_s().items()):
            ages.add_metric((issuer,), age_s)
        yield ages

    def _collect_calls(self) -> Metric:
        calls = CounterMetricFamily(
            "toolgate_calls", "Calls by how they ended.", labels=("tool", "operation", "outcome", "environment")
        )
        environment = self._bundle[1]
        for (operation, outcome), count in sorted(self._calls.items(), key=str):
            tool = operation.partition(".")[0] if operation else UNKNOWN
            ended = outcome if outcome in _OUTCOMES else UNKNOWN
            calls.add_metric((tool, operation or UNKNOWN, ended, environment), count)
        return calls

    @staticmethod
    def _histogram(name: str, meaning: str, counted: _Histogram) -> Metric:
        family = HistogramMetricFamily(name, meaning)
        family.add_metric((), counted.cumulated(), counted.total_s)
        return family


def _place(error: BaseException) -> str | None:
    """The file and line that raised, without the values a traceback would show."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('toolgate/')[2]}:{trace.tb_lineno} in {code.co_name}"
