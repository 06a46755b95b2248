"""Test files as they are written (`policies/tests/*.yaml`): cases, and the principals and resources they speak of.

    principals: {digest: {id: metrics-digest, roles: [digest]}}
    cases:
      - note: a critical metric stays
        call: {operation: metrics.removeMetric, arguments: {name: node_cpu}, principal: digest}
        want: {refusal: policy.denied, statements: [critical-metrics-stay]}

RULE: a key nobody knows is a problem with its line, wherever it stands: a misspelt check is never skipped silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from toolgate.core.amounts import exactly
from toolgate.core.bundle import BundleError, Problem
from toolgate.core.codes import CODES
from toolgate.core.model import Json
from toolgate.load.matrix import Combination, Places, combinations
from toolgate.load.models import Fits, Strict, did_you_mean, explained
from toolgate.load.toolspec import EnvironmentName, Key, TypeName
from toolgate.load.yaml import Parsed, Steps, strict_load

M = TypeVar("M", bound=BaseModel)

FIXTURES: Final = "fixtures.yaml"  # what every file of its folder, and of those below, may use
ALL: Final = "all"  # as a file's `environment`: every one of them
_YEARS: Final = range(1971, 2200)


def _listed(value: Any) -> Any:
    if value == []:
        raise ValueError("must name at least one environment, such as `prod`")
    return [value] if isinstance(value, str) else value


def moment_ms(value: Any) -> int:
    """Milliseconds since 1970; a time without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a date and time such as `2026-11-22T08:00:00Z`") from None
    if moment.year not in _YEARS:
        raise ValueError(f"must lie between {_YEARS[0]} and {_YEARS[-1]}")
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _taken(value: Any) -> Any:
    amounts = value.values() if isinstance(value, dict) else (value,)
    if any(exactly(each) is None for each in amounts):
        raise ValueError(
            "must be an amount with at most six digits after the point such as `5` or `0.049`, or amounts by what the budget "
            "gives, as `{calls: 5, usd: 0.049}` of one that gives both"
        )
    return value


def _known_code(value: str) -> str:
    if value not in CODES:
        raise ValueError(f"`{value}` is not a code of this version{did_you_mean(value, CODES)}")
    return value


Moment = Annotated[int, BeforeValidator(moment_ms), WithJsonSchema({"type": "string", "format": "date-time"})]
CodeName = Annotated[str, AfterValidator(_known_code)]
Environments = Annotated[
    list[EnvironmentName],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
FixtureName = Annotated[str, Fits(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", "must be a name such as `digest`")]
CaseAnswer = Literal["pending", "granted", "declined", "revoked", "expired", "used", "stale", "too_many"]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Why = Annotated[str, Field(min_length=1, max_length=512)]
FrozenName = Annotated[
    str,
    Fits(
        r"everything|(?:tool|principal|run):.{1,512}", "must be `everything`, `tool:NAME`, `principal:ID` or `run:ID`"
    ),
]
_AMOUNT: Final = ({"type": "number", "minimum": 0}, {"type": "string"})
Taken = Annotated[
    Any,
    BeforeValidator(_taken),
    WithJsonSchema({"anyOf": [*_AMOUNT, {"type": "object", "additionalProperties": {"anyOf": list(_AMOUNT)}}]}),
]
Resources = dict[TypeName, dict[str, dict[str, Any]]]


class PrincipalEntry(Strict):
    """Somebody who calls, as the gate would know them."""

    id: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="The principal's id; default the fixture's name. With a token it is `<issuer>/<sub>`."
    )
    roles: list[str] = Field(default_factory=list, description="The roles it has.")
    claims: dict[str, str] = Field(default_factory=dict, description="Claims as text, nested ones by dotted names.")
    on_behalf_of: str | None = Field(None, description="Whom it acts for (the `act` of a token).")


Who = Any  # a fixture's name or a `PrincipalEntry`; judged where it is looked up


class CallEntry(Strict):
    """What is asked: an operation with its arguments, or a request as it comes over HTTP."""

    operation: Annotated[str, Field(min_length=1)] | None = Field(None, description="`tool.operationId`.")
    arguments: dict[str, Any] | None = Field(None, description="Parameters by name, the body under `body`.")
    method: str | None = Field(None, description="Of a request, instead of `operation`.")
    path: Annotated[str, Fits(r"/[!-~]*", "must be a raw path such as `/metrics/metrics/node_cpu`")] | None = Field(
        None, description="The request's raw path on the gate: `/{tool}` and the tool's path."
    )
    query: str | None = Field(None, description="The request's query, without the `?`.")
    headers: dict[str, str] | None = Field(None, description="The request's headers.")
    body: Any = Field(None, description="The request's body: text as it is, anything else as JSON.")
    size: Count | None = Field(None, description="So many spaces as the body, where only its length matters.")
    principal: Who = Field(None, description="Who calls: a fixture's name, or an inline principal.")
    plan: Annotated[str, Field(min_length=1)] | None = Field(None, description="The plan it names (`Toolgate-Plan`).")
    step: Annotated[str, Field(min_length=1)] | None = Field(None, description="The step it names (`Toolgate-Step`).")

    @model_validator(mode="after")
    def _one_way(self) -> CallEntry:
        of_request = self.model_fields_set & {"method", "path", "query", "headers", "body", "size"}
        if (self.operation is None) == (self.path is None):
            raise ValueError("needs either `operation`, or the `method` and `path` of a request")
        if self.operation is not None and of_request:
            raise ValueError(f"has `operation`, so `{min(of_request)}` says nothing; put it under `arguments`")
        if self.path is not None and (self.method is None or self.arguments is not None):
            raise ValueError("is a request: it needs `method` beside `path`, and `arguments` are its query and body")
        return self


class RunEntry(Strict):
    """What the run has done before this call."""

    calls: Count | None = Field(None, description="Calls decided, permitted or not; default what the others add up to.")
    refusals: Count = Field(0, description="How many of them were refused.")
    age_s: Count = Field(0, description="Seconds since its first call.")
    completed: list[Key] = Field(default_factory=list, description="Operations the upstream completed.")
    by_operation: dict[Key, Count] = Field(default_factory=dict, description="Permitted calls, by operation.")
    stopped: Why | None = Field(None, description="Why no call of it is taken any more.")


class LoopEntry(Strict):
    """How often something came before this call; compared with `loops` of budgets.yaml."""

    identical_calls: Count = Field(0, description="The same call, within the window.")
    identical_refusals: Count = Field(0, description="In a row, the refusal this call would get.")
    denied_attempts: Count = Field(0, description="Refused calls of the run.")


class PlanEntry(Strict):
    """The plan that is locked in the run, and how far the run has come with it."""

    steps: list[Any] | None = Field(
        None, min_length=1, description="Its steps, as they are proposed; left out: one, which is this very call."
    )
    done: list[str] = Field(default_factory=list, description="Steps that are done, by stepId.")
    running: list[str] = Field(default_factory=list, description="Steps that were sent and have not ended.")
    failed: list[str] = Field(default_factory=list, description="Steps that were sent and failed.")
    unknown: list[str] = Field(default_factory=list, description="Steps that were sent with an unknown outcome.")
    attempts: dict[str, Count] = Field(
        default_factory=dict,
        description="By stepId: so often it was sent; left out: once, and one that failed as often as it may be.",
    )
    outputs: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="By stepId, then name: what a step that is done has answered."
    )
    age_s: Count = Field(0, description="Seconds since it was locked.")
    stale: bool = Field(False, description="What it relies on has changed since.")  # noqa: FBT003 - a default

    @property
    def states(self) -> dict[str, Literal["done", "running", "failed", "unknown"]]:
        """What is said of steps, by stepId."""
        told = ("done", self.done), ("running", self.running), ("failed", self.failed), ("unknown", self.unknown)
        return {step: state for state, steps in told for step in steps}  # type: ignore[misc]

    @model_validator(mode="after")
    def _of_its_steps(self) -> PlanEntry:
        ids = [str(each.get("stepId")) for each in self.steps or () if isinstance(each, dict)]
        for step in (*self.states, *self.attempts, *self.outputs):
            if step not in ids:
                raise ValueError(f"speaks of the step `{step}`, which `steps` does not have{did_you_mean(step, ids)}")
        return self


class FactsEntry(Strict):
    """What is so when the call comes."""

    now: Moment | None = Field(None, description="The time of the call; default the file's, else fixed.")
    run: RunEntry = Field(default_factory=RunEntry, description="What the run has done.")  # type: ignore[arg-type]
    resources: Resources = Field(
        default_factory=dict, description="By type, then id: attributes. Stands for the catalogue."
    )
    unready: dict[str, str] = Field(default_factory=dict, description="By tool: why its calls must wait.")
    taken: dict[str, Taken] = Field(
        default_factory=dict, description="By budget: what is taken of it; of one with several amounts, by their names."
    )
    running: dict[str, Count] = Field(
        default_factory=dict, description="By limit with `concurrency`: the calls that are under way."
    )
    wait_s: dict[str, Annotated[float, Field(ge=0, le=86_400)]] = Field(
        default_factory=dict, description="By limit with `rate`: how long until it lets the next call through."
    )
    loops: LoopEntry = Field(default_factory=LoopEntry, description="How often the same came before.")  # type: ignore[arg-type]
    plan: PlanEntry | None = Field(
        None, description="The plan that is locked in the run; `{}`: one of this call alone."
    )
    approval: CaseAnswer | None = Field(
        None,
        description="What came of asking a person for exactly this call. `stale`: granted, and the rules have changed "
        "since; `too_many`: ten other requests wait.",
    )
    frozen: dict[FrozenName, Why] = Field(
        default_factory=dict,
        description="What the kill switch holds, and why: `everything`, `tool:NAME`, `principal:ID`.",
    )


class WouldEntry(Strict):
    """What the statements in `@mode("audit")` would have changed."""

    permit: Literal[True] | None = Field(None, description="It would have been permitted.")
    refusal: CodeName | None = Field(None, description="The code of the refusal it would have been.")
    statements: list[str] | None = Field(None, description="The statements that would have decided.")


class WantEntry(Strict):
    """What must come of it. Only listed keys are compared."""

    permit: bool | None = Field(None, description="Whether the call is permitted.")
    refusal: CodeName | None = Field(None, description="The code of the refusal.")
    title: str | None = Field(None, description="The refusal's title, such as `MetricNotFound`.")
    stage: str | None = Field(None, description="The line of the decision that refused.")
    detail: str | None = Field(None, description="What the refusal says, word for word.")
    hint: str | None = Field(None, description="What the agent is told to do instead, word for word.")
    alternatives: list[str] | None = Field(None, description="The operations it is sent to.")
    statements: list[str] | None = Field(None, description="The statements that decided, in any order.")
    violations: list[str] | None = Field(None, description="Where the arguments are wrong: pointers, in order.")
    suggestions: list[str | None] | None = Field(None, description="The did-you-mean of each violation.")
    operation: str | None = Field(None, description="The operation the call turned out to be.")
    arguments: dict[str, Any] | None = Field(None, description="The arguments as decoded and defaulted.")
    request: dict[str, Any] | None = Field(
        None, description="The request that would be sent: method, target, headers, body."
    )
    would: WouldEntry | None = Field(None, description="What audit would have changed; `null`: nothing.")

    @model_validator(mode="after")
    def _possible(self) -> WantEntry:
        if not self.model_fields_set:
            raise ValueError("is empty, so the case would check nothing; write `permit: true` or `refusal: CODE`")
        if self.permit and self.refusal is not None:
            raise ValueError("wants `permit: true` and a `refusal` at once")
        return self


class CaseEntry(Strict):
    """One case."""

    note: Annotated[str, Field(min_length=1, max_length=300)] = Field(description="The rule, as a sentence.")
    environment: Environments | None = Field(None, description="Where it is decided: a name, a list, or `all`.")
    call: CallEntry = Field(description="What is asked, and by whom.")
    facts: FactsEntry = Field(default_factory=FactsEntry, description="What is so when the call comes.")  # type: ignore[arg-type]
    matrix: Any = Field(
        None,
        description="Places and the values to try in each: every combination is a case. Or a list of such rows.",
    )
    want: WantEntry = Field(description="What must come of it.")


class FixturesEntry(Strict):
    """Who and what the cases speak of, and what holds for all of them."""

    api_version: Literal["toolgate/v1"] = Field("toolgate/v1", alias="apiVersion", description="May be left out.")
    principals: dict[FixtureName, PrincipalEntry] = Field(default_factory=dict, description="By name: who calls.")
    resources: Resources = Field(
        default_factory=dict, description="By type, then id: attributes. Stands for the catalogue."
    )
    environment: Environments | None = Field(
        None, description="Where cases that name none are decided: a name, a list, or `all`."
    )
    principal: Who = Field(None, description="Who makes the calls that name nobody; default `identity.anonymous`.")
    now: Moment | None = Field(None, description="The time of the calls that name none.")


class FileEntry(FixturesEntry):
    """policies/tests/**/*.yaml: cases, and what they share."""

    cases: list[Any] = Field(description="The cases.")


@dataclass(frozen=True, slots=True)
class WrittenCase:
    """A case as somebody wrote it, or one combination of its matrix, and where it stands."""

    entry: CaseEntry
    label: str
    file: str
    steps: Steps
    parsed: Parsed
    combination: Combination

    def line(self, *steps: str | int) -> int:
        """Return the line of a place of this case."""
        moved = self.combination.origin(steps)
        return self.parsed.line(moved if moved is not None else (*self.steps, *steps))


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file that was read: what its cases share, and the cases."""

    path: Path
    shown: str
    fixtures: FixturesEntry
    parsed: Parsed
    cases: tuple[WrittenCase, ...] = field(default=())


def read_case_file(path: Path, shown: str) -> CaseFile:
    """Read one file of cases, or the fixtures of a folder. Raises BundleError with every problem."""
    parsed = strict_load(path, shown)
    if path.name == FIXTURES:
        return CaseFile(path, shown, _judged(FixturesEntry, parsed.value, parsed, shown), parsed)
    if isinstance(parsed.value, list):
        return CaseFile(path, shown, FixturesEntry(), parsed, _cases(parsed.value, (), parsed, shown))  # type: ignore[call-arg]
    entry = _judged(FileEntry, parsed.value, parsed, shown)
    return CaseFile(path, shown, entry, parsed, _cases(entry.cases, ("cases",), parsed, shown))


def inline_principal(value: Json, parsed: Parsed, shown: str, at: Steps) -> PrincipalEntry:
    """Read a principal that is written where it calls. Raises BundleError with every problem."""
    return _judged(PrincipalEntry, value, parsed, shown, at)


def _cases(written: list[Any], at: Steps, parsed: Parsed, shown: str) -> tuple[WrittenCase, ...]:
    problems: list[Problem] = []
    found: list[WrittenCase] = []
    if not written:
        problems.append(Problem(shown, parsed.line(at), "case.none", "has no cases"))
    for number, raw in enumerate(written):
        here = (*at, number)
        options, wrong = combinations(raw, here, parsed, shown, PLACES)
        problems += wrong
        for option in options:
            try:
                found.append(WrittenCase(_case(option, here, parsed, shown), option.label, shown, here, parsed, option))
            except BundleError as error:
                problems += error.problems
    if problems:
        raise BundleError(problems)
    return tuple(found)


def _case(option: Combination, here: Steps, parsed: Parsed, shown: str) -> CaseEntry:
    try:
        return CaseEntry.model_validate(option.raw)
    except ValidationError as error:
        raise BundleError(
            Problem(shown, parsed.line(option.origin(steps) or (*here, *steps)), code, message)
            for steps, code, message in explained(error, CaseEntry, {})
        ) from None


def _judged(model: type[M], value: Json, parsed: Parsed, shown: str, at: Steps = ()) -> M:
    if value is None:
        raise BundleError([Problem(shown, 1, "config.empty", "is empty")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BundleError(_placed(error, model, parsed, shown, at)) from None


def _placed(error: ValidationError, model: type[BaseModel], parsed: Parsed, shown: str, at: Steps) -> Iterator[Problem]:
    for steps, code, message in explained(error, model, {}):
        yield Problem(shown, parsed.line((*at, *steps)), code, message)


def _keys(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(model.model_fields)


PLACES: Final = Places(_keys(CaseEntry) - {"note", "matrix"}, _keys(CallEntry))
