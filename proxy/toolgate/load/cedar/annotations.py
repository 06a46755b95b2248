"""What stands before a statement: `@id @reason @hint @approval @mode`, and the statement they make.

RULE: an annotation nobody reads is a problem, because somebody believes that it says something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from cedarpy import pst

from toolgate.core.bundle import Problem
from toolgate.core.policy import Statement
from toolgate.load.cedar.lexer import Source
from toolgate.load.cedar.syntax import problem
from toolgate.load.models import did_you_mean
from toolgate.load.yaml import UNSEEN

KNOWN: Final = ("id", "reason", "hint", "approval", "mode")
MAX_TEXT: Final = 1_000  # of a reason or a hint
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_ROLE: Final = re.compile(r"[^\s`\"]{1,128}")
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_LOOSE: Final = re.compile(r"[\t\n\r]")


def statement_of(source: Source, template: pst.Template) -> Statement:
    """Return the statement; its annotations are judged by `annotation_problems`."""
    said = template.annotations
    name = said.get("id") or f"{_ODD.sub('_', source.name)}:{source.mark}"
    return Statement(
        id=name,
        effect=template.effect,
        file=source.file,
        line=source.line,
        text=source.text,
        template=replace(template, id=name),
        reason=said.get("reason"),
        hint=said.get("hint"),
        approval=said.get("approval"),
        audit=said.get("mode") == "audit",
    )


def annotation_problems(source: Source, template: pst.Template) -> Iterator[Problem]:
    """What is wrong with the annotations of one statement."""
    for name, text in template.annotations.items():
        wrong = _wrong(name, text, template.effect)
        if wrong:
            code = "policy.id" if name == "id" else "policy.annotation"
            yield problem(source, _place(source, name), code, wrong)


def repeated_ids(statements: Iterable[tuple[Source, Statement]]) -> Iterator[Problem]:
    """Statements that carry the id of one before them."""
    first: dict[str, Source] = {}
    for source, statement in statements:
        other = first.setdefault(statement.id, source)
        if other is not source:
            message = f"the id `{statement.id}` is taken by the statement at {other.file}:{other.line}"
            yield problem(source, _place(source, "id"), "policy.duplicate_id", f"{message}; an id names one statement")


def _place(source: Source, name: str) -> int:
    """Where an annotation stands in the statement's text."""
    previous = None
    for token in source.tokens():
        if previous is not None and token.text == name:
            return previous
        previous = token.start if token.text == "@" else None
    return 0


def _wrong(name: str, text: str, effect: str) -> str | None:
    match name:
        case "id":
            return None if _ID.fullmatch(text) else _wrong_id(text)
        case "reason" | "hint":
            return _wrong_text(name, text)
        case "approval":
            return _wrong_approval(text, effect)
        case "mode":
            return None if text == "audit" else '`@mode` is `"audit"`, or left out: then the statement is enforced'
        case _:
            known = [f"@{each}" for each in KNOWN]
            meant = did_you_mean(f"@{name}", known) or f"; there are {', '.join(f'`{each}`' for each in known)}"
            return f"`@{name}` is not known{meant}"


def _wrong_id(text: str) -> str:
    if not text:
        return '`@id` is empty; give it a name, as in `@id("critical-metrics-stay")`, or leave it out'
    return "an id is at most 128 letters, digits, `.`, `_` and `-`, such as `critical-metrics-stay`"


def _wrong_text(name: str, text: str) -> str | None:
    if not text.strip():
        return f"`@{name}` is empty; say something, or leave it out"
    if len(text) > MAX_TEXT:
        return f"`@{name}` is longer than {MAX_TEXT:,} characters; agents and people read it in one line"
    if UNSEEN.search(text) or _LOOSE.search(text):
        return f"`@{name}` holds a line break or an invisible character; write it in one line"
    return None


def _wrong_approval(text: str, effect: str) -> str | None:
    if effect == "permit":
        return "`@approval` stands on a `forbid`: what it forbids, a person may grant; a permit needs nobody"
    if not _ROLE.fullmatch(text) or UNSEEN.search(text):
        return '`@approval` names the role of those who may grant it, as in `@approval("oncall")`'
    return None
