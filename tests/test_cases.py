"""The golden cases, decided by the worked example: `tests/cases/ENVIRONMENT/*.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.load.bundle import Sources, load
from toolgate.testing.cases import Case, differences, read_cases

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[1]


@cache
def bundle_of(environment: str) -> Bundle:
    return load(Sources(ROOT / "toolspecs", ROOT / "policies", environment, ("dev", "staging", "prod")))


@pytest.mark.parametrize("case", read_cases(CASES), ids=lambda case: f"{case.file.parent.name}: {case.note}")
def test_case(case: Case) -> None:
    """Each case decides as it says."""
    assert differences(case, bundle_of(case.file.parent.name)) == []


def test_every_decision_code_occurs_in_a_case() -> None:
    """A code that no case expects is a promise nobody checks; what is no decision is tested where it arises."""
    elsewhere = ("request.", "auth.", "upstream.", "gateway.", "internal.", "environment.not_ready")
    decided = {code for code in CODES if not code.startswith(elsewhere)}

    assert decided - {case.want.get("refusal") for case in read_cases(CASES)} == set()
