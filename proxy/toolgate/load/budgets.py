"""policies/budgets.yaml: the models, and what they mean for the operations there are (DESIGN §11).

RULE: what a budget names must be there. A key that is no word of ours is the name of a cost, and a cost that no operation
has is an error: a misspelt budget would bound nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from toolgate.core.amounts import MICRO, MOST, exactly
from toolgate.core.budget import BYTES, CALLS, EVERY_CALL, SECONDS, Budget, Match
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Problem
from toolgate.core.limit import Allowance, Concurrency, Limit, Rate
from toolgate.core.loop import Loops
from toolgate.core.model import Effect
from toolgate.core.scope import SCOPES, Scope
from toolgate.core.suggest import near
from toolgate.core.window import CALENDARS, RollingWindow, Window
from toolgate.load.models import Fits, Size, Strict, did_you_mean, judged, listed
from toolgate.load.tools import matcher
from toolgate.load.toolspec import GLOB, Glob
from toolgate.load.yaml import Parsed, Steps, strict_parse

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation

FILE: Final = "budgets.yaml"
_PER_US: Final = {"s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000}
_RATE: Final = re.compile(r"([1-9][0-9]{0,6})/(s|min|h)", re.ASCII)
_TOLD_RATE: Final = "must be a rate such as `10/s`, `100/min` or `1000/h`, and at most 1000000/s"
_TOLD_AMOUNT: Final = (
    "must be an amount from 0 to 1000000000 with at most six digits after the point, such as `5` or `0.50`"
)
AMOUNT_SCHEMA: Final = {
    "description": "The name of a cost: so much of it, as a number or a decimal text.",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(?:\.\d{1,6})?$"}],
}
_SHORTEST_S: Final = 60
_MONTH_S: Final = 31 * 86_400
_TOLD_WINDOW: Final = "must be `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`"
_MOST: Final = 1 << 40  # calls of a budget


def _scope(value: str) -> str:
    if value not in SCOPES:
        known = ", ".join(f"`{each}`" for each in SCOPES)
        raise ValueError(f"`{value}` is no scope; there are {known}{did_you_mean(value, SCOPES)}")
    return value


def _different(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("names a scope twice; remove one")
    return values


def _window(value: Any) -> Any:
    if isinstance(value, str) and value not in CALENDARS:
        raise ValueError(f"{_TOLD_WINDOW}{did_you_mean(value, CALENDARS)}")
    if isinstance(value, dict) and set(value) != {"rolling_s"}:
        wrong = next((name for name in value if name != "rolling_s"), "")
        raise ValueError(f"{_TOLD_WINDOW}{did_you_mean(str(wrong), ('rolling_s',))}")
    if isinstance(value, dict):
        _rolling(value["rolling_s"])
    elif value is not None and not isinstance(value, str):
        raise ValueError(_TOLD_WINDOW)
    return value


def _rolling(seconds: Any) -> None:
    """Judged here, once: of a window in two forms pydantic would tell the problems of both."""
    if type(seconds) is not int or not _SHORTEST_S <= seconds <= _MONTH_S:
        raise ValueError(f"has a `rolling_s` that is no whole number of seconds from {_SHORTEST_S} to {_MONTH_S}")


def _rate(value: Any) -> Any:
    if not isinstance(value, str) or _RATE.fullmatch(value) is None or _every_us(value) < 1:
        raise ValueError(_TOLD_RATE)
    return value


def _every_us(rate: str) -> int:
    """Rounded up: never more than the file says. 0 for what is faster than can be counted."""
    count, unit = rate.split("/")
    per_us = _PER_US[unit]
    return 0 if int(count) > per_us else -(-per_us // int(count))


Name = Annotated[str, Fits(r"[a-z][a-z0-9_-]{0,63}", "must be a name such as `run-calls`: `[a-z][a-z0-9_-]{0,63}`")]
Scopes = Annotated[
    list[Annotated[str, AfterValidator(_scope), WithJsonSchema({"enum": list(SCOPES)})]],
    Field(min_length=1),
    AfterValidator(_different),
]
Count = Annotated[int, Field(ge=0, le=_MOST)]


class RollingEntry(Strict):
    """A window that moves, in 60 buckets."""

    rolling_s: int = Field(ge=_SHORTEST_S, le=_MONTH_S, description="Its length in seconds.")


class MatchEntry(Strict):
    """Which calls are covered; left out: every one."""

    operations: list[Glob] | None = Field(
        None, min_length=1, description="Operations or globs, as `tool.operationId` or `tool.*`."
    )
    effects: list[Effect] | None = Field(None, min_length=1, description="read, write, destructive.")

    @model_validator(mode="after")
    def _some(self) -> MatchEntry:
        if self.operations is None and self.effects is None:
            raise ValueError("is empty; name `operations` or `effects`, or leave `match` out")
        return self


class BudgetEntry(Strict):
    """So much for each run, principal, … of its scope. Any other key is the name of a cost, with its amount."""

    model_config = ConfigDict(extra="allow")

    name: Name = Field(description="What it is called in errors, headers and balances.")
    scope: Scopes = Field(description="Whose: every combination of these has a budget of its own.")
    window: Annotated[Literal["day", "week", "month"] | RollingEntry, BeforeValidator(_window)] | None = Field(
        None,
        description="When it is given again: `day`, `week`, `month` (UTC) or `{rolling_s: 3600}`; left out: never.",
    )
    match: MatchEntry | None = Field(None, description="Which calls are charged to it; left out: every one.")
    calls: Count | None = Field(None, description="So many calls.")
    bytes: Size | None = Field(None, description="So many bytes, of bodies sent and received.")
    seconds: Annotated[int, Field(ge=1, le=_MONTH_S)] | None = Field(
        None, description="So long a run may last; only with `scope: [run]`."
    )

    @property
    def costs(self) -> Mapping[str, Any]:
        return self.model_extra or {}

    @model_validator(mode="after")
    def _sensible(self) -> BudgetEntry:
        if self.calls is None and self.bytes is None and self.seconds is None and not self.costs:
            raise ValueError("gives nothing; add `calls`, `bytes`, `seconds` or a cost such as `usd`")
        if self.seconds is not None and (self.scope != ["run"] or self.window is not None):
            raise ValueError("has `seconds`, which say how long a run lasts: it needs `scope: [run]`, and no `window`")
        return self


class LimitEntry(Strict):
    """So many calls per time, or at once, for each run, principal, … of its scope."""

    name: Name = Field(description="What it is called in errors and headers.")
    scope: Scopes = Field(description="Whose: every combination of these has a limit of its own.")
    match: MatchEntry | None = Field(None, description="Which calls are limited; left out: every one.")
    rate: (
        Annotated[str, BeforeValidator(_rate), WithJsonSchema({"type": "string", "pattern": f"^(?:{_RATE.pattern})$"})]
        | None
    ) = Field(None, description="Calls per time: `10/s`, `100/min`, `1000/h`.")
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="So many at once after a pause; default a second's worth, and 1 at least."
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, description="So many calls at once.")

    @model_validator(mode="after")
    def _one_kind(self) -> LimitEntry:
        if (self.rate is None) == (self.concurrency is None):
            raise ValueError("must have exactly one of `rate` and `concurrency`")
        if self.rate is None and self.burst is not None:
            raise ValueError("has `burst` without `rate`")
        return self


class LoopsEntry(Strict):
    """How often is too often. A key left out is not looked for."""

    identical_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="So many calls with the same arguments within the window; one more is refused."
    )
    window_s: Annotated[int, Field(ge=1, le=86_400)] = Field(60, description="The window of `identical_calls`.")
    identical_refusals: Annotated[int, Field(ge=2, le=1_000)] | None = Field(
        None, description="The same refusal so many times in a row stops the run."
    )
    denied_attempts: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="So many refused calls stop the run. Being asked to wait is not counted."
    )


class BudgetsFile(Strict):
    """policies/budgets.yaml: how much may be used, how fast, and how often is too often."""

    api_version: Literal["toolgate/v1"] = Field("toolgate/v1", alias="apiVersion", description="May be left out.")
    budgets: list[BudgetEntry] = Field(
        default_factory=list, description="A call is charged to every one that covers it."
    )
    limits: list[LimitEntry] = Field(default_factory=list, description="Calls per time, and calls at once.")
    loops: LoopsEntry = Field(default_factory=LoopsEntry, description="An agent that goes round in circles.")  # type: ignore[arg-type]


class BudgetsSource(NamedTuple):
    """The file, read and not yet held against what it names."""

    file: BudgetsFile | None  # None where its form is wrong
    problems: tuple[Problem, ...]  # of its form
    parsed: Parsed
    shown: str

    def problem(self, steps: Steps, code: str, message: str) -> Problem:
        return Problem(self.shown, self.parsed.line(steps), code, message)


class Terms(NamedTuple):
    """What budgets may name: the operations here, and in all environments the keys there are and their costs."""

    environment: str
    here: Sequence[Operation]
    keys: frozenset[str]
    costs: frozenset[str]


def read_budgets(content: bytes, shown: str) -> BudgetsSource:
    """Raises BundleError where it is no YAML."""
    parsed = strict_parse(content, shown)
    return BudgetsSource(*judged(BudgetsFile, parsed, shown), parsed, shown)


def lowered(file: BudgetsFile, terms: Terms) -> Budgets:
    """Return what the file means here."""
    budgets = [each for entry in file.budgets for each in _budgets(entry, terms)]
    limits = [
        Limit(limit.name, _scopes(limit.scope), _allowance(limit), _match(limit.match, terms)) for limit in file.limits
    ]
    loops = Loops(**{name: getattr(file.loops, name) for name in LoopsEntry.model_fields})
    return Budgets(tuple(budgets), tuple(limits), loops, terms.environment)


def misnamed(source: BudgetsSource, terms: Terms) -> Iterator[Problem]:
    """Everything it names that is not there, or twice: read of what was written, for its form may be wrong elsewhere."""
    seen: set[str] = set()
    for kind in ("budgets", "limits"):
        for at, entry in enumerate(listed(source.parsed.value, kind)):
            if not isinstance(entry, dict):
                continue
            steps, name = (kind, at), entry.get("name")
            if isinstance(name, str) and name in seen:
                # A name is what headers and balances are known by, so nothing shares it.
                message = f"the name `{name}` is given twice; give one of them another"
                yield source.problem((*steps, "name"), "budget.repeated", message)
            seen.add(str(name))
            patterns = listed(entry, "match", "operations")
            for number, message in unmatched(patterns, terms.keys):
                yield source.problem((*steps, "match", "operations", number), "operation.unmatched", message)
            if kind == "budgets":
                yield from _wrong_costs(source, steps, entry, terms)


def unmatched(patterns: Iterable[Any], keys: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Which of some globs name nothing, and how that is told; what is no glob is told by its form."""
    for at, pattern in enumerate(patterns):
        is_glob = isinstance(pattern, str) and re.fullmatch(GLOB, pattern) is not None
        if is_glob and not any(map(matcher(pattern), keys)):
            yield at, f"`{pattern}` matches no operation of any tool{_meant(pattern, keys)}"


def _wrong_costs(source: BudgetsSource, steps: Steps, entry: Mapping[str, Any], terms: Terms) -> Iterator[Problem]:
    for name in entry.keys() - BudgetEntry.model_fields.keys():
        place = f"`{steps[0]}.{steps[1]}.{name}`"
        if name not in terms.costs:
            hint = did_you_mean(name, (*BudgetEntry.model_fields, *sorted(terms.costs)))
            way = hint or "; add it to the `cost` of the operations that have it"
            message = f"{place} is no key of a budget, and no operation has a cost `{name}`{way}"
            yield source.problem((*steps, name), "budget.cost", message)
            continue
        amount = exactly(entry[name])
        if amount is None or amount > MOST:
            yield source.problem((*steps, name), "config.value", f"{place} {_TOLD_AMOUNT}")


def _budgets(entry: BudgetEntry, terms: Terms) -> Iterator[Budget]:
    given = {CALLS: entry.calls, BYTES: entry.bytes, SECONDS: entry.seconds}
    given |= {name: exactly(value) for name, value in entry.costs.items()}
    window, match = _window_of(entry), _match(entry.match, terms)
    for dimension, amount in given.items():
        if amount is not None:
            yield Budget(entry.name, _scopes(entry.scope), dimension, amount, window, match)


def _match(entry: MatchEntry | None, terms: Terms) -> Match:
    if entry is None:
        return EVERY_CALL
    covered = [each for each in terms.here if entry.effects is None or each.effect in entry.effects]
    if entry.operations is None:
        return Match(frozenset(each.key for each in covered))
    matches = [matcher(pattern) for pattern in entry.operations]
    return Match(frozenset(each.key for each in covered if any(matched(each.key) for matched in matches)))


def _meant(pattern: str, keys: Iterable[str]) -> str:
    """How a message about a pattern without a match goes on."""
    tool, tools = pattern.partition(".")[0], sorted({key.partition(".")[0] for key in keys})
    found = near(tool, tools, 1) if tool not in tools else ()
    return f"; did you mean the tool `{found[0]}`?" if found else did_you_mean(pattern, keys)


def _window_of(entry: BudgetEntry) -> Window:
    return RollingWindow(entry.window.rolling_s) if isinstance(entry.window, RollingEntry) else entry.window


def _scopes(written: Iterable[str]) -> tuple[Scope, ...]:
    return tuple(scope for name in written for scope in SCOPES if scope == name)


def _allowance(entry: LimitEntry) -> Allowance:
    if entry.rate is None:
        return Concurrency(entry.concurrency or 1)
    every_us = _every_us(entry.rate)
    return Rate(every_us, entry.burst or max(MICRO // every_us, 1), entry.rate)
