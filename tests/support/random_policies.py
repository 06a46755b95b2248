"""Random bundles, and a model of authorisation in a dozen lines to hold them against.

RULE: every condition stands twice, as Cedar and as Python; the two share nothing, so that they cannot be wrong alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tests.support.statements import NOW_MS, operation, statements

from toolgate.core.kinds import Field, Fields
from toolgate.core.model import Principal, Resource, RunFacts
from toolgate.core.policy import Question, Statement

ARGUMENTS = {
    "n": {"type": ["integer", "null"]},
    "s": {"type": "string"},
    "d": {"type": "number"},
    "l": {"type": "array", "items": {"type": "string"}},
    "u": {"type": ["integer", "string"]},
    "o": {"type": "object", "properties": {"k": {"type": "boolean"}}},
}
OPERATIONS = (
    operation("t.read", "read", ARGUMENTS, Metric="$args.s"),
    operation("t.write", "write", ARGUMENTS, Metric="$args.s"),
    operation("t.drop", "destructive", ARGUMENTS, Metric="$args.s"),
    operation("u.read", "read"),
)
SHAPES = {"t": {"Metric": Fields({"tier": Field("text", required=False), "size": Field("long", required=False)})}}


class ModelError(Exception):
    """The model's word for an expression that cannot be evaluated."""


@dataclass(frozen=True)
class Condition:
    text: str
    holds: Callable[[Question], bool]
    is_told: Callable[[Question], bool] = lambda _: True  # whether Cedar can hold what it reads


@dataclass(frozen=True)
class Rule:
    """A random statement in both languages."""

    effect: str
    principal: tuple[str, Callable[[Question], bool]]
    action: tuple[str, Callable[[Question], bool]]
    resource: tuple[str, Callable[[Question], bool]]
    conditions: tuple[tuple[str, tuple[Condition, ...]], ...]  # (when | unless, …)
    notes: str = ""

    def statement(self, name: str) -> Statement:
        joined = {"when": " && ", "unless": " || "}
        clauses = " ".join(
            f"{keyword} {{ {joined[keyword].join(each.text for each in parts)} }}" for keyword, parts in self.conditions
        )
        head = f"{self.effect} ({self.principal[0]}, {self.action[0]}, {self.resource[0]})"
        (made,) = statements(f'@id("{name}") {self.notes} {head} {clauses};')
        return made

    def applies(self, asked: Question) -> bool:
        """Whether it holds; raises ModelError."""
        if not (self.principal[1](asked) and self.resource[1](asked)):
            return False
        for keyword, parts in self.conditions:
            ask = all if keyword == "when" else any
            if ask(each.holds(asked) for each in parts) is not (keyword == "when"):
                return False
        return True

    def is_told(self, asked: Question) -> bool:
        return all(each.is_told(asked) for _, parts in self.conditions for each in parts)

    def errs(self, asked: Question) -> bool:
        if not self.is_told(asked):
            return True
        try:
            self.applies(asked)
        except ModelError:
            return True
        return False


def model(rules: dict[str, Rule], asked: Question) -> tuple[str, tuple[str, ...]]:
    """Authorisation in a dozen lines."""
    here = {name: rule for name, rule in rules.items() if rule.action[1](asked)}
    untold = tuple(sorted(name for name, rule in here.items() if not rule.is_told(asked)))
    erring = tuple(sorted(name for name, rule in here.items() if rule.errs(asked)))
    if untold or erring:  # what cannot be told is found before anything is evaluated
        return "error", untold or erring
    holding = {name: rule for name, rule in here.items() if rule.applies(asked)}
    forbids = tuple(sorted(name for name, rule in holding.items() if rule.effect == "forbid"))
    permits = tuple(sorted(name for name, rule in holding.items() if rule.effect == "permit"))
    if forbids:
        return "denied", forbids
    return ("allowed", permits) if permits else ("not_allowed", ())


def of(value: Any) -> Any:
    if value is None:
        raise ModelError
    return value


def arg(asked: Question, name: str) -> Any:
    return asked.arguments.get(name)


def tag(asked: Question) -> str | None:
    return asked.principal.claims.get("team")


def tier(asked: Question) -> Any:
    return asked.resource.attributes.get("tier") if asked.resource.type == "Metric" else None


def is_exact(value: Any) -> bool:
    return value is None or round(value, 4) == value


def is_record(asked: Question) -> bool:
    found = arg(asked, "o")
    return found is None or "__extn" not in found


def drops(asked: Question) -> bool:
    return asked.operation.key == "t.drop"


CONDITIONS = (
    Condition('context.environment == "prod"', lambda q: q.environment == "prod"),
    Condition('principal.hasTag("team") && principal.getTag("team") == "sre"', lambda q: tag(q) == "sre"),
    Condition('principal.getTag("team") != "sre"', lambda q: of(tag(q)) != "sre"),
    Condition('principal == Agent::"ann"', lambda q: q.principal.id == "ann"),
    Condition('principal in Role::"ops"', lambda q: "ops" in q.principal.roles),
    Condition("resource is Metric", lambda q: q.resource.type == "Metric"),
    Condition('resource == Metric::"cpu"', lambda q: (q.resource.type, q.resource.id) == ("Metric", "cpu")),
    Condition('resource.tier == "critical"', lambda q: of(tier(q)) == "critical"),
    Condition('resource has tier && resource.tier == "low"', lambda q: tier(q) == "low"),
    Condition("context.args.n < 5", lambda q: of(arg(q, "n")) < 5),
    Condition("context.args has n && context.args.n > 2", lambda q: (arg(q, "n") or 0) > 2),
    Condition('context.args has s && context.args.s like "a*"', lambda q: (arg(q, "s") or "").startswith("a")),
    Condition(
        'context.args has d && context.args.d.lessThan(decimal("1.5"))',
        lambda q: arg(q, "d") is not None and arg(q, "d") < 1.5,
        lambda q: is_exact(arg(q, "d")),
    ),
    Condition('context.args has l && context.args.l.contains("x")', lambda q: "x" in (arg(q, "l") or ())),
    Condition("context.args has u.integer && context.args.u.integer < 5", lambda q: type(arg(q, "u")) is int and arg(q, "u") < 5),
    Condition("context.args has o.k && context.args.o.k", lambda q: (arg(q, "o") or {}).get("k") is True, is_record),
    Condition('context.nulls.contains("/n")', lambda q: "n" in q.arguments and q.arguments["n"] is None),
    Condition('context.derived.count["/l"] > 1', lambda q: len(of(arg(q, "l"))) > 1),
    Condition('context.derived.every has "/l/*" && context.derived.every["/l/*"].containsAll(["x", "y"])', lambda q: {"x", "y"} <= set(arg(q, "l") or ())),
    Condition("context.run.calls > 2", lambda q: q.run.calls > 2),
    Condition('context.run.completed.contains("t.read")', lambda q: "t.read" in q.run.completed),
    Condition('context.run.by_operation["t.read"] > 0', lambda q: q.run.by_operation.get("t.read", 0) > 0),
    Condition("context.run.spent.calls > 2", lambda q: q.run.spent.get("calls", 0) > 2),
    Condition('context.run.spent.usd.greaterThan(decimal("0.02"))', lambda q: q.run.spent.get("usd", 0) > 20_000),
    Condition('context has on_behalf_of && context.on_behalf_of == "bob"', lambda q: q.principal.on_behalf_of == "bob"),
    Condition('context.now > datetime("2026-01-01")', lambda q: q.now_ms > 1_767_225_600_000),
    Condition('action == Action::"t.drop"', drops),
    Condition('action in [Action::"destructive", Action::"u"]', lambda q: drops(q) or q.operation.tool == "u"),
    Condition("!(context.args.n > 2)", lambda q: not of(arg(q, "n")) > 2),
    Condition('(if principal in Role::"ops" then context.args.n == 1 else true)', lambda q: of(arg(q, "n")) == 1 if "ops" in q.principal.roles else True),
)  # fmt: skip

PRINCIPALS = (
    ("principal", lambda _: True),
    ('principal in Role::"ops"', lambda q: "ops" in q.principal.roles),
    ('principal == Agent::"ann"', lambda q: q.principal.id == "ann"),
    ('principal is Agent in Role::"dev"', lambda q: "dev" in q.principal.roles),
)
ACTIONS = (
    ("action", lambda _: True),
    ('action == Action::"t.read"', lambda q: q.operation.key == "t.read"),
    ('action == Action::"u.read"', lambda q: q.operation.key == "u.read"),
    ('action in Action::"read"', lambda q: q.operation.effect == "read"),
    ('action in [Action::"destructive", Action::"t.write"]', lambda q: q.operation.key in {"t.drop", "t.write"}),
    ('action in Action::"t"', lambda q: q.operation.tool == "t"),
)
RESOURCES = (
    ("resource", lambda _: True),
    ("resource is Metric", lambda q: q.resource.type == "Metric"),
    ('resource == Metric::"cpu"', lambda q: (q.resource.type, q.resource.id) == ("Metric", "cpu")),
    ('resource == Tool::"t"', lambda q: (q.resource.type, q.resource.id) == ("Tool", "t")),
    ('resource is Tool in Tool::"u"', lambda q: (q.resource.type, q.resource.id) == ("Tool", "u")),
)

CLAUSES = st.tuples(
    st.sampled_from(("when", "when", "unless")),
    st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3).map(tuple),
)


def rules(effects: Sequence[str] = ("permit", "permit", "forbid"), notes: Sequence[str] = ("",)) -> st.SearchStrategy:
    """Return random statements, mostly wide ones: narrow bundles say no to nearly everything."""
    return st.builds(
        Rule,
        effect=st.sampled_from(effects),
        principal=st.sampled_from((*[PRINCIPALS[0]] * 4, *PRINCIPALS)),
        action=st.sampled_from((*[ACTIONS[0]] * 4, *ACTIONS)),
        resource=st.sampled_from((*[RESOURCES[0]] * 5, *RESOURCES)),
        conditions=st.one_of(st.just(()), st.lists(CLAUSES, max_size=2).map(tuple)),
        notes=st.sampled_from(notes),
    )


def bundles(**kinds: Any) -> st.SearchStrategy[dict[str, Rule]]:
    return st.lists(rules(**kinds), max_size=7).map(lambda made: {f"s{at}": rule for at, rule in enumerate(made)})


PEOPLE = st.builds(
    Principal,
    st.sampled_from(("ann", "bob")),
    st.sampled_from(((), ("ops",), ("dev",), ("ops", "dev"))),
    st.sampled_from(({}, {"team": "sre"}, {"team": "web", "other": "x"})),
    st.sampled_from((None, "bob")),
)
METRICS = st.builds(
    Resource,
    st.just("Metric"),
    st.sampled_from(("cpu", "disk")),
    st.sampled_from(({}, {"tier": "critical"}, {"tier": "low", "size": 3})),
)
RUNS = st.builds(
    RunFacts,
    calls=st.integers(0, 4),
    completed=st.sampled_from((frozenset(), frozenset({"t.read"}))),
    by_operation=st.sampled_from(({}, {"t.read": 1})),
    spent=st.fixed_dictionaries(
        {}, optional={"calls": st.integers(1, 4), "usd": st.sampled_from((20_000, 20_001, 90_000))}
    ),
)
DECIMALS = st.one_of(st.integers(0, 3), st.sampled_from((0.25, 1.4999, 1.5, 1.23456)))
ARGUMENT_OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(st.none(), st.integers(0, 6)),
        "s": st.sampled_from(("", "abc", "b")),
        "d": DECIMALS,
        "l": st.lists(st.sampled_from("xyz"), max_size=3),
        "u": st.sampled_from((1, 9, "text")),
        "o": st.sampled_from(({}, {"k": True}, {"k": False}, {"k": None}, {"__extn": {"fn": "unknown", "arg": "q"}})),
    },
)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    asked = draw(st.sampled_from(OPERATIONS))
    is_t = asked.tool == "t"
    return Question(
        principal=draw(PEOPLE),
        operation=asked,
        resource=draw(st.one_of(METRICS, st.just(Resource("Tool", "t")))) if is_t else Resource("Tool", "u"),
        environment=draw(st.sampled_from(("prod", "dev"))),
        arguments=draw(ARGUMENT_OBJECTS) if is_t else {},
        run=draw(RUNS),
        now_ms=draw(st.sampled_from((0, NOW_MS))),
    )
