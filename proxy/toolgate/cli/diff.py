"""`toolgate diff`: what a change of configuration changes for those who call.

RULE: it compares answers, not files: both sides are loaded whole and asked the same questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.console import counted, paint, printable
from toolgate.cli.options import load_settings
from toolgate.cli.revision import checked_out
from toolgate.core.bundle import BundleError, Problem

if TYPE_CHECKING:
    from toolgate.testing.bounds import BoundChange
    from toolgate.testing.comparison import AccessChange, CaseChange, Comparison, OperationChange, Side
    from toolgate.testing.inventory import ResourceChange

_SETTINGS_FILE: Final = "toolgate.yaml"
_LISTED: Final = 10  # names of one change, as text
_EXAMPLES: Final = (
    "toolgate diff gate/ new-gate/",
    "toolgate diff --git HEAD",
    "toolgate diff --git origin/main gate/ --role oncall",
    "toolgate diff old/toolgate.yaml new/toolgate.yaml -e prod --json",
)


@click.command("diff", cls=Command, examples=_EXAMPLES)
@click.option("--git", "revision", metavar="REV", help="Compare with this revision of the project's own repository.")
@click.option("--environment", "-e", metavar="NAME", help="Compare in this environment only.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="NAME",
    help="Also ask as a principal that has this role; may be repeated.",
)
@click.argument("places", nargs=-1, metavar="[OLD] NEW", type=click.Path(path_type=Path))
def command(revision: str | None, environment: str | None, roles: tuple[str, ...], places: tuple[Path, ...]) -> None:
    """Say what changes from OLD to NEW: who is let in and may call what, what operations are, what exists and may be spent,
    how cases end.

    OLD and NEW are folders with a toolgate.yaml, or settings files. With --git, OLD is the project NEW as it was at REV,
    and NEW is the working folder when left out. Asked are the principals of the cases' fixtures, the anonymous one, and
    those of --role. Exits with 0 when nothing changes, 1 when something does.
    """
    with ExitStack() as stack:
        old, new = _places(revision, places, stack)
        before = _side(old, environment, f"{revision}:" if revision else "")
        after = _side(new, environment, "")
        from toolgate.testing.comparison import compare  # noqa: PLC0415 - the loader; `--help` does without

        found = compare(before, after, roles)
        _tell(found)
    if not found.is_empty:
        raise click.exceptions.Exit(NO)


def _places(revision: str | None, places: tuple[Path, ...], stack: ExitStack) -> tuple[Path, Path]:
    """The settings files of both sides."""
    if revision is None:
        if len(places) != 2:  # noqa: PLR2004 - OLD and NEW
            raise click.UsageError(
                "name two configurations (`toolgate diff OLD NEW`) or a revision (`toolgate diff --git HEAD`)"
            )
        return _settings_file(places[0]), _settings_file(places[1])
    if len(places) > 1:
        raise click.UsageError("with `--git` name NEW only: OLD is what it was at the revision")
    new = _settings_file(places[0] if places else Path())
    copy = stack.enter_context(checked_out(revision, new.parent))
    return copy / new.name, new


def _settings_file(place: Path) -> Path:
    return place / _SETTINGS_FILE if place.is_dir() else place


def _side(settings_file: Path, environment: str | None, shown: str) -> Side:
    """Load one side. Raises BundleError; `shown` stands for the copy of a revision in its problems."""
    from toolgate.settings.identity import identity_of  # noqa: PLC0415 - pydantic; as above
    from toolgate.testing.comparison import Side  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.testing.project import setting_of, suite_of  # noqa: PLC0415

    try:
        settings = load_settings(str(settings_file), (), environment=environment).settings
        names = (environment,) if environment else settings.environments
        return Side(setting_of(settings, names), suite_of(settings), identity_of(settings))
    except BundleError as broken:
        if not shown:
            raise
        copy = f"{settings_file.parent}/"
        raise BundleError(
            Problem(each.path.replace(copy, shown), each.line, each.code, each.message.replace(copy, shown))
            for each in broken.problems
        ) from None


def _tell(found: Comparison) -> None:
    if console.wants_json():
        console.emit(_json(found))
        return
    for line in _lines(found):
        console.say(line)
    if found.is_empty:
        console.say(f"{paint('ok', 'green')}: nothing that is compared changes")


def _lines(found: Comparison) -> Iterator[str]:
    yield from _section("environments", (f"{name}: {what}" for name, what in found.environments))
    yield from _section("identity", (f"{what}: {old} → {new}" for what, old, new in found.identity))
    statements = (f"{what:<8} `{name}` ({place})" for name, what, place in found.statements)
    yield from _section("statements", statements)
    yield from _section("operations", _operation_lines(found.operations))
    yield from _section("resources", map(_resource_line, found.resources))
    yield from _section("budgets", map(_bound_line, found.bounds))
    yield from _section("access", _access_lines(found.access))
    yield from _section("cases", _case_lines(found.cases))


def _section(heading: str, lines: Iterable[str]) -> Iterator[str]:
    every = [printable(line) for line in lines]
    if every:
        yield paint(heading, "bold")
        yield from (f"  {line}" for line in every)
        yield ""


def _operation_lines(changes: Iterable[OperationChange]) -> Iterator[str]:
    """Operations that change alike, together."""
    by_change = sorted(changes, key=lambda each: (each.environment, each.what))
    for (environment, what), group in groupby(by_change, key=lambda each: (each.environment, each.what)):
        yield f"in {environment}: {'; '.join(what)}: {_some([each.operation for each in group])}"


def _resource_line(change: ResourceChange) -> str:
    listed = f": {_some(list(change.ids))}" if change.ids else ""
    return f"in {change.environment}, {change.type} of {change.tool}: {change.what}{listed}"


def _bound_line(change: BoundChange) -> str:
    return f"in {change.environment}, {change.bound}: {change.old} → {change.new}"


def _access_lines(changes: Iterable[AccessChange]) -> Iterator[str]:
    def alike(change: AccessChange) -> tuple[str, str, str, str]:
        return change.environment, change.principal, change.old, change.new

    for (environment, principal, old, new), group in groupby(sorted(changes, key=alike), key=alike):
        yield f"in {environment}, {principal}: {old} → {new}: {_some([each.operation for each in group])}"


def _case_lines(changes: Iterable[CaseChange]) -> Iterator[str]:
    from toolgate.testing.telling import decision_told  # noqa: PLC0415 - the loader; `--help` does without

    for case, environment, old, new in changes:
        yield f"{case.name}, in {environment} ({case.file}:{case.line})"
        yield f"    was  {decision_told(old)}"
        yield f"    is   {decision_told(new)}"


def _some(names: list[str]) -> str:
    more = f" and {counted(len(names) - _LISTED, 'more', 'more')}" if len(names) > _LISTED else ""
    return f"{', '.join(f'`{name}`' for name in names[:_LISTED])}{more}"


def _json(found: Comparison) -> dict[str, Any]:
    from toolgate.testing.telling import decision_json  # noqa: PLC0415 - the loader; `--help` does without

    return {
        "changed": not found.is_empty,
        "environments": [{"environment": name, "what": what} for name, what in found.environments],
        "identity": [each._asdict() for each in found.identity],
        "statements": [each._asdict() for each in found.statements],
        "operations": [each._asdict() for each in found.operations],
        "resources": [each._asdict() for each in found.resources],
        "budgets": [each._asdict() for each in found.bounds],
        "access": [each._asdict() for each in found.access],
        "cases": [
            {
                "file": each.case.file,
                "line": each.case.line,
                "note": each.case.note,
                "matrix": each.case.label or None,
                "environment": each.environment,
                "old": decision_json(each.old),
                "new": decision_json(each.new),
            }
            for each in found.cases
        ],
    }
