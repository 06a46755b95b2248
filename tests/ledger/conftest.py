"""Every contract test runs over every kind of ledger."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite://{tmp_path / 'ledger.db'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a file ledger will be."""
    return tmp_path / "ledger.db"
