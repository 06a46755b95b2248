"""What a suite names that is not there: environments, statements, operations, tools, types of resources.

RULE: a name nobody knows is told with its line and the nearest known one, before any case is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from toolgate.core.bundle import Bundle, Problem
from toolgate.core.catalog import Operation
from toolgate.core.model import Json, Named
from toolgate.load.models import did_you_mean
from toolgate.testing.cases import Case, Suite, runs_in, unknown_type
from toolgate.testing.running import Served

_UNKNOWN: Final = "tool.unknown"


def environments_of(suite: Suite, own: str, every: Sequence[str]) -> tuple[tuple[str, ...], list[Problem]]:
    """Return the environments a suite is decided in, in the order of `every`, and each name that is none."""
    problems: list[Problem] = []
    named: set[str] = set()
    for case in suite.cases:
        for name in runs_in(case, own, every):
            if name not in every:
                problems.append(_unknown_environment(case, name, every))
            named.add(name)
    return tuple(name for name in every if name in named), sorted(set(problems))


def strangers(suite: Suite, served: Iterable[Served]) -> list[Problem]:
    """Return what cases name that no environment knows: statements, operations, tools and types of resources."""
    every = tuple(served)
    statements = {name for each in every for name in each.bundle.policies.statements}
    operations = [operation for each in every for operation in _operations(each.bundle)]
    keys = {operation.key for operation in operations}
    names = {operation.name for operation in operations}
    tools = {name for each in every for name in each.bundle.tools}
    budgets = {budget.name for each in every for budget in each.bundle.budgets.budgets}
    limits = {limit.name for each in every for limit in each.bundle.budgets.limits}
    types = {at.type for operation in operations for at in operation.resources} | {
        kind for each in every for kind in each.types
    }
    problems = [problem for kind, problem in suite.types.items() if kind not in types]
    problems += _attributes(suite, every)
    for case in suite.cases:
        run, written = case.written.entry.facts.run, case.written.entry.facts
        problems += _not_among(case, ("want", "statements"), case.want.get("statements") or (), statements, "statement")
        would = case.written.entry.want.would
        listed = (would.statements if would else None) or ()
        problems += _not_among(case, ("want", "would", "statements"), listed, statements, "statement")
        problems += _not_among(case, ("facts", "run", "completed"), run.completed, keys, "operation")
        problems += _not_among(case, ("facts", "run", "by_operation"), run.by_operation, keys, "operation")
        problems += _called(case, keys, names)
        problems += _not_among(case, ("facts", "unready"), written.unready, tools, "tool")
        problems += _not_among(case, ("facts", "taken"), written.taken, budgets, "budget")
        problems += _uncounted(case, written.taken, every)
        problems += _not_among(case, ("facts", "running"), written.running, limits, "limit")
        problems += _not_among(case, ("facts", "wait_s"), written.wait_s, limits, "limit")
        problems += [
            unknown_type(kind, case.file, case.written.line("facts", "resources", kind))
            for kind in written.resources
            if kind not in types
        ]
    return sorted(set(problems))


def _attributes(suite: Suite, every: Sequence[Served]) -> Iterator[Problem]:
    """Attributes no catalogue has: statements cannot read them, so a case would test what never is."""
    shapes = [shape for each in every for by_type in each.bundle.shapes.values() for shape in by_type.items()]
    known: dict[str, set[str]] = {}
    for kind, fields in shapes:
        known.setdefault(kind, set()).update(fields.members)
    for kind in {kind for kind, fields in shapes if not fields.members}:
        del known[kind]  # somewhere nothing is said of them
    given = [(kind, name, *place) for (kind, name), place in suite.attributes.items()]
    for case in suite.cases:
        for kind, listed in case.written.entry.facts.resources.items():
            for at, name in ((at, name) for at, attributes in listed.items() for name in attributes):
                line = case.written.line("facts", "resources", kind, at, name)
                given.append((kind, name, case.file, line))
    for kind, name, file, line in given:
        if kind in known and name not in known[kind]:
            hint = (
                did_you_mean(name, known[kind])
                or f"; there are {', '.join(f'`{each}`' for each in sorted(known[kind]))}"
            )
            yield Problem(
                file, line, "case.attribute", f"no catalogue says `{name}` of resources of the type `{kind}`{hint}"
            )


def _uncounted(case: Case, taken: Mapping[str, Json], every: Sequence[Served]) -> Iterator[Problem]:
    """Amounts of what a budget does not give would be told of nothing."""
    gives: dict[str, set[str]] = {}
    for budget in (budget for each in every for budget in each.bundle.budgets.budgets):
        gives.setdefault(budget.name, set()).add(budget.dimension)
    for name, amounts in taken.items():
        for dimension in amounts if isinstance(amounts, dict) and name in gives else ():
            if dimension not in gives[name]:
                has = ", ".join(f"`{each}`" for each in sorted(gives[name]))
                message = f"the budget `{name}` gives no `{dimension}`; it gives {has}"
                yield case.problem(("facts", "taken", name, dimension), "case.budget", message)


def _called(case: Case, keys: set[str], names: set[str]) -> Iterator[Problem]:
    """What nobody knows is refused, so that a case which wants a no would pass; `tool.unknown` says it is meant."""
    asked = case.asked.operation if isinstance(case.asked, Named) else None
    if asked is None or asked in keys or asked in names or case.want.get("refusal") == _UNKNOWN:
        return
    meant = did_you_mean(asked, sorted(keys)) or f"; if that is the point, write `want: {{refusal: {_UNKNOWN}}}`"
    yield case.problem(("call", "operation"), "case.operation", f"there is no operation `{asked}`{meant}")


def _operations(bundle: Bundle) -> Iterator[Operation]:
    yield from bundle.catalog.operations.values()
    yield from bundle.catalog.elsewhere


def _not_among(
    case: Case, place: tuple[str, ...], named: Iterable[str], known: set[str], noun: str
) -> Iterator[Problem]:
    for name in named:
        if name not in known:
            message = f"there is no {noun} `{name}`{did_you_mean(name, sorted(known))}"
            yield case.problem((*place, name), f"case.{noun}", message)


def _unknown_environment(case: Case, name: str, every: Sequence[str]) -> Problem:
    listed = ", ".join(f"`{each}`" for each in every)
    hint = did_you_mean(name, every)
    return case.problem(
        ("environment",),
        "environment.unknown",
        f"the environment `{name}` is not one of `environments`: {listed}{hint}",
    )
