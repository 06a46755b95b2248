"""One statement's text to Cedar's own tree, or to a problem with the line and column of the slip.

RULE: Cedar says what is wrong and never where. Where is found by asking it again about the words up to each place, so
that its grammar stays the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cedarpy import policies_to_pst, pst

from toolgate.core.bundle import BundleError, Problem
from toolgate.load.cedar.complaints import semantic_slip
from toolgate.load.cedar.lexer import MAX_BRACKETS, Source, Token, too_deep
from toolgate.load.cedar.slips import grammar_slip, lexical_slip

_UNEXPECTED: Final = ("unexpected token", "unexpected end of input")
_TEMPLATE: Final = (
    'templates (`?principal`, `?resource`) are not used here; name what is meant, such as `principal in Role::"…"`'
)
_TOO_DEEP: Final = f"is nested too deeply here (more than {MAX_BRACKETS} brackets, or 100 operators, one in another)"
_SPLIT_IT: Final = "; write a list with `.contains(…)`, or several statements"


def parse(source: Source) -> pst.Template:
    """Return the statement's tree. Raises BundleError with the one problem that Cedar found."""
    deep = too_deep(source.text)
    if deep is not None:
        raise BundleError([problem(source, deep.start, "policy.too_deep", _TOO_DEEP + _SPLIT_IT)])
    try:
        found = policies_to_pst(source.text)
    except ValueError as error:
        raise BundleError([_located(source, str(error))]) from None
    slot = next((token for token in source.tokens() if token.kind == "slot"), None) if "?" in source.text else None
    if slot is not None:
        raise BundleError([problem(source, slot.start, "policy.template", _TEMPLATE)])
    (template,) = found.static_policies.values()
    return template


def problem(source: Source, offset: int, code: str, message: str) -> Problem:
    """A problem at a place in a statement's text."""
    line, column = source.place(offset)
    return Problem(source.file, line, code, message, column)


def _located(source: Source, said: str) -> Problem:
    if "nesting" in said:
        return problem(source, 0, "policy.too_deep", _TOO_DEEP + _SPLIT_IT)
    tokens = list(source.tokens())
    slip = lexical_slip(tokens, source.place)
    if slip is None and said.startswith(_UNEXPECTED):
        slip = grammar_slip(tokens, _culprit(source.text, tokens, said), source.place)
    if slip is None:
        slip = semantic_slip(tokens, said)
    return problem(source, slip.offset, "policy.syntax", slip.message)


def _culprit(text: str, tokens: Sequence[Token], said: str) -> int:
    """Return the position of the first token that cannot stand where it does; the number of tokens, for their end."""
    low, high = 0, len(tokens)
    while low < high:
        middle = (low + high) // 2
        if _is_refused(text[: tokens[middle].end]):
            high = middle
        else:
            low = middle + 1
    # Cedar may go on for a few words before it complains, but it quotes the one it complains of.
    quoted = said.removeprefix(_UNEXPECTED[0]).strip().strip("`")
    before = (at for at in range(min(low, len(tokens) - 1), -1, -1) if tokens[at].text == quoted)
    return next(before, low)


def _is_refused(prefix: str) -> bool:
    try:
        policies_to_pst(prefix)
    except ValueError as error:
        return str(error).startswith(_UNEXPECTED[0])
    return False
