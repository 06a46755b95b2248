"""What people write when they mean something else: a word where Cedar's grammar has no place for it, and what to write.

RULE: each message names the very words and gives words that work, and stands where the file is to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from toolgate.core.suggest import shortened
from toolgate.load.cedar.lexer import Token

VARIABLES: Final = ("principal", "action", "resource", "context")
EFFECT_WORDS: Final[Mapping[str, str]] = {
    "allow": "permit", "grant": "permit", "accept": "permit", "deny": "forbid", "block": "forbid", "refuse": "forbid",
}  # fmt: skip
_SPOKEN: Final[Mapping[str, str]] = {"and": "&&", "or": "||", "not": "!"}
_LIKE: Final = '`… like "prefix*"`, where `*` is any text'
_INFIX: Final[Mapping[str, str]] = {
    **dict.fromkeys(("contains", "includes"), "`….contains(…)`"),
    **dict.fromkeys(("containsAll", "containsAny"), "`….containsAll(…)` or `….containsAny(…)`"),
    **dict.fromkeys(("matches", "startsWith", "startswith", "endsWith", "endswith"), _LIKE),
    **dict.fromkeys(("equals", "eq"), "`==`"),
}
_ODD: Final[Mapping[str, str]] = {
    "#": "comments start with `//`",
    "?": "a choice is written `if … then … else …`",
    "~": f"for a part of a text write {_LIKE}",
}
_COMMENT: Final = "comments start with `//`"
_WHOLE_SCOPE: Final = "the scope stands in parentheses: `permit (principal, action, resource)`"
_IN_SCOPE: Final = "the scope takes only `==`, `in` and `is`; ask for anything else in a condition, `when { … }`"
_OF_PRINCIPAL: Final = 'a role is asked for with `principal in Role::"…"`'
_OF_ACTION: Final = 'names are not patterns: name a group, as in `action in Action::"read"`, or several in a list'
_CHOICE: Final = "`if` takes both ways: `if … then … else …`"
_ONE_TEXT: Final = 'an annotation holds one text in double quotes; write `\\"` for a quote inside it'
_WORDS: Final = frozenset({"in", "has", "like", "is", "if", "then", "else", "when", "unless", "permit", "forbid"})
_OPERATORS: Final = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "!", "in", "has", "like"})
_PAIRS: Final = {"(": ")", "[": "]", "{": "}"}
_CURLY: Final = frozenset("'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb`")
_UNENDED: Final = 'the text that starts here does not end; close it with `"`, and write `\\"` inside'


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
    if wrong.text in _ODD:
        is_match = wrong.text == "~" and [each.text for each in tokens[max(at - 1, 0) : at]] == ["="]
        start, shown = (tokens[at - 1].start, "=~") if is_match else (wrong.start, shown)
        return Slip(start, f"unexpected `{shown}`; {_ODD[wrong.text]}")
    hint = '; a name with such a character is written `context.args["…"]`' if wrong.text.isalpha() else ""
    return Slip(wrong.start, f"unexpected `{shown}`{hint}")


def grammar_slip(tokens: Sequence[Token], at: int, place: Place) -> Slip:
    """A word where it cannot stand: `tokens[at]`, or the end of what was written."""
    running = _running(tokens[:at], place)
    if running is not None:
        return running
    unseparated = _unseparated(tokens[: at + 1], place)
    if unseparated is not None:
        return unseparated
    if at == len(tokens):
        return _unended(tokens, place)
    token = tokens[at]
    before = tokens[:at]
    kinds = (_hints_of_word, _hints_of_number, _hints_of_start, _hints_of_place)
    hint = next(chain.from_iterable(hints(token, before) for hints in kinds), "")
    return Slip(token.start, f"unexpected `{shortened(token.text)}`{f'; {hint}' if hint else ''}")


def _unseparated(tokens: Sequence[Token], place: Place) -> Slip | None:
    """Two statements without a `;` between them: it is missing after the first, wherever Cedar noticed."""
    depth, is_begun, previous = 0, False, None
    for token in tokens:
        starts = token.text == "@" or token.text in {"permit", "forbid", *EFFECT_WORDS}
        if starts and is_begun and depth == 0 and previous is not None and previous.text in {")", "}"}:
            line, _ = place(token.start)
            message = f"a `;` is missing after this `{previous.text}`: the next statement starts on line {line}"
            return Slip(previous.end, message)
        is_begun = is_begun or (token.text in {"permit", "forbid"} and (previous is None or previous.text != "@"))
        depth += (token.text in _PAIRS) - (token.text in _PAIRS.values())
        previous = token
    return None


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
    opened = _open_bracket(tokens)
    if opened is not None:
        bracket = tokens[opened]
        line, column = place(bracket.start)
        message = f"the statement ends here, and the `{bracket.text}` of line {line}, column {column} is not closed"
        return Slip(end, f"{message}; write `{_PAIRS[bracket.text]}`")
    return Slip(end, "the statement does not end; write `;` after it")


def _open_bracket(tokens: Sequence[Token]) -> int | None:
    """Return the position of the innermost bracket that is not closed."""
    stack: list[int] = []
    for at, token in enumerate(tokens):
        if token.text in _PAIRS:
            stack.append(at)
        elif stack and token.text == _PAIRS[tokens[stack[-1]].text]:
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
    if token.kind == "name" and [each.text for each in before[-3:-2]] == ["@"]:
        yield f'an annotation holds a text in double quotes: `@{before[-2].text}("{token.text}")`'
    if (previous, token.text) == ("<", ">"):
        yield "write `!=`"
    if token.text == "=":
        yield "write `==`"


def _hints_of_number(token: Token, before: Sequence[Token]) -> Iterator[str]:
    last = before[-1] if before else None
    if last is not None and last.kind == "number" and token.kind == "name" and last.end == token.start:
        yield "a whole number is written in digits alone"
    if last is not None and last.text == "." and token.kind == "number":
        yield 'a number with a fraction is written `decimal("1.5")` and compared with `.lessThan(…)` and its like'


def _hints_of_start(token: Token, before: Sequence[Token]) -> Iterator[str]:
    """What a statement, a scope or a condition starts with."""
    previous = before[-1].text if before else ""
    if previous in {"permit", "forbid"}:
        yield _WHOLE_SCOPE
    if previous in {"when", "unless"}:
        yield f"a condition stands in braces: `{previous} {{ … }}`"
    if token.text == ";" and not before:
        yield "there is no statement before it; remove it"


def _hints_of_place(token: Token, before: Sequence[Token]) -> Iterator[str]:
    """What is missing between the word and the one before it."""
    previous, opened = before[-1].text if before else "", _open_bracket(before)
    if previous in _OPERATORS and previous != "/":
        yield f"something is missing after `{previous}`"
    if "/" in {token.text, previous} or (token.text == "-" and not before):
        yield _COMMENT
    if opened is None:
        if token.kind == "text" and [each.text for each in before[-2:-1]] == ["@"]:
            yield f"the text stands in parentheses: `@{previous}({shortened(token.text)})`"
        if token.text in _PAIRS.values():
            yield "it closes nothing that is open; remove it"
    else:
        yield from _hints_inside(token, before, opened)


def _hints_inside(token: Token, before: Sequence[Token], opened: int) -> Iterator[str]:
    """What is missing between brackets."""
    bracket, around = before[opened].text, [each.text for each in before[max(opened - 2, 0) : opened]]
    inside = [each.text for each in before[opened + 1 :]]
    if inside.count("if") > min(inside.count("then"), inside.count("else")) and token.text in {"{", "}", ")", ";"}:
        yield _CHOICE
    if token.text in {"when", "unless", "permit", "forbid"} or (
        token.text in {*_PAIRS.values(), ";"} and token.text != _PAIRS[bracket]
    ):
        yield f"the `{bracket}` before it is not closed: write `{_PAIRS[bracket]}`"
    if around[:1] == ["@"]:
        yield _ONE_TEXT
    if around[-1:] in (["permit"], ["forbid"]) and token.text in {*_OPERATORS, "."}:
        asked = before[-1].text
        also = {"principal": _OF_PRINCIPAL, "action": _OF_ACTION}.get(asked)
        yield f"{_IN_SCOPE}; {also}" if also else _IN_SCOPE
    if _starts_value(token) and _ends_value(before):
        if token.text in _INFIX:
            yield f"write {_INFIX[token.text]}"
        missing = {"[": "a comma", "{": "an operator"}.get(bracket, "a comma or an operator")
        yield f"{missing} is missing before `{shortened(token.text)}`"


def _starts_value(token: Token) -> bool:
    return token.kind in {"name", "text", "number"} and token.text not in _WORDS


def _ends_value(before: Sequence[Token]) -> bool:
    last = before[-1] if before else None
    if last is None or last.text in _WORDS:
        return False
    return last.kind in {"name", "text", "number"} or last.text in _PAIRS.values()
