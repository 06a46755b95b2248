"""Did you mean: the known words nearest to one that is not known.

RULE: pure and bounded. A refusal must stay cheap, so words are compared by shared letter pairs first and only the
best few letter by letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

from toolgate.core.wiretext import echo

_LONGEST: Final = 128  # characters of the asked word that are compared
_COMPARED: Final = 12  # candidates compared letter by letter
_CUTOFF: Final = 0.6
_REMEMBERED: Final = 64  # answers, of one vocabulary
_KEPT: Final = 1024  # words of a vocabulary that is kept for the next question


class Vocabulary:
    """Known words, indexed at load so that asking costs the same for ten and for ten thousand."""

    __slots__ = ("_asked", "_folded", "_pairs", "_words")

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(dict.fromkeys(words))
        self._folded = tuple(word.casefold() for word in self._words)
        self._asked: dict[tuple[str, int], tuple[str, ...]] = {}  # agents repeat their mistakes; bounded by _REMEMBERED
        self._pairs: dict[str, list[int]] = {}
        for index, word in enumerate(self._folded):
            for pair in _pairs_of(word):
                self._pairs.setdefault(pair, []).append(index)

    def near(self, word: str, n: int = 3) -> tuple[str, ...]:
        """Return at most `n` known words, nearest first; none when nothing is near."""
        asked = word[:_LONGEST].casefold(), n
        known = self._asked.get(asked)
        if known is None:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            known = self._asked[asked] = self._nearest(*asked)
        return known

    def _nearest(self, folded: str, n: int) -> tuple[str, ...]:
        scored = [(score, i) for i in self._shortlist(folded) if (score := self._score(folded, i)) >= _CUTOFF]
        scored.sort(key=lambda each: (-each[0], self._words[each[1]]))
        return tuple(self._words[i] for _, i in scored[:n])

    def _shortlist(self, folded: str) -> list[int]:
        shared: Counter[int] = Counter()
        for pair in _pairs_of(folded):
            shared.update(self._pairs.get(pair, ()))
        wanted = len(folded)
        return sorted(shared, key=lambda i: (-2 * shared[i] / (wanted + len(self._folded[i]) + 2), i))[:_COMPARED]

    def _score(self, folded: str, index: int) -> float:
        matcher = SequenceMatcher(None, folded, self._folded[index], autojunk=False)
        # Upper bounds of the ratio first: most candidates end there.
        if matcher.real_quick_ratio() < _CUTOFF or matcher.quick_ratio() < _CUTOFF:
            return 0.0
        return matcher.ratio()


def near(word: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return at most `n` of the candidates, nearest first; none when nothing is near."""
    words = tuple(candidates)
    return (_vocabulary(words) if len(words) <= _KEPT else Vocabulary(words)).near(word, n)


@lru_cache(maxsize=128)  # the words are declared, never a caller's; an index costs more than its answer
def _vocabulary(words: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(words)


def shortened(text: str) -> str:
    """Return a caller's text as a message may show it between backticks: on one line, at most 64 characters."""
    return echo(text)[1:-1]


def _pairs_of(word: str) -> set[str]:
    framed = f"\x02{word}\x03"
    return {framed[i : i + 2] for i in range(len(framed) - 1)}
