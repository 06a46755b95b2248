"""A bundle to plan against, loaded once."""

from __future__ import annotations

import pytest
from tests.support.plans import loaded, project, with_rules

from toolgate.core.bundle import Bundle


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return loaded(project(tmp_path_factory.mktemp("plans")))


@pytest.fixture
def bundle(plain: Bundle) -> Bundle:
    return with_rules(plain, required_effects=frozenset({"write", "destructive"}), free=frozenset({"m.list"}))
