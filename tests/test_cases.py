"""The golden cases: of the worked example, `tests/cases/ENVIRONMENT/*.yaml` decided by it, and of the projects in `golden/`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from toolgate.core.bundle import Bundle
from toolgate.core.model import Principal
from toolgate.load.bundle import Sources, load
from toolgate.testing.cases import Case, Suite, read_suite, runs_in
from toolgate.testing.coverage import DECIDED_CODES
from toolgate.testing.running import decide
from toolgate.testing.wants import differences

ROOT = Path(__file__).parents[1]
CASES = Path(__file__).parent / "cases"
PAYMENTS = Path(__file__).parent / "golden" / "payments"
ASSISTANT = Path(__file__).parent / "golden" / "assistant"
ENVIRONMENTS = ("dev", "staging", "prod")
DIGEST = Principal("metrics-digest", ("digest",))  # as in toolgate.yaml


def suite_of(folder: Path) -> Suite:
    return read_suite([folder], folder)


# Project, the environment of cases that name none, and the cases.
SUITES = (
    (ROOT, "dev", suite_of(CASES / "dev")),
    (ROOT, "prod", suite_of(CASES / "prod")),
    (ROOT, "prod", suite_of(ROOT / "policies" / "tests")),
    (PAYMENTS, "prod", suite_of(PAYMENTS / "policies" / "tests")),
    (ASSISTANT, "prod", suite_of(ASSISTANT / "policies" / "tests")),
)


@cache
def bundle_of(project: Path, environment: str) -> Bundle:
    return load(Sources(project / "toolspecs", project / "policies", environment, ENVIRONMENTS))


def decided() -> Iterator[tuple[Case, Path, str]]:
    for project, own, suite in SUITES:
        for case in suite.cases:
            for environment in runs_in(case, own, ENVIRONMENTS):
                yield case, project, environment


@pytest.mark.parametrize(
    ("case", "project", "environment"),
    tuple(decided()),
    ids=[f"{Path(case.file).stem}: {case.name} in {environment}" for case, _, environment in decided()],
)
def test_case(case: Case, project: Path, environment: str) -> None:
    """Each case decides as it says."""
    assert () == differences(case.want, decide(case, bundle_of(project, environment), DIGEST))


def test_every_decision_code_occurs_in_a_case() -> None:
    """A code that no case expects is a promise nobody checks; what is no decision is tested where it arises."""
    wanted = {case.want.get("refusal") for _, _, suite in SUITES for case in suite.cases}

    assert set() == set(DECIDED_CODES) - wanted
