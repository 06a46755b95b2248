"""`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): what governs a call, and what is left of it.

RULE: structured fields (RFC 9651) with registered quota units only; whole seconds, rounded up, so that nobody who waits
that long comes too early.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

from toolgate.core.quota import Rule, Standing, Told

_MOST: Final = 10**15 - 1  # an Integer has at most 15 digits (RFC 9651 §3.3.1)


class _Form(NamedTuple):
    """The lines, with places for what changes from call to call."""

    lines: str
    waits: tuple[int, ...]  # by place: the seconds until there is more, where they are not always the same
    large: tuple[int, ...]  # and what may be more than can be written


def ratelimit_lines(standing: Standing | None) -> str:
    """The header lines of an answer; nothing where nothing governs the call."""
    if standing is None:
        return ""
    lines, waits, large = _form(standing.told)
    said = standing.figures()
    figures: list[object] = list(said)
    for at in waits:
        figures[at] = _wait(said[at])
    for at in large:
        figures[at] = min(said[at] or 0, _MOST)
    return lines % tuple(figures)


@lru_cache(maxsize=1024)  # INVARIANT: bounded; as many as there are accounts, each of which has one `Told`
def _form(told: Told) -> _Form:
    limits: list[str] = []
    waits: list[int] = []
    large: list[int] = []
    at = 0
    for rule, _ in told.rules:
        limits.append(_plain(f'"{rule.name}";r=') + "%d" + ("%s" if rule.moves else _wait(rule.again_s)))
        if rule.given > _MOST:
            large.append(at)
        if rule.moves:
            at += 1
            waits.append(at)
        at += 1
    policies = _plain(", ".join(_policy(rule) for rule, _ in told.rules))
    lines = f"RateLimit-Policy: {policies}\r\nRateLimit: {', '.join(limits)}\r\n"
    return _Form(lines, tuple(waits), tuple(large))


def _wait(again_s: float | None) -> str:
    return "" if again_s is None else f";t={ceil(again_s)}"


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _policy(rule: Rule) -> str:
    unit = "" if rule.unit == "requests" else f';qu="{rule.unit}"'
    window = "" if rule.window_s is None else f";w={max(ceil(rule.window_s), 1)}"
    return f'"{rule.name}";q={min(rule.given, _MOST)}{unit}{window}'
