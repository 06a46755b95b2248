"""`toolgate check`: load everything as `serve` would, print every problem at once, and say what is not enforced.

RULE: what passes here starts. Problems are its result, so they go to standard output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from toolgate.cli import console
from toolgate.cli.command import CONFIGURATION, Command
from toolgate.cli.console import counted
from toolgate.cli.options import load_settings, settings_options
from toolgate.cli.project import without_tools
from toolgate.core.bundle import BundleError, Problem
from toolgate.settings.sources import shortest, sources_of

if TYPE_CHECKING:
    from toolgate.core.bundle import Note
    from toolgate.load.report import (
        BudgetsReport,
        DocumentReport,
        LatticeReport,
        PlansReport,
        PolicyReport,
        Report,
        ViewReport,
    )
    from toolgate.settings import Settings

_SHOWN_NOTES: Final = 10
_EXAMPLES: Final = (
    "toolgate check",
    "toolgate check gate/ other-gate/",
    "toolgate check --openapi vendor.json",
    "toolgate check --json | jq '.reports[].documents[].not_understood'",
)


@click.command("check", cls=Command, examples=_EXAMPLES)
@settings_options
@click.option("--openapi", "document", metavar="FILE", help="Check a bare OpenAPI document instead.")
@click.option("--all", "show_all", is_flag=True, help="Print every note of a document, not the first ten.")
@click.argument("folders", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path))
def command(  # noqa: PLR0913 - each is an option of the command line
    *,
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    document: str | None,
    show_all: bool,
    folders: tuple[Path, ...],
) -> None:
    """Load everything and print every problem at once.

    Checks the settings, every toolspec in every environment, and that what is allowed in a narrower environment is
    allowed in the wider ones. Then reports, for every document, what is enforced, what is only reported and what is
    not understood. DIR is a folder with a toolgate.yaml; without it, the settings are found as `serve` finds them.
    """
    most = None if show_all else _SHOWN_NOTES
    if document is not None:
        _check_document(Path(document), most)
        return
    configs: list[str | None] = [str(_settings_file(folder)) for folder in folders] or [config]
    reports: list[tuple[Report, tuple[str, ...]]] = []
    problems: list[Problem] = []
    for each in configs:
        try:
            reports.append(_checked(each, assignments, environment))
        except BundleError as broken:
            problems += broken.problems
    if problems:
        _tell_problems(problems)
    _tell(reports, most)


def _settings_file(given: Path) -> Path:
    return given / "toolgate.yaml" if given.is_dir() else given


def _checked(
    config: str | None, assignments: tuple[str, ...], environment: str | None
) -> tuple[Report, tuple[str, ...]]:
    from toolgate.load.report import check  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.settings.identity import approvers_of, roles_of  # noqa: PLC0415 - pydantic; as above

    loaded = load_settings(config, assignments, environment=environment)
    report = check(sources_of(loaded.settings))
    served = any(view.environment == report.environment for view in report.views)
    warnings = loaded.warnings if served else (*loaded.warnings, without_tools(report.environment))
    refusing = _refusing_all(report.policies, shortest(loaded.settings.policies))
    unanswered = _unanswered(report, loaded.settings, approvers_of(loaded.settings))
    return report, (*warnings, *refusing, *_roles_of_nobody(report.policies, roles_of(loaded.settings)), *unanswered)


def _check_document(path: Path, most: int | None) -> None:
    from toolgate.load.report import check_document  # noqa: PLC0415 - the loader; `--help` does without

    try:
        report = check_document(path)
    except BundleError as broken:
        _tell_problems(broken.problems)
        return
    if console.wants_json():
        console.emit({"documents": [asdict(report)], "problems": []})
        return
    _say(_document_lines(report, most))


def _tell_problems(problems: list[Problem] | tuple[Problem, ...]) -> None:
    """Print what is wrong and end. A problem that several environments share is one problem."""
    console.problems(sorted(set(problems)), to_stderr=False)
    raise click.exceptions.Exit(CONFIGURATION)


def _tell(reports: list[tuple[Report, tuple[str, ...]]], most: int | None) -> None:
    if console.wants_json():
        shown = [{**asdict(report), "warnings": warned} for report, warned in reports]
        console.emit({"problems": [], "reports": shown})
        return
    for report, warned in reports:
        _say(_lines(report, most))
        for warning in warned:
            console.warn(warning)


def _say(lines: Iterator[str]) -> None:
    for line in lines:
        console.say(line)


def _lines(report: Report, most: int | None) -> Iterator[str]:
    for document in report.documents:
        yield from _document_lines(document, most)
        yield ""
    for view in report.views:
        yield _view_line(view)
    yield ""
    yield from (_lattice_line(pair) for pair in report.lattice if pair.effectful)
    yield from _policy_lines(report.policies, report.environment, most)
    yield from _budget_lines(report.budgets)
    yield from _plan_lines(report.plans, report.environment, most)
    yield from _list_lines("  note", list(report.budgets.notes), most)
    yield from _note_lines("not enforced by this version", report.not_enforced, most)
    yield from _note_lines("covers what the catalogue may not tell", report.uncovered, most)
    yield from _note_lines("resources that nothing lists", report.unlisted, most)
    tools, environments = len({view.tool for view in report.views}), len({view.environment for view in report.views})
    yield f"{console.paint('ok', 'green')}: {counted(tools, 'tool')} in {counted(environments, 'environment')}, no problems ({report.revision[:19]})"


def _lattice_line(pair: LatticeReport) -> str:
    """What was proven of two environments of a tool."""
    allowed = f"{counted(pair.effectful, 'operation')} that may change something"
    return f"lattice: {pair.tool}: {pair.narrower} allows {allowed}, all of them allowed in {pair.wider}"


def _policy_lines(policies: PolicyReport, here: str, most: int | None) -> Iterator[str]:
    """What the statements are, and what they cannot do."""
    forbids = policies.statements - policies.permits
    counts = f"{counted(policies.permits, 'permit')}, {counted(forbids, 'forbid')}"
    audit = f"; {policies.audit:,} in audit" if policies.audit else ""
    asks = "asks" if policies.approvals == 1 else "ask"
    approvals = f"; {policies.approvals:,} that {asks} for a person" if policies.approvals else ""
    yield f"policies: {counted(policies.statements, 'statement')} ({counts}){audit}{approvals}"
    idle = [f"{each.path}:{each.line}: `{each.id}`" for each in policies.idle]
    yield from _list_lines("  match nothing in any environment", idle, most)
    for each in policies.environments:
        elsewhere = [f"`{idle.id}`" for idle in each.idle if idle not in policies.idle]
        if each.environment == here:
            yield from _list_lines(f"  match nothing in {here}", elsewhere, most)
        if each.unpermitted and len(each.unpermitted) < each.allowed:
            told = f"  allowed in {each.environment}, and no statement permits it"
            yield from _list_lines(told, [f"`{key}`" for key in each.unpermitted], most)
        for statement, keys in each.for_anyone.items():
            told = f"  `{statement}` permits any principal in {each.environment} what changes something"
            yield from _list_lines(told, [f"`{key}`" for key in keys], most)
    notes = [f"{note.path}: {note.message}" for note in policies.unproven]
    yield from _list_lines("  not proven to be allowed in the wider environment too", notes, most)


def _roles_of_nobody(policies: PolicyReport, possible: frozenset[str] | None) -> Iterator[str]:
    """Warn of roles that nobody can have by these settings: a permit for them permits nothing, a forbid forbids nothing."""
    if possible is None:
        return
    from toolgate.load.models import did_you_mean  # noqa: PLC0415 - pydantic; `--help` does without

    for each in policies.roles:
        if each.role not in possible:
            can = ", ".join(f"`{role}`" for role in sorted(possible)) or "none"
            meant = did_you_mean(each.role, possible) or f"; roles that somebody can have: {can} (`identity`)"
            yield f"{each.path}:{each.line}: nobody can have the role `{each.role}` that `{each.statement}` names{meant}"


def _unanswered(report: Report, settings: Settings, possible: frozenset[str] | None) -> Iterator[str]:
    """Warn of approvals that are asked for and that nobody could give, so that what waits for them is never sent."""
    asked = [(f"{each.path}:{each.line}: `{each.statement}`", each.role) for each in report.policies.approvers]
    asked += [("`approve` of plans.yaml", role) for role in report.plans.approve]
    if not asked:
        return
    if settings.listen.admin is None or settings.asks_operators_for_nothing:
        what = (
            "is `off`" if settings.listen.admin is None else "asks for no token, so that an agent could answer itself"
        )
        yield (
            f"{asked[0][0]} asks for a person's approval, which nobody can give: `listen.admin` {what}; "
            "configure `identity.issuers`"
        )
        return
    for where, role in asked:
        if possible is not None and role not in possible:
            yield (
                f"{where} asks for the approval of the role `{role}`, which nobody can have; "
                "give it to somebody with `identity.issuers[].roles`"
            )


def _budget_lines(budgets: BudgetsReport) -> Iterator[str]:
    if not budgets.budgets and not budgets.limits and not budgets.loops:
        return
    loops = "loops are looked for" if budgets.loops else "loops are not looked for"
    counts = f" ({', '.join(budgets.dimensions)})" if budgets.dimensions else ""
    yield f"budgets: {counted(budgets.budgets, 'budget')}{counts}, {counted(budgets.limits, 'limit')}; {loops}"
    if budgets.by_run_only:
        only = ", ".join(f"`{each}`" for each in budgets.by_run_only)
        yield f"  for each run only: {only}; an agent that opens another run begins anew: add one with `scope: [principal]`"


def _plan_lines(plans: PlansReport, here: str, most: int | None) -> Iterator[str]:
    if not any(asdict(plans).values()):
        return
    orders = f"{counted(plans.orders, 'order')} to keep"
    approved = " and ".join(f"`{console.printable(each)}`" for each in plans.approve)
    yield f"plans: {orders}; {f'each is approved by {approved}' if approved else 'none needs an approval'}"
    yield from _list_lines(f"  called as steps of a plan only, in {here}", [f"`{key}`" for key in plans.required], most)
    yield from _list_lines("  called outside plans", [f"`{key}`" for key in plans.free], most)
    yield from _list_lines("  dropped by no revision for free", [f"`{key}`" for key in plans.kept], most)


def _refusing_all(policies: PolicyReport, folder: Path) -> Iterator[str]:
    """Warn where every call would be refused: nothing is permitted that no statement permits."""
    for each in policies.environments:
        if each.allowed and len(each.unpermitted) == each.allowed:
            why = "no statement permits any operation"
            if not policies.statements:
                why = "there are no policies" if folder.exists() else f"the policies folder `{folder}` is not there"
            yield (
                f"{why}, so every call in `{each.environment}` would be refused; "
                'write one in the policies folder, such as `permit (principal, action in Action::"read", resource);`'
            )


def _list_lines(heading: str, items: list[str], most: int | None) -> Iterator[str]:
    if not items:
        return
    yield f"{heading}: {len(items):,}"
    yield from (f"    {console.printable(item)}" for item in items[:most])
    if most is not None and len(items) > most:
        yield f"    … and {len(items) - most:,} more: `--all` shows them"


def _document_lines(document: DocumentReport, most: int | None) -> Iterator[str]:
    name = console.paint(console.printable(document.path), "bold")
    version = "Swagger 2.0" if document.openapi == "2.0" else f"OpenAPI {document.openapi}"
    yield f"{name}  {console.printable(document.title)} ({version})"
    yield (
        f"  enforced: {counted(document.operations, 'operation')}, {counted(document.parameters, 'parameter')}, "
        f"{counted(document.bodies, 'request body', 'request bodies')}; "
        f"replies of {counted(document.responses, 'operation')} are compared with their schema"
    )
    yield from _note_lines("  only reported", document.reported, most)
    yield from _note_lines("  not understood", document.not_understood, most)


def _note_lines(heading: str, notes: tuple[Note, ...], most: int | None) -> Iterator[str]:
    if not notes:
        return
    yield f"{heading}: {len(notes):,}"
    indent = " " * (len(heading) - len(heading.lstrip()) + 2)
    for note in notes[:most]:
        yield f"{indent}{console.printable(note.pointer or note.path)}: {console.printable(note.message)}"
    if most is not None and len(notes) > most:
        yield f"{indent}… and {len(notes) - most:,} more: `--all` shows them"


def _view_line(view: ViewReport) -> str:
    effects = ", ".join(f"{count:,} {effect}" for effect, count in view.allowed_by_effect.items())
    resources = "".join(f"; {count:,} {kind}" for kind, count in view.resources.items())
    resources += "".join(f"; {kind} as `{name}` lists them" for kind, name in view.live.items())
    where = f" → {view.upstream}" if view.upstream else ""
    return f"{view.tool} in {view.environment}{where}: {view.allowed:,} of {counted(view.operations, 'operation')} allowed ({effects}){resources}"
