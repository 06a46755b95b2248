"""What every test may rely on: reproducible properties, and where the vendors' documents are.

RULE: nothing here reads a clock, draws a random number or skips a test.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# `ci` draws the same examples every time, so that a red run is red again.
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dev")


@pytest.fixture(scope="session")
def specs() -> Path:
    """The folder of vendors' OpenAPI documents: $TOOLGATE_SPECS, or `shared/specs` beside the checkout.

    They are other people's files and not part of this repository. A test that needs them fails where they are
    absent, and says what to do.
    """
    folder = Path(os.environ.get("TOOLGATE_SPECS") or ROOT.parent / "shared" / "specs")
    if not folder.is_dir():
        pytest.fail(
            f"no vendors' documents at `{folder}`: put OpenAPI documents there, or name their folder in TOOLGATE_SPECS",
            pytrace=False,
        )
    return folder
