"""The words of a policy file: where each token stands, where each statement ends, and how deep it goes.

RULE: agrees with Cedar's own lexer on what is a text and what is a comment, so that both split a file alike. Cedar's
parser recurses without a bound, so what is too deep is found here, before it is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

TokenKind: TypeAlias = Literal["name", "text", "number", "sign", "slot", "unknown"]

MAX_BRACKETS: Final = 64  # open at once
MAX_LINKS: Final = 600  # operators and accesses one inside another: a stack of 8 MB holds a thousand
_TOKEN: Final = re.compile(
    r"""(?P<skip>(?:\s+|//[^\n\r]*)+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<number>[0-9]+)
      | (?P<slot>\?[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>::|==|!=|<=|>=|&&|\|\||[@.,;:(){}\[\]<>=!+\-*/%])
      | (?P<unknown>.)""",
    re.VERBOSE,
)
# Only what can hide a `;`: a whole file is split without looking at each of its tokens.
_SPLIT: Final = re.compile(r'//[^\n\r]*|"(?:[^"\\]|\\.)*"|;|"', re.DOTALL)
_FILLING: Final = re.compile(r"(?:\s+|//[^\n\r]*)*")
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")
_WORDS: Final = frozenset({"if", "then", "else", "in", "has", "like", "is"})
_SEPARATORS: Final = frozenset({",", "::", ":", "@", ";"})


class Token(NamedTuple):
    kind: TokenKind
    text: str
    start: int  # in the statement's text

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Source:
    """One statement as it is written: from its first annotation to its `;`, or to where the file ends without one."""

    file: str  # as problems name it
    name: str  # within the policies folder
    line: int
    column: int
    text: str
    is_first: bool = True  # on its line

    @property
    def mark(self) -> str:
        """What it is called where nobody has named it: its line, and its column where another stands before it."""
        return f"{self.line}" if self.is_first else f"{self.line}:{self.column}"

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and column of a place in the text."""
        before = self.text[:offset]
        lines = before.count("\n")
        return self.line + lines, offset - before.rfind("\n") if lines else self.column + offset

    def tokens(self) -> Iterator[Token]:
        return tokens(self.text)


def tokens(text: str) -> Iterator[Token]:
    """Every token, in order; a character that starts none is one of kind `unknown`."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield Token(match.lastgroup, match.group(), match.start())  # type: ignore[arg-type] # a group's name


def split(text: str, file: str, name: str) -> Iterator[Source]:
    """Cut a file into its statements. What follows the last `;` is one too, unless it is comments."""
    start, line, column, last_line = 0, 1, 1, 0
    ends = [match.start() for match in _SPLIT.finditer(text) if match.group() == ";"]
    for end in (*ends, len(text)):
        filled = _FILLING.match(text, start)
        first = filled.end() if filled else start
        line, column = _moved(text, start, first, line, column)
        stop = min(end + 1, len(text))
        if first < stop:
            yield Source(file, name, line, column, text[first:stop], line != last_line)
            last_line = line
        line, column = _moved(text, first, stop, line, column)
        start = stop


def too_deep(text: str) -> Token | None:
    """Return the token at which a statement is deeper than Cedar can be asked to parse."""
    if sum(map(text.count, "([{")) <= MAX_BRACKETS and len(text) <= MAX_LINKS:
        return None
    links = [0]
    total = 0
    for token in tokens(text):
        if token.text in _CLOSING:
            total -= links.pop() if len(links) > 1 else 0
        elif token.text == ",":
            total -= links[-1]
            links[-1] = 0
        elif token.text in _OPENING:
            links.append(0)
        elif token.text in _WORDS or (token.kind == "sign" and token.text not in _SEPARATORS):
            links[-1] += 1
            total += 1
        if len(links) > MAX_BRACKETS + 1 or total > MAX_LINKS:
            return token
    return None


def _moved(text: str, start: int, end: int, line: int, column: int) -> tuple[int, int]:
    """Return the line and column after some text."""
    lines = text.count("\n", start, end)
    return line + lines, end - text.rfind("\n", start, end) if lines else column + end - start
