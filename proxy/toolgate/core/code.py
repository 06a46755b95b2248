"""What one row of the table of codes says.

RULE: the value only; the rows are in `codes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Who: TypeAlias = Literal["agent", "operator", "nobody"]
TYPE_BASE: Final = "https://toolgate.dev/errors/"


@dataclass(frozen=True, slots=True)
class Code:
    """A reason the answer was no. `retryable`: the same call may succeed later, unchanged."""

    code: str
    title: str
    status: int
    who: Who  # who can fix it
    action: str
    hint: str
    meaning: str
    retryable: bool = False

    @property
    def type(self) -> str:
        return TYPE_BASE + self.code
