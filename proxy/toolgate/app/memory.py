"""What the garbage collector looks at: not what lives as long as the process, or as the bundle it serves from.

RULE: nothing is collected on the path of a call that could have been taken out of sight before.
"""

from __future__ import annotations

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 50)  # a call allocates little that is cyclic; the default looks every few calls


def begin() -> None:
    """Leave what was imported alone: to look through it once more would take a tenth of the start."""
    gc.set_threshold(*_THRESHOLDS)
    gc.freeze()


def settle() -> None:
    """Take what was loaded out of the collector's sight: a bundle lives until it is replaced."""
    gc.collect()
    gc.freeze()


def settle_anew() -> None:
    """The same once another bundle serves: what the last one was made of is garbage now."""
    gc.unfreeze()
    settle()
