"""One authenticator to try tokens on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.auth.idp import World, world


@pytest.fixture
def corp_world(tmp_path: Path) -> World:
    return world(tmp_path)
