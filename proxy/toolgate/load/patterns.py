"""Patterns: which engine can run a vendor's regular expression, and how it must be spelled for it.

RULE: linear time first. What only a backtracking engine can run is bounded in steps and in input, and is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import jsonschema_rs

BACKTRACKS: Final = 50_000
LONGEST_INPUT: Final = 1024  # characters given to a backtracking pattern
KEYWORD: Final = "x-toolgate-pattern"
_CLASS_THEN_HYPHEN: Final = re.compile(r"(\\[dDwWsS])-(?!\])")
_ANCHORS: Final = (("\\A", "^"), ("\\Z", "$"), ("\\z", "$"))


@dataclass(frozen=True, slots=True)
class Pattern:
    """How a pattern is enforced: in linear time, by bounded backtracking, or not at all."""

    engine: Literal["linear", "backtracking", "none"]
    text: str


class Patterns:
    """Decides each pattern of a document once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Pattern] = {}

    def find(self, text: str) -> Pattern:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = _decide(text)
        return known


def _decide(text: str) -> Pattern:
    spellings = tuple(dict.fromkeys((text, _respelled(text))))
    for spelling in spellings:
        if _compiles(spelling, jsonschema_rs.RegexOptions()):
            return Pattern("linear", spelling)
    for spelling in spellings:
        if _compiles(spelling, _fancy()):
            return Pattern("backtracking", spelling)
    return Pattern("none", text)


def _respelled(text: str) -> str:
    """Write what other dialects allow (a hyphen after a class, Python's anchors) as ECMA-262 has it."""
    text = _CLASS_THEN_HYPHEN.sub(r"\1\\-", text)
    for anchor, plain in _ANCHORS:
        if text.find(anchor) >= 0 and not re.search(r"\\\\" + re.escape(anchor), text):
            text = text.replace(anchor, plain)
    return text


def _fancy() -> jsonschema_rs.FancyRegexOptions:
    return jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS)


def _compiles(text: str, options: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions) -> bool:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": text}, pattern_options=options, offline=True)
    except ValueError:
        return False
    return True


class Backtracking:
    """The keyword of a pattern that needs backtracking: short inputs only, few steps only."""

    def __init__(self, _parent: dict[str, object], value: str, _path: list[str | int]) -> None:
        self._text = value
        self._compiled = jsonschema_rs.Draft202012Validator({"pattern": value}, pattern_options=_fancy(), offline=True)

    def validate(self, instance: object) -> None:
        """Raise ValueError with the pattern when a text does not match it, or is too long to be tried."""
        if isinstance(instance, str) and (len(instance) > LONGEST_INPUT or not self._compiled.is_valid(instance)):
            raise ValueError(self._text)
