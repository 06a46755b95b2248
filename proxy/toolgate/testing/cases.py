"""Cases: a call in, a decision out, in YAML that needs no Python to read (DESIGN §19).

    - note: a deny beats an allow
      call: {operation: metrics.removeMetric, arguments: {name: node_cpu}}
      want: {refusal: policy.denied, statements: [critical-metrics-stay]}

RULE: a case is complete in itself: who calls, what is known and the time are values, so it decides the same everywhere
and for ever. Our golden cases and the tests of whoever writes policies are read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Asked, Freeze, Json, Named, Principal, RunFacts, Said, Wire
from toolgate.load.casefile import (
    ALL,
    FIXTURES,
    CallEntry,
    CaseAnswer,
    CaseFile,
    FixturesEntry,
    PlanEntry,
    PrincipalEntry,
    RunEntry,
    WrittenCase,
    inline_principal,
    read_case_file,
)
from toolgate.load.models import did_you_mean
from toolgate.load.yaml import Parsed, Steps
from toolgate.testing.levels import CaseLevels, levels_of

ANONYMOUS: Final = "anonymous"  # who calls without a token, by the settings
NOW_MS: Final = 1_767_614_400_000  # 2026-01-05T12:00:00Z, a Monday
MAX_CASES: Final = 20_000

Resources = Mapping[str, Mapping[str, Mapping[str, Json]]]  # type → id → attributes


@dataclass(frozen=True, slots=True)
class Case:
    """One case: what is asked, by whom, what is known, and what must come of it."""

    note: str
    label: str  # which combination of its matrix, or empty
    file: str
    line: int
    environments: tuple[str, ...] | None  # None: the run's own; `("all",)`: every one
    asked: Asked
    principal: Principal | None  # None: the settings' anonymous one
    at_ms: int
    run: RunFacts
    resources: Resources
    unready: Mapping[str, str]
    levels: CaseLevels
    repeats: int  # how often in a row the refusal of this call was given before
    freezes: Mapping[str, Freeze]
    said: Said  # the plan and the step it names
    plan: PlanEntry | None  # that is locked in the run
    answer: CaseAnswer | None  # what came of asking a person for this call
    want: Mapping[str, Json]
    written: WrittenCase

    @property
    def name(self) -> str:
        return f"{self.note} [{self.label}]" if self.label else self.note

    def problem(self, steps: Steps, code: str, message: str) -> Problem:
        """Return what is wrong with a place of this case, on its line."""
        return Problem(self.file, self.written.line(*steps), code, message)


@dataclass(frozen=True, slots=True)
class Suite:
    """Every case that was found, in the order of files and lines, and the fixtures they were written for."""

    cases: tuple[Case, ...]
    principals: Mapping[str, Principal] = field(default_factory=dict)
    types: Mapping[str, Problem] = field(
        default_factory=dict
    )  # resource types with fixtures: the problem of an unknown one
    attributes: Mapping[tuple[str, str], tuple[str, int]] = field(
        default_factory=dict
    )  # of fixtures, by type: file, line


def read_suite(places: Sequence[Path], root: Path | None = None) -> Suite:
    """Read the cases of files and folders; fixtures of `root` and the folders below it hold for what lies in them.

    Raises BundleError with every problem.
    """
    problems: list[Problem] = []
    found: list[Case] = []
    reading = _Reading(root)
    for path in _files(places, problems):
        try:
            found += reading.cases(path)
        except BundleError as error:
            problems += error.problems
    if len(found) > MAX_CASES:
        problems.append(
            Problem(str(places[0]), 0, "case.too_many", f"holds more than {MAX_CASES:,} cases; run fewer files")
        )
    if problems:
        raise BundleError(problems)
    return Suite(tuple(found), reading.principals, reading.types, reading.attributes)


def _files(places: Sequence[Path], problems: list[Problem]) -> Iterator[Path]:
    """The files to read, each once; fixtures are read where they are used, and so that a broken one is told."""
    seen: set[Path] = set()
    for place in places:
        if not place.exists():
            problems.append(Problem(str(place), 0, "file.unreadable", "is not there"))
            continue
        for path in [place] if place.is_file() else sorted(place.rglob("*.yaml")):
            hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
            if path not in seen and not hidden:
                seen.add(path)
                yield path


@dataclass(slots=True)
class _Reading:
    """Files read so far, with the fixtures of their folders."""

    root: Path | None
    principals: dict[str, Principal] = field(default_factory=dict)
    types: dict[str, Problem] = field(default_factory=dict)
    attributes: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    _folders: dict[Path, CaseFile | None] = field(default_factory=dict)

    def cases(self, path: Path) -> list[Case]:
        shared = [each for folder in self._above(path) if (each := self._fixtures(folder)) is not None]
        if path.name == FIXTURES:
            self._remember(shared)
            return []
        file = read_case_file(path, str(path))
        shared.append(file)
        self._remember(shared)
        return _lowered(file.cases, _Shared.of(shared))

    def _above(self, path: Path) -> Iterable[Path]:
        """The folders whose fixtures hold for a file, outermost first."""
        inner = path.parent
        if self.root is None or not inner.is_relative_to(self.root):
            return (inner,)
        below = [folder for folder in inner.parents if folder.is_relative_to(self.root)]
        return (*reversed(below), inner)

    def _fixtures(self, folder: Path) -> CaseFile | None:
        if folder not in self._folders:
            path = folder / FIXTURES
            self._folders[folder] = read_case_file(path, str(path)) if path.is_file() else None
        return self._folders[folder]

    def _remember(self, shared: Iterable[CaseFile]) -> None:
        for file in shared:
            self.principals |= {name: _principal(entry, name) for name, entry in file.fixtures.principals.items()}
            for kind, listed in file.fixtures.resources.items():
                self.types.setdefault(kind, unknown_type(kind, file.shown, file.parsed.line(("resources", kind))))
                for steps in ((kind, name, key) for name, attributes in listed.items() for key in attributes):
                    place = file.shown, file.parsed.line(("resources", *steps))
                    self.attributes.setdefault((kind, steps[-1]), place)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the cases of a file share: its own fixtures over those of the folders around it."""

    principals: Mapping[str, Principal]
    resources: Resources
    environments: tuple[str, ...] | None
    now_ms: int
    principal: Principal | None

    @classmethod
    def of(cls, files: Sequence[CaseFile]) -> _Shared:
        entries = [file.fixtures for file in files]
        principals = {name: _principal(each, name) for entry in entries for name, each in entry.principals.items()}
        named = [(file, file.fixtures.principal) for file in files if file.fixtures.principal is not None]
        return cls(
            principals=principals,
            resources={kind: found for entry in entries for kind, found in entry.resources.items()},
            environments=_environments(_last(entries, "environment")),
            now_ms=_last(entries, "now") or NOW_MS,
            principal=_who(named[-1][1], principals, named[-1][0].parsed, named[-1][0].shown, ("principal",))
            if named
            else None,
        )


def unknown_type(kind: str, file: str, line: int) -> Problem:
    """Return the problem of resources of a type that no catalogue lists."""
    return Problem(
        file, line, "case.resource", f"no catalogue lists resources of the type `{kind}`, so these would say nothing"
    )


def _last(entries: Iterable[FixturesEntry], key: str) -> Any:
    values = [value for entry in entries if (value := getattr(entry, key)) is not None]
    return values[-1] if values else None


def _environments(written: list[str] | None) -> tuple[str, ...] | None:
    return None if written is None else tuple(dict.fromkeys(written))


def _lowered(written: Iterable[WrittenCase], shared: _Shared) -> list[Case]:
    problems: list[Problem] = []
    found: list[Case] = []
    for each in written:
        try:
            found.append(_case(each, shared))
        except BundleError as error:
            problems += error.problems
    if problems:
        raise BundleError(problems)
    return found


def _case(written: WrittenCase, shared: _Shared) -> Case:
    entry, facts = written.entry, written.entry.facts
    at_ms = shared.now_ms if facts.now is None else facts.now
    principal = shared.principal
    if entry.call.principal is not None:
        at: Steps = (*written.steps, "call", "principal")
        moved = written.combination.origin(("call", "principal"))
        principal = _who(entry.call.principal, shared.principals, written.parsed, written.file, moved or at)
    return Case(
        note=entry.note,
        label=written.label,
        file=written.file,
        line=written.parsed.line(written.steps),
        environments=_environments(entry.environment) or shared.environments,
        asked=_asked(entry.call),
        principal=principal,
        at_ms=at_ms,
        run=_run(facts.run, at_ms),
        resources={**shared.resources, **facts.resources},
        unready=facts.unready,
        levels=levels_of(facts, at_ms),
        repeats=facts.loops.identical_refusals,
        said=Said(None, entry.call.plan, entry.call.step),
        plan=facts.plan,
        answer=facts.approval,
        freezes={name: Freeze("somebody", why, at_ms) for name, why in facts.frozen.items()},
        want={key: getattr(entry.want, key) for key in sorted(entry.want.model_fields_set)},
        written=written,
    )


def _who(value: Json, known: Mapping[str, Principal], parsed: Parsed, shown: str, at: Steps) -> Principal | None:
    """The principal a case names, or writes inline; None is the settings' anonymous one."""
    if not isinstance(value, str):
        return _principal(inline_principal(value, parsed, shown, at), "inline")
    if value in known:
        return known[value]
    if value == ANONYMOUS:
        return None
    hint = did_you_mean(value, (*known, ANONYMOUS)) or f"; define it under `principals:`, or write `{ANONYMOUS}`"
    raise BundleError(
        [Problem(shown, parsed.line(at), "case.principal", f"the principal `{value}` is not known{hint}")]
    )


def _principal(entry: PrincipalEntry, name: str) -> Principal:
    return Principal(entry.id or name, tuple(entry.roles), dict(entry.claims), entry.on_behalf_of)


def _run(entry: RunEntry, at_ms: int) -> RunFacts:
    """What is left out follows: a completed operation was permitted once, and calls are permits and refusals."""
    permitted = {**dict.fromkeys(entry.completed, 1), **entry.by_operation}
    calls = entry.refusals + sum(permitted.values()) if entry.calls is None else entry.calls
    return RunFacts(
        id="run_test",
        calls=calls,
        refusals=entry.refusals,
        age_s=entry.age_s,
        completed=frozenset(entry.completed),
        by_operation=permitted,
        started_ms=at_ms - entry.age_s * 1000,
        stopped=entry.stopped,
    )


def _asked(call: CallEntry) -> Asked:
    if call.operation is not None:
        return Named(call.operation, call.arguments or {})
    body = call.body if call.body is not None else b" " * (call.size or 0)
    headers = {name.lower(): value for name, value in (call.headers or {}).items()}
    if not isinstance(body, (str, bytes)):
        body = orjson.dumps(body)
        headers.setdefault("content-type", "application/json")
    encoded = body.encode() if isinstance(body, str) else body
    return Wire(call.method or "", call.path or "", call.query or "", headers, encoded)


def runs_in(case: Case, own: str, every: Sequence[str]) -> tuple[str, ...]:
    """Return the environments a case is decided in: those it names, or the run's own."""
    if case.environments is None:
        return (own,)
    return tuple(every) if case.environments == (ALL,) else case.environments
