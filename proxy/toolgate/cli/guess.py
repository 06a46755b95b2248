"""Guessing what operations do, for `toolgate init` to propose: by method first, then by the verbs in their names.

RULE: a guess alone never makes an operation less dangerous. Names may raise an effect; where a name says an operation
only reads although its method may change something, that is proposed in a comment for a person to confirm.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from toolgate.core.model import Effect


def _words(text: str) -> list[str]:
    return text.split()


_READS: Final = frozenset(_words("count describe fetch find get list lookup preview query read search suggest view"))
_CHANGES: Final = frozenset(
    _words("""
    add approve archive block cancel close connect create disable enable execute import insert invite join kick launch
    leave lock login logout merge move open patch pause post publish put reboot redeliver refresh register reject rename
    reopen replace reset restart restore resume retry rotate run save send set start stop submit subscribe transfer
    trigger unarchive unblock unlock unsubscribe update upload upsert write
    """)
)
_DESTROYS: Final = frozenset(
    _words("""
    clear deactivate delete destroy discard drop erase expire forget purge remove revoke terminate truncate uninstall wipe
    """)
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_BEYOND_ASCII: Final = re.compile(r"[^ -~]")
_METHODS: Final = frozenset({"get", "head", "options", "put", "post", "patch", "delete", "trace"})


@dataclass(frozen=True, slots=True)
class Listed:
    """An operation as the document lists it, and the effect its method promises."""

    id: str
    method: str
    by_method: Effect


@dataclass(frozen=True, slots=True)
class Guessed:
    """An operation, the effect it is proposed with, and whether its name says that it only reads all the same."""

    id: str
    effect: Effect
    by_method: Effect
    maybe_read: bool


def guess(operation: Listed) -> Guessed:
    by_method = operation.by_method
    verb = _verb(operation.id, operation.method)
    effect: Effect = by_method
    if by_method == "read" and verb in _CHANGES - _METHODS:
        effect = "write"
    if verb in _DESTROYS:
        effect = "destructive"
    return Guessed(operation.id, effect, by_method, effect == "write" and by_method == "write" and verb in _READS)


def globs(wanted: Iterable[str], among: Iterable[str], besides: Iterable[str] = ()) -> list[str]:
    """Few patterns that match every id of `wanted`, and nothing of `among` but those and `besides`.

    Greedy: the pattern that covers most of what is left, until single ids are all that is left. Not the fewest there
    are, but patterns a person would write: a verb, or a tag and a verb.
    """
    left = set(wanted)
    good = left | set(besides)
    candidates = _pure(_candidates(left), good, tuple(among))
    chosen: list[str] = []
    while candidates:
        pattern, matched = max(candidates.items(), key=lambda item: (len(item[1] & left), -len(item[0]), item[0]))
        if len(matched & left) <= 1:
            break
        chosen.append(pattern)
        left -= matched
        del candidates[pattern]
    alone = _pure(map(literal, left), good, tuple(among))
    return sorted([*chosen, *alone], key=str.casefold)


def literal(operation_id: str) -> str:
    """A pattern for this id. Patterns are ASCII, so a letter beyond stands for any one character."""
    return _BEYOND_ASCII.sub("?", operation_id)


def _verb(operation_id: str, method: str) -> str:
    """The word that says what the operation does: the first of the last part, but for a mere method (`PostCharges`)."""
    part = re.split(r"[/.:]", operation_id)[-1] or operation_id
    words = [word.lower() for word in _WORD.findall(part)]
    if words[:1] == [method.lower()] and method.lower() not in _READS:
        words = words[1:2] if words[1:2] and words[1] in _CHANGES | _DESTROYS else words
    return words[0] if words else ""


def _candidates(ids: Iterable[str]) -> Counter[str]:
    """Every pattern made of the beginning of an id, or of its last part under any tag, that at least two ids share."""
    found = Counter(pattern for operation_id in ids for pattern in _beginnings(operation_id))
    return Counter({pattern: count for pattern, count in found.items() if count > 1})


def _beginnings(operation_id: str) -> Iterator[str]:
    tag, slash, last = operation_id.rpartition("/")
    for end in _ends(operation_id):
        yield literal(operation_id[:end]) + "*"
    if slash and tag:
        for end in _ends(last)[:1]:
            yield f"*/{literal(last[:end])}*"


def _ends(text: str) -> list[int]:
    """Where its words end, but for the last, with a separator that follows."""
    ends = [found.end() for found in _WORD.finditer(text)][:-1]
    return [end + 1 if text[end] in "/-_.:" else end for end in ends]


def _pure(candidates: Iterable[str], good: set[str], among: Sequence[str]) -> dict[str, set[str]]:
    """The patterns that match nothing but what is good, each with what it matches."""
    pure = {}
    for pattern in candidates:
        fits = _pattern(pattern).fullmatch
        matched = {operation_id for operation_id in among if operation_id == pattern or fits(operation_id)}
        if matched <= good:
            pure[pattern] = matched
    return pure


def _pattern(pattern: str) -> re.Pattern[str]:
    """What a toolspec's pattern means: `*` and `?` as in a shell, everything else itself."""
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
