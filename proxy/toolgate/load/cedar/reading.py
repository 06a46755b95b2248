"""The bytes of a policy file to the statements written in it.

RULE: any bytes are statements or problems. What a person reviews is what is loaded: characters that hide text from an
eye are refused, as in our YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from toolgate.core.bundle import BundleError, Problem
from toolgate.load.cedar.lexer import Source, split
from toolgate.load.policies import CedarFile
from toolgate.load.yaml import UNSEEN

MAX_BYTES: Final = 5 << 20
MAX_STATEMENT: Final = 64 << 10
_SHOWN: Final = 20  # invisible characters that are told one by one


def sources_of(file: CedarFile) -> tuple[Source, ...]:
    """Return the statements of a file, in order. Raises BundleError with every problem of its characters."""
    sources = tuple(split(_text(file), file.shown, file.name))
    problems = [_too_long(source) for source in sources if len(source.text) > MAX_STATEMENT]
    if problems:
        raise BundleError(problems)
    return sources


def _text(file: CedarFile) -> str:
    if len(file.content) > MAX_BYTES:
        message = f"is larger than {MAX_BYTES >> 20} MiB; split it into several files"
        raise BundleError([Problem(file.shown, 0, "policy.too_large", message)])
    try:
        text = file.content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = file.content.count(b"\n", 0, error.start) + 1
        raise BundleError([Problem(file.shown, line, "policy.encoding", "is not UTF-8; save it as UTF-8")]) from error
    wrong = list(_unseen(file, text))
    if wrong:
        raise BundleError(wrong[:_SHOWN])
    return text


def _unseen(file: CedarFile, text: str) -> Iterator[Problem]:
    plain = text.replace("\r\n", " \n")  # as long as before, so that places stay what they are
    if text.startswith("\ufeff"):
        yield Problem(file.shown, 1, "policy.character", "starts with a byte order mark; save it as UTF-8 without one")
        plain = f" {plain[1:]}"
    for match in UNSEEN.finditer(plain):
        character = f"U+{ord(match.group()):04X}"
        message = f"holds the invisible character {character}, which can hide text from a reader; remove it, or write it as `\\u{{…}}` in a text"
        yield _at(file, plain, match.start(), message)
    # SECURITY: Cedar ends a `//` comment here, and an editor shows what follows as part of it.
    at = plain.find("\r")
    if at >= 0:
        yield _at(file, plain, at, "holds a carriage return that ends no line; end lines with LF or CRLF")


def _at(file: CedarFile, text: str, offset: int, message: str) -> Problem:
    return Problem(file.shown, text.count("\n", 0, offset) + 1, "policy.character", message)


def _too_long(source: Source) -> Problem:
    message = (
        f'this statement is longer than {MAX_STATEMENT >> 10} KiB; split it, or does a `;` or a `"` miss its place?'
    )
    return Problem(source.file, source.line, "policy.too_large", message, source.column)
