"""Importing a command: the collector keeps still meanwhile, and not a moment longer."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from toolgate.cli.importing import unswept


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_the_collector_keeps_still_in_the_block_only():
    """Afterwards it looks again, also where the import failed."""
    with unswept():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), unswept():
        raise ImportError("no such module")
    assert gc.isenabled()


def test_whoever_keeps_it_still_keeps_it_still():
    """A collector that was off stays off."""
    gc.disable()
    with unswept():
        pass
    assert not gc.isenabled()


def test_a_gate_imports_only_what_it_needs():
    """What a start pays for: no library of a store, tokens, a second event loop's layer, or of printing tables."""
    loaded = (
        "import sys, toolgate.app, toolgate.cli.serve; from toolgate.settings import Settings;"
        " print(*(name for name in ('redis', 'jwt', 'cryptography', 'cedarpy', 'anyio._backends._asyncio',"
        " 'toolgate.settings.store', 'toolgate.ledger.redis.script') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)

    assert done.stdout.split() == []
