"""Our own YAML files, read strictly: one meaning for every reader, and a line for every key.

RULE: what a person reviews is what is loaded. YAML 1.2 core scalars only; anything that two parsers, or a parser and
an eye, could read differently (duplicate and merge keys, tags, invisible characters, `017`) is a problem, not a guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Json

MAX_BYTES: Final = 5 << 20
MAX_DEPTH: Final = 64
MAX_ALIASES: Final = 64
MAX_NODES: Final = 200_000  # aliases counted at what they stand for: 64 of them can still mean 9^7 values
MAX_DIGITS: Final = 40  # longer ones are text
MAX_SHOWN: Final = 64

# SECURITY: control characters, line separators that hide a key from an eye, and bidirectional overrides.
UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_NOT_A_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_OCTAL_LOOKING: Final = re.compile(r"[-+]?0[0-9]+", re.ASCII)
_WORDS: Final[Mapping[str, Json]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAB_HINT: Final = "; indent with spaces, not tabs"
_COLON_HINT: Final = "; put a value that holds `: ` or ends with `:` in quotes"
_BRACE_HINT: Final = "; put a value with braces, such as `${file:PATH}`, in quotes"

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's value, and the line on which each key and list item of it stands."""

    value: Json
    lines: Mapping[Steps, int]

    def line(self, steps: Steps) -> int:
        """Return the line of what stands at `steps`, or of the nearest thing around it; 1 for the file."""
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 1)


def strict_load(path: Path, shown: str | None = None) -> Parsed:
    """Read and parse one of our files; `shown` is what problems call it. Raises BundleError with every problem."""
    shown = str(path) if shown is None else shown
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be opened").lower()
        raise BundleError([Problem(shown, 0, "file.unreadable", f"cannot be read: {reason}")]) from error
    return strict_parse(content, shown)


def strict_parse(content: bytes, shown: str) -> Parsed:
    """Parse the bytes of one of our files. Raises BundleError with every problem."""
    text = _text(content, shown)
    reader = _Reader(shown, yaml.parse(text, Loader=yaml.CSafeLoader))
    try:
        value = reader.document()
    except yaml.MarkedYAMLError as error:
        reader.problems.append(_syntax(error, text, shown))
        value = None
    if reader.problems:
        raise BundleError(reader.problems)
    return Parsed(value, reader.lines)


def _text(content: bytes, shown: str) -> str:
    if len(content) > MAX_BYTES:
        raise BundleError([Problem(shown, 0, "yaml.too_large", f"is larger than {MAX_BYTES >> 20} MiB; split it")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BundleError([Problem(shown, line, "yaml.encoding", "is not UTF-8; save it as UTF-8")]) from error
    unseen = [_unseen(text, match, shown) for match in UNSEEN.finditer(text)]
    if unseen:
        raise BundleError(unseen[:20])
    return text


def _unseen(text: str, match: re.Match[str], shown: str) -> Problem:
    name = f"U+{ord(match.group()):04X}"
    message = f"holds the invisible character {name}, which can hide text from a reader; remove it, or write it escaped in double quotes"
    return Problem(shown, text.count("\n", 0, match.start()) + 1, "yaml.character", message)


def _syntax(error: yaml.MarkedYAMLError, text: str, shown: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    rows = text.split("\n")
    row = rows[line - 1] if 0 < line <= len(rows) else ""
    reason = str(error.problem or error.context or "it cannot be parsed").replace("\n", " ")
    return Problem(shown, line, "yaml.syntax", f"is not YAML: {reason}{_syntax_hint(reason, row)}")


def _syntax_hint(reason: str, row: str) -> str:
    """What people most often write that YAML reads otherwise."""
    if row.lstrip(" ").startswith("\t"):
        return _TAB_HINT
    if reason == "mapping values are not allowed in this context":
        return _COLON_HINT
    return _BRACE_HINT if reason.startswith("did not find expected ','") and "${" in row else ""


class _Stop(Exception):  # noqa: N818 - never leaves this module: the rest of the file says nothing more
    pass


@dataclass(slots=True)
class _Reader:
    """Builds the value from libyaml's events, so that every bound is kept before anything is built."""

    shown: str
    events: Iterator[Any]
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Steps, int] = field(default_factory=dict)
    anchors: dict[str, tuple[Json, int]] = field(default_factory=dict)
    aliases: int = 0
    nodes: int = 0

    def document(self) -> Json:
        value = None
        try:
            for event in self.events:
                match event:
                    case yaml.DocumentStartEvent():
                        self._check_version(event)
                        value = self._node(next(self.events), (), 1)
                    case yaml.DocumentEndEvent():
                        self._check_single()
                        break
                    case _:
                        continue
        except _Stop:
            return None
        return value

    def _check_version(self, event: yaml.DocumentStartEvent) -> None:
        if event.version not in (None, (1, 2)):
            self._problem(event, "yaml.version", "is read as YAML 1.2; remove the `%YAML` line")

    def _check_single(self) -> None:
        following = next(self.events)
        if not isinstance(following, yaml.StreamEndEvent):
            self._problem(following, "yaml.documents", "holds more than one document; keep one, without `---` between")

    def _problem(self, event: Any, code: str, message: str) -> None:
        self.problems.append(Problem(self.shown, event.start_mark.line + 1, code, message))

    def _stop(self, event: Any, code: str, message: str) -> _Stop:
        self._problem(event, code, message)
        return _Stop()

    def _node(self, event: Any, steps: Steps, depth: int) -> Json:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise self._stop(event, "yaml.too_deep", f"is nested deeper than {MAX_DEPTH} levels")
        if self.nodes > MAX_NODES:
            raise self._stop(event, "yaml.too_large", f"stands for more than {MAX_NODES} values; use fewer aliases")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self.nodes
        if event.tag is not None:
            self._problem(event, "yaml.tag", f"uses the tag `{_short(event.tag)}`; tags are not read here, remove it")
        value = self._value(event, steps, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.nodes - before + 1
        return value

    def _value(self, event: Any, steps: Steps, depth: int) -> Json:
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event)
            case yaml.SequenceStartEvent():
                return self._sequence(steps, depth)
            case _:
                return self._mapping(steps, depth)

    def _alias(self, event: yaml.AliasEvent) -> Json:
        name = str(event.anchor)
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise self._stop(event, "yaml.alias", f"uses more than {MAX_ALIASES} aliases; write the values out")
        if name not in self.anchors:
            raise self._stop(event, "yaml.alias", f"`*{_short(name)}` names no anchor before it, or its own value")
        value, weight = self.anchors[name]
        self.nodes += weight
        return value

    def _sequence(self, steps: Steps, depth: int) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*steps, len(items))
            self.lines[here] = event.start_mark.line + 1
            items.append(self._node(event, here, depth + 1))
        return items

    def _mapping(self, steps: Steps, depth: int) -> dict[str, Json]:
        members: dict[str, Json] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, members, (*steps, "?"), depth)
            here = (*steps, key)
            self.lines.setdefault(here, event.start_mark.line + 1)
            members[key] = self._node(next(self.events), here, depth + 1)
        return members

    def _key(self, event: Any, members: Mapping[str, Json], steps: Steps, depth: int) -> str:
        key = self._node(event, steps, depth + 1)
        if not isinstance(key, str):
            text = f"`{_short(event.value)}`" if isinstance(event, yaml.ScalarEvent) else "a list or mapping"
            self._problem(event, "yaml.key", f"has {text} as a key; keys are text, so quote it")
            return str(key)
        if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            self._problem(event, "yaml.merge_key", "uses the merge key `<<`; write the keys out")
        elif key in members:
            self._problem(event, "yaml.duplicate_key", f"has the key `{_short(key)}` twice; keep one")
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> Json:
        text = str(event.value)
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _OCTAL_LOOKING.fullmatch(text) or _NOT_A_NUMBER.fullmatch(text):
            self._problem(
                event,
                "yaml.number",
                f"has the number `{_short(text)}`, which parsers read differently; quote it or write it plainly",
            )
            return text
        value = _number(text)
        if value in (math.inf, -math.inf):
            self._problem(event, "yaml.number", f"has the number `{_short(text)}`, which is too large; quote it")
        return value


def _number(text: str) -> str | int | float:
    if len(text) > MAX_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
