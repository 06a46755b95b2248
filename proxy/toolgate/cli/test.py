"""`toolgate test`: run the cases of the policies folder, and say what failed and what was never tested.

RULE: no cases is an error: a suite that silently tests nothing is the one nobody notices.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from toolgate.cli import console
from toolgate.cli.command import TESTS_FAILED, Command
from toolgate.cli.options import load_settings, settings_options
from toolgate.cli.verdicts import tell
from toolgate.core.bundle import BundleError

if TYPE_CHECKING:
    from toolgate.settings import Settings
    from toolgate.testing.coverage import Coverage

SETTINGS_FILE: Final = "toolgate.yaml"
_EXAMPLES: Final = (
    "toolgate test",
    "toolgate test policies/tests/metrics.yaml -k critical",
    "toolgate test -e staging --coverage --fail-under 90",
    "toolgate test --junit report.xml",
    "toolgate test --watch",
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to run, and how to tell it."""

    config: str | None
    environment: str | None
    assignments: tuple[str, ...]
    places: tuple[Path, ...]
    text: str | None
    junit: Path | None
    coverage: bool
    fail_under: int | None


@click.command("test", cls=Command, examples=_EXAMPLES)
@settings_options
@click.option("-k", "text", metavar="TEXT", help="Run only cases whose file or note holds TEXT.")
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML.")
@click.option("--coverage", is_flag=True, help="Also say which statements, codes and operations were never tested.")
@click.option(
    "--fail-under",
    type=click.IntRange(0, 100),
    metavar="N",
    help="Fail when less than N % of the statements decided a case.",
)
@click.option("--watch", is_flag=True, help="Run again whenever a policy, a toolspec or a case changes.")
@click.argument("places", nargs=-1, metavar="[DIR|FILE]...", type=click.Path(path_type=Path))
def command(  # noqa: PLR0913 - each is an option of the command line
    *,
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    text: str | None,
    junit: Path | None,
    coverage: bool,
    fail_under: int | None,
    watch: bool,
    places: tuple[Path, ...],
) -> None:
    """Run the cases of `policies/tests`, or of the files and folders given.

    A case is decided in the environments it or its file names, else in the settings' own; with --environment, only
    there. Exits with 0 when all passed, 4 when a case failed, 2 when something is wrong with the configuration or the
    cases, or when there are none.
    """
    asked = _Asked(config, environment, assignments, places, text, junit, coverage, fail_under)
    if watch:
        asyncio.run(_watched(asked))
        return
    if not _run(asked):
        raise click.exceptions.Exit(TESTS_FAILED)


def _run(asked: _Asked) -> bool:
    """Run once and tell; return whether everything passed."""
    from toolgate.testing.coverage import coverage  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.testing.junit import as_junit  # noqa: PLC0415
    from toolgate.testing.project import ready  # noqa: PLC0415
    from toolgate.testing.running import run  # noqa: PLC0415

    settings, places = _project(asked)
    found = ready(settings, places, only=asked.environment, text=asked.text or "")
    results = tuple(run(found.suite, found.setting, time.perf_counter))
    wants_coverage = asked.coverage or asked.fail_under is not None
    shown = coverage(results, found.setting.served.values()) if wants_coverage else None
    if asked.junit is not None:
        asked.junit.write_bytes(as_junit(results))
    tell(results, shown, found.left_out)
    return all(result.passed for result in results) and _is_enough(shown, asked.fail_under)


def _is_enough(shown: Coverage | None, least: int | None) -> bool:
    if shown is None or least is None or shown.percent >= least:
        return True
    console.failure(f"{shown.percent} % of the statements decided a case; `--fail-under` asks for {least} %")
    return False


def _project(asked: _Asked) -> tuple[Settings, tuple[Path, ...]]:
    """The settings, and what to run; a folder with a toolgate.yaml is a project, as `check` takes it."""
    config, places = asked.config, asked.places
    if len(places) == 1 and (places[0] / SETTINGS_FILE).is_file():
        config, places = str(places[0] / SETTINGS_FILE), ()
    return load_settings(config, asked.assignments, environment=asked.environment).settings, places


async def _watched(asked: _Asked) -> None:
    """Run, and again after every change, until Ctrl-C. What cannot be loaded is told, and the next change is awaited."""
    from toolgate.reload import watch  # noqa: PLC0415 - watchfiles; only --watch needs it
    from toolgate.testing.project import watched  # noqa: PLC0415 - the loader; `--help` does without

    settings, places = _project(asked)
    changed = asyncio.Event()
    started_ns = time.time_ns()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(set(watched(settings, places)), changed.set, since_ns=started_ns), name="watch")
        while True:
            changed.clear()
            _told_run(asked)
            console.note("waiting for changes; Ctrl-C ends")
            await changed.wait()


def _told_run(asked: _Asked) -> None:
    try:
        _run(asked)
    except BundleError as broken:
        console.problems(broken.problems)
