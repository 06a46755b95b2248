"""A project's cases over its own bundles: what the command, the pytest plugin and `diff` run.

RULE: what was asked for and found nothing is a problem, never an empty success; and cases judge what policies say, so
they are decided in mode enforce, whatever the settings' own mode is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolgate.core.bundle import BundleError, Problem
from toolgate.load.bundle import load
from toolgate.settings.identity import anonymous_of
from toolgate.settings.sources import shortest, sources_of
from toolgate.testing.cases import Suite, read_suite
from toolgate.testing.running import Served, Setting
from toolgate.testing.strangers import environments_of, strangers

if TYPE_CHECKING:
    from toolgate.settings import Settings

TESTS: Final = "tests"
_NO_CASES: Final = "holds no cases; write a `NAME.yaml` there with `- {note: …, call: {…}, want: {…}}`"


@dataclass(frozen=True, slots=True)
class Ready:
    """A suite with everything it is decided by."""

    suite: Suite
    setting: Setting
    left_out: int  # cases of other environments than the one that was asked for


def tests_folder(settings: Settings) -> Path:
    return shortest(settings.policies) / TESTS


def ready(settings: Settings, places: Sequence[Path], *, only: str | None = None, text: str = "") -> Ready:
    """Read the cases of `places` (default: the policies' tests) and load every environment they are decided in.

    `only`: decide in this environment alone. `text`: keep the cases whose file or note holds it. Raises BundleError.
    """
    folder = tests_folder(settings)
    asked = [_cases_in(place, settings) for place in places] or [folder]
    suite = read_suite(asked, folder)
    if not suite.cases:
        raise BundleError([Problem(str(asked[0]), 0, "case.none", _NO_CASES)])
    chosen = _holding(suite, text)
    names, problems = environments_of(chosen, settings.environment, settings.environments)
    served = tuple(name for name in names if only in (None, name))
    if not served:
        raise BundleError(problems or [_nothing_in(only or settings.environment, folder)])
    setting = setting_of(settings, served)
    problems += [*strangers(suite, setting.served.values()), *nameless(chosen, setting)]
    if problems:
        raise BundleError(problems)
    return Ready(chosen, setting, sum(not setting.serving(case) for case in chosen.cases))


def suite_of(settings: Settings) -> Suite:
    """Read the cases of the policies' tests; without any, the suite is empty. Raises BundleError."""
    folder = tests_folder(settings)
    return read_suite([folder], folder) if folder.is_dir() else Suite(())


def setting_of(settings: Settings, environments: Sequence[str]) -> Setting:
    """Load each of the environments. Raises BundleError with the problems of all of them."""
    sources = replace(sources_of(settings), mode="enforce")
    served: dict[str, Served] = {}
    problems: list[Problem] = []
    for name in environments:
        try:
            served[name] = Served.of(load(replace(sources, environment=name)))
        except BundleError as error:
            problems += error.problems
    if problems:
        raise BundleError(problems)
    anonymous = anonymous_of(settings) if settings.identity.serves_anonymous else None
    return Setting(served, settings.environment, anonymous)


def nameless(suite: Suite, setting: Setting) -> list[Problem]:
    """Return the problem of each case that names nobody where nobody is served without a token."""
    if setting.anonymous is not None:
        return []
    message = "names nobody, and without a token nobody is served: name a `principal`, or set `identity.anonymous`"
    return [case.problem(("call",), "case.principal", message) for case in suite.cases if case.principal is None]


def watched(settings: Settings, places: Sequence[Path]) -> Iterator[Path]:
    """The folders whose changes may change a result."""
    yield settings.toolspecs
    yield settings.policies
    yield from (place if place.is_dir() else place.parent for place in places)


def _cases_in(place: Path, settings: Settings) -> Path:
    """The policies folder holds policies beside its tests; whoever names it means these."""
    is_policies = place.is_dir() and place.resolve() == settings.policies.resolve()
    return place / TESTS if is_policies else place


def _holding(suite: Suite, text: str) -> Suite:
    if not text:
        return suite
    kept = tuple(case for case in suite.cases if text.casefold() in f"{case.file}: {case.name}".casefold())
    if not kept:
        raise BundleError([Problem("-k", 0, "case.none", f"no case has `{text}` in its file or note")])
    return replace(suite, cases=kept)


def _nothing_in(environment: str, folder: Path) -> Problem:
    message = f"no case is decided in `{environment}`; name it under `environment:`, or leave `--environment` out"
    return Problem(str(folder), 0, "case.none", message)
