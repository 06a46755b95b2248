"""What Cedar says once the words of a statement fit its grammar, told in the words of the file.

RULE: each message names the very words and gives words that work. What is not known here is told as Cedar says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from toolgate.core.actions import ACTION, PRINCIPAL, ROLE, TOOL
from toolgate.core.suggest import shortened
from toolgate.load.cedar.lexer import Token
from toolgate.load.cedar.slips import EFFECT_WORDS, VARIABLES, Slip
from toolgate.load.models import did_you_mean

METHODS: Final = (
    "contains", "containsAll", "containsAny", "isEmpty", "getTag", "hasTag", "lessThan", "lessThanOrEqual",
    "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange", "offset",
    "durationSince", "toDate", "toTime", "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays",
)  # fmt: skip
FUNCTIONS: Final = ("decimal", "datetime", "duration", "ip")
_SCOPE: Final = (
    "the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`"
)
_NO_LIST: Final = (
    'only `action in` takes a list in the scope; write `when { principal in [Role::"a", Role::"b"] }`, '
    "or one statement for each"
)
TIME_OF_DAY: Final = 'for the time of day (UTC) write `context.now.toTime() > duration("17h")`, for a day `context.now > datetime("2024-01-31")`'
_NO_PLACES: Final = 'a list has no `[{}]`; ask what it holds with `.contains(…)`, or how much with `context.derived.count["/body/items"]`'
_WHOLE_NUMBERS: Final = "a whole number goes from -9223372036854775808 to 9223372036854775807"
_ESCAPES: Final = r"`\"`, `\\`, `\n`, `\r`, `\t`, `\0`, `\x41`, `\u{e9}`, and `\*` after `like`"
_AFTER_HAS: Final = "after `has` stands one name, names joined by dots, or one text in quotes"
_TOO_LARGE: Final = "(a number of more digits than fit)"
_FIRST_WORD: Final = re.compile(r'[A-Za-z_?]\w*|"(?:[^"\\]|\\.)*"|\S')
_REPEATED: Final = re.compile(r"duplicate annotation: @(\w+)")
_UNTYPED: Final = re.compile(r"found literal `(.+)`")
_MEMBER: Final = re.compile(r"invalid member access `(\w+)")
_CLOCK: Final = frozenset({"hour", "hours", "getHours", "minute", "minutes", "day", "weekday", "date", "time"})
_QUOTED: Final = re.compile(r"[`']([^`']+)[`']")


def semantic_slip(tokens: Sequence[Token], said: str) -> Slip:
    """What Cedar says once the words fit its grammar; the place is that of the words it quotes."""
    repeated = _REPEATED.search(said)
    if repeated is not None:
        name = repeated.group(1)
        places = [at.start for at, each in pairwise(tokens) if (at.text, each.text) == ("@", name)]
        return Slip(places[1], f"`@{name}` stands twice; keep one")
    literal = _UNTYPED.search(said)
    if literal is not None:
        return _untyped(tokens, literal.group(1))
    member = _MEMBER.search(said)
    if member is not None:
        return _member(tokens, member.group(1))
    for rule in _SEMANTIC:
        match = rule.pattern.search(said)
        if match is not None:
            word = match.group(1) if rule.pattern.groups else ""
            return Slip(_find(tokens, rule.place or word, rule.occurrence), rule.tell(word))
    quoted = _QUOTED.search(said)
    return Slip(_find(tokens, quoted.group(1) if quoted else "", 0), f"is not Cedar: {said}")


def _find(tokens: Sequence[Token], words: str, occurrence: int) -> int:
    """Return where words stand. Cedar writes them its own way, so the first of them decides."""
    if words == _TOO_LARGE:
        return max(tokens, key=lambda token: len(token.text) if token.kind == "number" else 0).start
    first = _FIRST_WORD.match(words)
    wanted = {first.group(), f'"{first.group()}"'} if first else set()
    exact = [token.start for token in tokens if token.text in wanted]
    inside = [token.start for token in tokens if words and token.kind == "text" and words in token.text]
    found = exact or inside or [0]
    return found[min(occurrence, len(found) - 1)]


def _untyped(tokens: Sequence[Token], word: str) -> Slip:
    """A text where a name must stand; what is asked about it says of which type it is meant to be."""
    start = _find(tokens, word, 0)
    before = [token.text for token in tokens if token.start < start]
    asked = next((text for text in reversed(before) if text in VARIABLES), "action")
    return Slip(start, f"{word} has no type; write what it is, such as `{typed(asked, before[-1], word)}`")


def typed(asked: str, operator: str, text: str) -> str:
    """Write a quoted text as a name of what it is compared with."""
    kinds = {"principal": ROLE if operator == "in" else PRINCIPAL, "resource": TOOL}
    return f"{kinds.get(asked, ACTION)}::{text}"


class _Rule:
    """A complaint of Cedar, where the words it is about stand, and what to say instead."""

    __slots__ = ("occurrence", "pattern", "place", "tell")

    def __init__(self, pattern: str, tell: Callable[[str], str], *, place: str = "", occurrence: int = 0) -> None:
        self.pattern = re.compile(pattern)
        self.tell = tell
        self.place = place  # the word to look for; empty: what the pattern has found
        self.occurrence = occurrence


def _effect(word: str) -> str:
    meant = EFFECT_WORDS.get(word.lower()) or (word.lower() if word.lower() in {"permit", "forbid"} else None)
    known = f"did you mean `{meant}`?" if meant else "write `permit` or `forbid`"
    return f"a statement starts with `permit` or `forbid`, and this one with `{word}`; {known}"


def _variable(word: str) -> str:
    if word in {"True", "False", "TRUE", "FALSE"}:
        return f"write `{word.lower()}`"
    if word in {"null", "None", "nil", "undefined"}:
        return f"there is no `{word}`: an argument that is null is absent (`context.args has …`) and named in `context.nulls`"
    if word in {"args", "environment", "run", "now", "nulls", "derived", "on_behalf_of"}:
        return f"write `context.{word}`"
    if word in {"body", "params", "arguments", "request"}:
        return f"`{word}` is not known; arguments are `context.args`, and the body is `context.args.body`"
    hint = did_you_mean(word, VARIABLES) or "; a text stands in double quotes"
    return f"`{word}` is not known; a condition reads `principal`, `action`, `resource` and `context`{hint}"


def _member(tokens: Sequence[Token], name: str) -> Slip:
    """A path that starts with no variable: told with all of its steps."""
    start = _find(tokens, name, 0)
    path = ""
    for token in tokens:
        if token.start >= start:
            if (token.text == ".") != (path != "" and not path.endswith(".")):
                break
            path += token.text
    known = _variable(name)
    return Slip(start, f"write `context.{path}`" if known == f"write `context.{name}`" else known)


def _asked_type(word: str) -> str:
    kind, is_named, _ = word.partition('::"')
    if is_named:
        write = f"in {word}" if kind == ROLE else f"is {kind}`, or `== {word}"
        return f"after `is` stands a type alone; write `{write}`"
    if word.startswith('"'):
        return f"after `is` stands a type's name without quotes: write `is {word.strip(chr(34))}`"
    return f"after `is` stands a type's name, and `{word}` is none; compare values with `==`"


def _function(word: str) -> str:
    if word in METHODS:
        return f"`{word}` is asked of a value: write `value.{word}(…)`"
    if word == "unknown":
        return "`unknown(…)` is not taken here: a statement must be decidable"
    return f"there is no function `{word}`; there are `decimal`, `datetime`, `duration` and `ip`{did_you_mean(word, FUNCTIONS)}"


def _method(word: str) -> str:
    meant = {"matches": "like", "startsWith": "like", "endsWith": "like", "length": "count", "size": "count"}.get(word)
    if word in _CLOCK:
        return f"there is no method `{word}`; {TIME_OF_DAY}"
    if meant == "like":
        return f'there is no method `{word}`; write `… like "prefix*"`, where `*` is any text'
    if meant == "count":
        return f'there is no method `{word}`; the length of a list is `context.derived.count["/body/items"]`'
    return f"there is no method `{word}`{did_you_mean(word, METHODS)}"


def _unquoted(word: str) -> str:
    kind, separator, name = word.rpartition("::")
    meant = f'{kind}::"{name}"' if separator else f'Role::"{word}"'
    return f"`{word}` names nothing; a name stands in quotes after its type, as in `{meant}`"


def _operator(word: str) -> str:
    return f"there is no `{word}`; whole numbers have `+`, `-` and `*`"


_SEMANTIC: Final = (
    _Rule(r"invalid policy effect: (\w+)", _effect),
    _Rule(r"'(=)' is not a valid operator", lambda _: "unexpected `=`; write `==`"),
    _Rule(r"`(.+)` is not a valid method", _method),
    _Rule(r"[`'](.+)[`'] is not a valid function", _function),
    _Rule(r"[`'](\w+)[`'] is a method, not a function", _function),
    _Rule(r"contains an `Unknown`", lambda _: _function("unknown"), place="unknown"),
    _Rule(r"invalid variable: (\w+)", _variable),
    _Rule(r"found name `(.+)`", _unquoted),
    _Rule(r"found set of entity uids", lambda _: _NO_LIST, place="["),
    _Rule(
        r"`is` expression must be an entity type name, but got `(.+)`",
        _asked_type,
    ),
    _Rule(
        r"`like` expression must be a pattern literal, but got `(.+)`",
        lambda word: f'after `like` stands a text written out, such as `"a*"`, and not `{word}`',
    ),
    _Rule(
        r"the input `(.+)` is not a valid escape",
        lambda word: f"`{shortened(word)}` is no escape; there are {_ESCAPES}",
    ),
    _Rule(r"integer parse error", lambda _: _WHOLE_NUMBERS, place=_TOO_LARGE),
    _Rule(r"missing the `(\w+)` variable", lambda word: f"the scope has no `{word}`; {_SCOPE}"),
    _Rule(r"found the variable `(\w+)` where", lambda word: f"`{word}` is not in its place; {_SCOPE}"),
    _Rule(r"extra element in the scope: (\w+)", lambda word: f"`{word}` is one too many; {_SCOPE}"),
    _Rule(
        r"invalid policy condition: (\w+)",
        lambda word: f"a condition starts with `when` or `unless`, and this one with `{word}`",
    ),
    _Rule(r"`(\w+)` condition clause cannot be empty", lambda word: f"`{word} {{}}` has no condition; remove it"),
    _Rule(
        r"identifier is reserved and cannot be used: (\w+)",
        lambda word: f'`{word}` is a word of Cedar; write `["{word}"]` for `.{word}`',
    ),
    _Rule(r"too many occurrences of `(.)`", lambda word: f"`{word}` stands too often in a row"),
    _Rule(r"template slot (\?\w+)", lambda word: f"`{word}` belongs to templates, which are not used here"),
    _Rule(
        r"with type `Action` but got `(.+)`",
        lambda word: f'`{word}` is no action; an action is written `Action::"tool.operationId"`',
    ),
    _Rule(r"duplicate key `(.+)` in record", lambda word: f"the key `{word}` stands twice; keep one", occurrence=1),
    _Rule(r"call to `(\w+)` requires exactly 1", lambda word: f"`{word}` takes one value; write a list for several"),
    _Rule(r"call to `(\w+)` requires exactly 0", lambda word: f"`{word}()` takes nothing between its parentheses"),
    _Rule(r"function `(\w+)` expects", lambda word: f'`{word}` takes one text, as in `{word}("…")`'),
    _Rule(
        r"type constraints using `(:)`",
        lambda _: 'unexpected `:`; write `principal in Role::"…"`, or `resource is Type`',
    ),
    _Rule(r"invalid string literal: (\d+)", _NO_PLACES.format),
    _Rule(r"division is not supported", lambda _: _operator("/"), place="/"),
    _Rule(r"modulo is not supported", lambda _: _operator("%"), place="%"),
    _Rule(
        r"multiple relational operators", lambda _: "compare two things at a time; put one comparison in parentheses"
    ),
    _Rule(r"invalid RHS of a `has` operation", lambda _: _AFTER_HAS, place="has"),
)
