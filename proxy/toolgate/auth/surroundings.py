"""What authentication needs of the world, passed in: clocks, chance, the log.

RULE: nothing in this package reads a clock or draws a number by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Log(Protocol):
    """The operations log."""

    def info(self, event: str, **data: object) -> object: ...
    def warning(self, event: str, **data: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A steady clock, chance (0 to 1), the log, and where defects are told."""

    monotonic_s: Callable[[], float]
    chance: Callable[[], float]
    log: Log
    defect: Callable[[str, BaseException], None]
