"""What people write when they mean something else: Cedar's complaint about a statement, with what to write instead.

RULE: each message names the very words and gives words that work. What is not known here is told as Cedar says it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from toolgate.core.suggest import shortened
from toolgate.load.cedar.lexer import Token
from toolgate.load.models import did_you_mean

VARIABLES: Final = ("principal", "action", "resource", "context")
METHODS: Final = (
    "contains", "containsAll", "containsAny", "isEmpty", "getTag", "hasTag", "lessThan", "lessThanOrEqual",
    "greaterThan", "greaterThanOrEqual", "isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange", "offset",
    "durationSince", "toDate", "toTime", "toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays",
)  # fmt: skip
FUNCTIONS: Final = ("decimal", "datetime", "duration", "ip")
_EFFECTS: Final[Mapping[str, str]] = {
    "allow": "permit", "grant": "permit", "accept": "permit", "deny": "forbid", "block": "forbid", "refuse": "forbid",
}  # fmt: skip
_SPOKEN: Final[Mapping[str, str]] = {"and": "&&", "or": "||", "not": "!"}
_SCOPE: Final = (
    "the scope names `principal`, `action` and `resource`, in this order: `permit (principal, action, resource)`"
)
_OPERATORS: Final = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "!", "in", "has", "like"})
_PAIRS: Final = {"(": ")", "[": "]", "{": "}"}
_CURLY: Final = frozenset("'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb`")
_UNENDED: Final = 'the text that starts here does not end; close it with `"`, and write `\\"` inside'
_NO_LIST: Final = (
    'only `action in` takes a list in the scope; write `when { principal in [Role::"a", Role::"b"] }`, '
    "or one statement for each"
)
_WHOLE_NUMBERS: Final = "a whole number goes from -9223372036854775808 to 9223372036854775807"
_ESCAPES: Final = r"`\"`, `\\`, `\n`, `\r`, `\t`, `\0`, `\x41`, `\u{e9}`, and `\*` after `like`"
_AFTER_HAS: Final = "after `has` stands one name, names joined by dots, or one text in quotes"
_TOO_LARGE: Final = "(a number of more digits than fit)"
_FIRST_WORD: Final = re.compile(r'[A-Za-z_?]\w*|"(?:[^"\\]|\\.)*"|\S')
_QUOTED: Final = re.compile(r"[`']([^`']+)[`']")


@dataclass(frozen=True, slots=True)
class Slip:
    """What is wrong, and where in the statement's text."""

    offset: int
    message: str


Place = Callable[[int], tuple[int, int]]


def lexical_slip(tokens: Sequence[Token], place: Place) -> Slip | None:
    """A character that is no part of any word."""
    at = next((at for at, token in enumerate(tokens) if token.kind == "unknown"), None)
    if at is None:
        return None
    wrong = tokens[at]
    if wrong.text == '"':
        return _running(tokens[:at], place) or Slip(wrong.start, _UNENDED)
    shown = shortened(wrong.text)
    if wrong.text in _CURLY:
        return Slip(wrong.start, f'unexpected `{shown}`; texts stand in straight double quotes, `"`')
    if wrong.text in {"&", "|"}:
        return Slip(wrong.start, f"unexpected `{shown}`; write `{shown * 2}`")
    hint = '; a name with such a character is written `context.args["…"]`' if wrong.text.isalpha() else ""
    return Slip(wrong.start, f"unexpected `{shown}`{hint}")


def grammar_slip(tokens: Sequence[Token], at: int, place: Place) -> Slip:
    """A word where it cannot stand: `tokens[at]`, or the end of what was written."""
    running = _running(tokens[:at], place)
    if running is not None:
        return running
    if at == len(tokens):
        return _unended(tokens, place)
    token = tokens[at]
    before = tokens[:at]
    hint = next(chain(_hints_of_word(token, before), _hints_of_place(token, before)), "")
    return Slip(token.start, f"unexpected `{shortened(token.text)}`{f'; {hint}' if hint else ''}")


def _running(tokens: Sequence[Token], place: Place) -> Slip | None:
    """A text over several lines before a slip: its closing quote is what is missing."""
    running = next((token for token in tokens if token.kind == "text" and "\n" in token.text), None)
    if running is None:
        return None
    line, end = place(running.start)[0], place(running.end)[0]
    message = f'the text that starts here runs to line {end}; is the `"` that ends it missing on line {line}?'
    return Slip(running.start, message)


def _unended(tokens: Sequence[Token], place: Place) -> Slip:
    end = tokens[-1].end if tokens else 0
    bracket = _open_bracket(tokens)
    if bracket is not None:
        line, column = place(bracket.start)
        message = f"the statement ends here, and the `{bracket.text}` of line {line}, column {column} is not closed"
        return Slip(end, f"{message}; write `{_PAIRS[bracket.text]}`")
    return Slip(end, "the statement does not end; write `;` after it")


def _open_bracket(tokens: Sequence[Token]) -> Token | None:
    stack: list[Token] = []
    for token in tokens:
        if token.text in _PAIRS:
            stack.append(token)
        elif stack and token.text == _PAIRS[stack[-1].text]:
            stack.pop()
    return stack[-1] if stack else None


def _hints_of_word(token: Token, before: Sequence[Token]) -> Iterator[str]:
    """What the word itself, or the one before it, gives away."""
    previous = before[-1].text if before else ""
    if token.text in _SPOKEN:
        yield f"write `{_SPOKEN[token.text]}`"
    if previous == "not" and before[-2].text == "is":
        yield "write `!(… is …)`"
    if previous in _SPOKEN:
        yield f"write `{_SPOKEN[previous]}` for `{previous}`"
    if token.kind == "number" and previous == ".":
        yield 'a number with a fraction is written `decimal("1.5")` and compared with `.lessThan(…)` and its like'
    if token.kind == "name" and [each.text for each in before[-3:-2]] == ["@"]:
        yield f'an annotation holds a text in double quotes: `@{before[-2].text}("{token.text}")`'
    if (previous, token.text) == ("<", ">"):
        yield "write `!=`"
    if token.text == "=":
        yield "write `==`"


def _hints_of_place(token: Token, before: Sequence[Token]) -> Iterator[str]:
    """What is missing between the word and the one before it."""
    previous, opened = before[-1].text if before else "", _open_bracket(before)
    if token.text in {"permit", "forbid", "@"} and previous in {")", "}"}:
        yield f"the statement before it does not end: write `;` after its `{previous}`"
    if token.text in VARIABLES and previous not in {"(", ","} and opened is not None:
        yield f"a comma or an operator is missing before `{token.text}`"
    if opened is not None and token.text in {*_PAIRS.values(), ";"} and previous not in _OPERATORS:
        yield f"the `{opened.text}` before it is not closed: write `{_PAIRS[opened.text]}`"
    if previous in {"when", "unless"}:
        yield f"a condition stands in braces: `{previous} {{ … }}`"
    if token.text == ";" and not before:
        yield "there is no statement before it; remove it"
    if previous in _OPERATORS:
        yield f"something is missing after `{previous}`"
    if "/" in {token.text, previous}:
        yield "comments start with `//`"


# -- what parses and still makes no sense -------------------------------------------------------------------------


def semantic_slip(tokens: Sequence[Token], said: str) -> Slip:
    """What Cedar says once the words fit its grammar; the place is that of the words it quotes."""
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


class _Rule:
    """A complaint of Cedar, where the words it is about stand, and what to say instead."""

    __slots__ = ("occurrence", "pattern", "place", "tell")

    def __init__(self, pattern: str, tell: Callable[[str], str], *, place: str = "", occurrence: int = 0) -> None:
        self.pattern = re.compile(pattern)
        self.tell = tell
        self.place = place  # the word to look for; empty: what the pattern has found
        self.occurrence = occurrence


def _effect(word: str) -> str:
    meant = _EFFECTS.get(word.lower()) or (word.lower() if word.lower() in {"permit", "forbid"} else None)
    known = f"did you mean `{meant}`?" if meant else "write `permit` or `forbid`"
    return f"a statement starts with `permit` or `forbid`, and this one with `{word}`; {known}"


def _variable(word: str) -> str:
    if word in {"True", "False", "TRUE", "FALSE"}:
        return f"write `{word.lower()}`"
    if word in {"null", "None", "nil", "undefined"}:
        return f"there is no `{word}`: an argument that is null is absent (`context.args has …`) and named in `context.nulls`"
    if word in {"args", "environment", "run", "now", "nulls", "derived", "on_behalf_of"}:
        return f"write `context.{word}`"
    hint = did_you_mean(word, VARIABLES) or "; a text stands in double quotes"
    return f"`{word}` is not known; a condition reads `principal`, `action`, `resource` and `context`{hint}"


def _function(word: str) -> str:
    if word in METHODS:
        return f"`{word}` is asked of a value: write `value.{word}(…)`"
    if word == "unknown":
        return "`unknown(…)` is not taken here: a statement must be decidable"
    return f"there is no function `{word}`; there are `decimal`, `datetime`, `duration` and `ip`{did_you_mean(word, FUNCTIONS)}"


def _method(word: str) -> str:
    meant = {"matches": "like", "startsWith": "like", "endsWith": "like", "length": "count", "size": "count"}.get(word)
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
    _Rule(r"found literal `(.+)`", lambda word: f"{word} has no type; write what it is, such as `Action::{word}`"),
    _Rule(r"found name `(.+)`", _unquoted),
    _Rule(r"found set of entity uids", lambda _: _NO_LIST, place="["),
    _Rule(
        r"`is` expression must be an entity type name, but got `(.+)`",
        lambda word: f"after `is` stands a type's name without quotes: write `is {word.strip(chr(34))}`",
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
    _Rule(r"duplicate annotation: @(\w+)", lambda word: f"`@{word}` stands twice; keep one", occurrence=1),
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
    _Rule(r"division is not supported", lambda _: _operator("/"), place="/"),
    _Rule(r"modulo is not supported", lambda _: _operator("%"), place="%"),
    _Rule(
        r"multiple relational operators", lambda _: "compare two things at a time; put one comparison in parentheses"
    ),
    _Rule(r"invalid RHS of a `has` operation", lambda _: _AFTER_HAS, place="has"),
)
