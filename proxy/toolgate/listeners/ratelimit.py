"""`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): what governs a call, and what is left of it.

RULE: structured fields (RFC 9651) with registered quota units only; whole seconds, rounded up, so that nobody who waits
that long comes too early.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple, TypeAlias

from toolgate.core.model import Charge, Guard, Pace
from toolgate.core.quota import Rule, Standing, Told, left_of_pace
from toolgate.core.window import Calendar, again_s

_MOST: Final = 10**15 - 1  # an Integer has at most 15 digits (RFC 9651 §3.3.1)
_US_PER_S: Final = 1_000_000

# Where its figure stands, the guard, what is given, when anew. Plain: a NamedTuple takes three times as long to take apart.
_Told: TypeAlias = tuple[int, Guard, int, Calendar | None]


class _Form(NamedTuple):
    """The lines in pieces, with places for what changes from call to call; and what that is."""

    pieces: tuple[str, ...]
    told: tuple[_Told, ...]


def ratelimit_lines(standing: Standing | None) -> str:
    """The header lines of an answer; nothing where nothing governs the call."""
    if standing is None:
        return ""
    of, levels, at_ms = standing
    pieces, told = _form(of)
    lines = list(pieces)
    for at, guard, given, calendar in told:
        if type(guard) is Pace:
            left, again_us = left_of_pace(guard, levels.arrival_us(guard), at_ms)
            if again_us:
                lines[at + 1] = f";t={-(-again_us // _US_PER_S)}"
        else:
            # by what the rule gives: a guard that only counts gives more (`core.charging.uncontrolled`)
            left = given - (levels.taken(guard) if type(guard) is Charge else levels.held(guard))
        if calendar is not None:
            lines[at + 1] = _wait(again_s(calendar, at_ms))
        lines[at] = str(left) if left > 0 else "0"
    return "".join(lines)


@lru_cache(maxsize=1024)  # INVARIANT: bounded; as many as there are accounts, each of which has one `Told`
def _form(of: Told) -> _Form:
    before = f"RateLimit-Policy: {', '.join([_policy(rule) for rule, _ in of.rules])}\r\nRateLimit: "
    pieces: list[str] = []
    told: list[_Told] = []
    for rule, guard in of.rules:
        told.append((len(pieces) + 1, guard, min(rule.given, _MOST), rule.calendar))
        pieces += f'{before}"{rule.name}";r=', "", _wait(rule.again_s)
        before = ", "
    return _Form((*pieces, "\r\n"), tuple(told))


def _wait(again_s: float | None) -> str:
    return "" if again_s is None else f";t={ceil(again_s)}"


def _policy(rule: Rule) -> str:
    unit = "" if rule.unit == "requests" else f';qu="{rule.unit}"'
    window = "" if rule.window_s is None else f";w={max(ceil(rule.window_s), 1)}"
    return f'"{rule.name}";q={min(rule.given, _MOST)}{unit}{window}'
