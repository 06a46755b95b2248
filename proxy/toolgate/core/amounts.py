"""Amounts: whole micro-units inside, decimal strings outside.

RULE: exact or not at all. What a file says must be a whole number of micro-units; what a reply says is rounded up.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

from toolgate.core.model import Json

MICRO: Final = 1_000_000
MOST: Final = 10**15  # of any amount, in micro-units: a thousand million units; sums of many fit 64 bits
COUNTED: Final = frozenset({"calls", "bytes", "seconds"})  # whole as they are; every other dimension is in micro-units
_SIX: Final = Decimal(MICRO)
_LONGEST: Final = 64  # characters of a number a reply says
_MOST_BITS: Final = 128
_TINY: Final = Decimal("1e-9")  # stands for anything that small: it is rounded up all the same
_NUMBER: Final = re.compile(r"-?0(?:\.0+)?(?:[eE][+-]?[0-9]+)?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch


def exactly(value: Json) -> int | None:
    """Return a written amount in micro-units: a number or a decimal text. None where it is none, or not a whole number."""
    decimal = _decimal(value)
    if decimal is None:
        return None
    micro = decimal * _SIX
    return int(micro) if micro == micro.to_integral_value() else None


def at_most(value: Json) -> int | None:
    """Return what a reply or an argument says in micro-units, rounded up; None where it says no amount."""
    decimal = _decimal(value)
    if decimal is None:
        return None
    return int((decimal * _SIX).to_integral_value(ROUND_CEILING)) if decimal < MOST // MICRO else MOST


def text_of(dimension: str, amount: int) -> str:
    """Write an amount of a dimension as people do: `0.5`, `50`."""
    if dimension in COUNTED:
        return str(amount)
    whole, part = divmod(abs(amount), MICRO)
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole}.{part:06}".rstrip("0").rstrip(".")


def _decimal(value: Json) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # Python writes no number of thousands of digits
        return Decimal(MOST) if value > 0 else None
    written = str(value)
    if len(written) > _LONGEST or not _NUMBER(written):
        return None
    decimal = Decimal(written)
    # SECURITY: an exponent is bounded before anything is multiplied by it.
    if decimal and not -_LONGEST < decimal.adjusted() < _LONGEST:
        return Decimal(MOST) if decimal.adjusted() > 0 else _TINY
    return decimal
