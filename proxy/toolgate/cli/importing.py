"""Importing without looking for garbage meanwhile.

RULE: only around imports. What they make lives as long as the process, and looking through it again and again takes a
twentieth of the gate's start.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unswept() -> Iterator[None]:
    """Keep the collector still, and what came of the block out of its sight for good."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
