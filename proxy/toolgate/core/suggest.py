"""Did you mean: the known words nearest to one that is not known.

RULE: pure and bounded. A refusal must stay cheap, so words are compared by shared letter pairs first and only the
best few letter by letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final

from toolgate.core.wiretext import echo

_LONGEST: Final = 128  # characters of the asked word that are compared
_COMPARED: Final = 12  # candidates compared letter by letter
_CUTOFF: Final = 0.6


class Vocabulary:
    """Known words, indexed at load so that asking costs the same for ten and for ten thousand."""

    __slots__ = ("_folded", "_pairs", "_words")

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(dict.fromkeys(words))
        self._folded = tuple(word.casefold() for word in self._words)
        self._pairs: dict[str, list[int]] = {}
        for index, word in enumerate(self._folded):
            for pair in _pairs_of(word):
                self._pairs.setdefault(pair, []).append(index)

    def near(self, word: str, n: int = 3) -> tuple[str, ...]:
        """Return at most `n` known words, nearest first; none when nothing is near."""
        folded = word[:_LONGEST].casefold()
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
        return SequenceMatcher(None, folded, self._folded[index], autojunk=False).ratio()


def near(word: str, candidates: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """Return at most `n` of the candidates, nearest first; none when nothing is near."""
    return Vocabulary(candidates).near(word, n)


def shortened(text: str) -> str:
    """Return a caller's text as a message may show it between backticks: on one line, at most 64 characters."""
    return echo(text)[1:-1]


def _pairs_of(word: str) -> set[str]:
    framed = f"\x02{word}\x03"
    return {framed[i : i + 2] for i in range(len(framed) - 1)}
