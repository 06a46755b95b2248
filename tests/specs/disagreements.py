"""What the gate and schemathesis still disagree about, class by class, and who is right.

RULE: a disagreement that is in no class fails the test, however few there are. A class is looked at before it is added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Disagreement:
    """One class: what the gate said of its members, and why it stays."""

    name: str
    said: str  # a pattern
    reason: str


DISAGREEMENTS = (
    Disagreement(
        "null without a spelling",
        r"arguments\.invalid: .*`` must be (null or|an array or null|a string or null)",
        "a query has no text for `null` beside objects and arrays; schemathesis sends an empty one",
    ),
    Disagreement(
        "nullable in 3.1",
        r"arguments\.invalid: .*`null` must be",
        "`nullable` is not a keyword of OpenAPI 3.1 (JSON Schema 2020-12 ignores it); schemathesis honours it",
    ),
    Disagreement(
        "integer formats bound numbers",
        r"arguments\.invalid: .* is (less|more) than -?(2147483648|2147483647|9223372036854775807|9223372036854775808)\b",
        "`type: number, format: int32` is bounded by its format (OpenAPI format registry); schemathesis does not know it",
    ),
    Disagreement(
        "decimal",
        r"arguments\.invalid: .* is not in the format `decimal`",
        "`format: decimal` is a number in a text (OpenAPI format registry); schemathesis does not know it",
    ),
    Disagreement(
        "twin keys",
        r"arguments\.malformed: the keys .* of one object differ only in case or composition",
        "keys that many readers take for one are refused (SAFETY, JSON); schemathesis draws both",
    ),
    Disagreement(
        "object in a part that may be text",
        r"arguments\.invalid: `/body/chunking_strategy`: .* must be",
        "a part whose alternatives are text and an object is read as text; the object needs the call by name or brackets",
    ),
    Disagreement(
        "many parts",
        r"arguments\.malformed: the multipart body has more than 32 parts",
        "a multipart body has at most 32 parts (attack D10)",
    ),
    Disagreement(
        "escapes in part names",
        r"arguments\.malformed: a part's Content-Disposition must hold",
        "quotes and backslashes in part names are read differently by every server, so they are refused",
    ),
    Disagreement(
        "map of strings",
        r"accepted: (change_type|negate_constraints) ParameterLocation\.(QUERY|BODY) \('metadata',\) \('(type|anyOf)',\)$",
        "`metadata` of Stripe and OpenAI is an object of strings, written `metadata[key]=text`: a number in it is a text",
    ),
)


def class_of(said: str) -> str | None:
    """Name the class a disagreement is in; None when it is in none."""
    return next((each.name for each in DISAGREEMENTS if re.match(each.said, said)), None)
