"""Which known texts are near a given one, at a cost that does not follow how many there are.

RULE: a did-you-mean is an aid, not a search engine: a bounded number of candidates is looked at, and a poor one is not
named. Its weakness: two texts that share only very common trigrams are not found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

MAX_TEXT: Final = 160  # of what was asked; longer names are not typing errors
MAX_POSTINGS: Final = 48  # how many texts one trigram may bring in
RAREST: Final = 12  # trigrams asked
WEIGHED: Final = 8  # candidates compared in full
_DULL: Final = re.compile(r"[^a-z0-9/]+")


def fold(text: str) -> str:
    """Reduce a text to what typing errors keep: letters, digits and slashes, in lower case."""
    return _DULL.sub("", text[:MAX_TEXT].lower())


def trigrams(folded: str) -> frozenset[str]:
    padded = f"^{folded}$"
    return frozenset([padded[at : at + 3] for at in range(max(1, len(padded) - 2))])


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Dice's coefficient: 1.0 for equal sets, 0.0 for disjoint ones."""
    return 2 * len(one & other) / (len(one) + len(other))


class Nearby:
    """An index of texts by their trigrams."""

    __slots__ = ("_postings", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: Sequence[str] = tuple(fold(text) for text in texts)
        self._postings: dict[str, list[int]] = {}
        for at, text in enumerate(self._texts):
            for trigram in trigrams(text):
                self._postings.setdefault(trigram, []).append(at)

    def search(self, text: str, *, count: int, least: float) -> tuple[tuple[int, float], ...]:
        """Return the positions of the nearest texts and their likeness, best first, none below `least`."""
        asked = trigrams(fold(text))
        weighed = ((at, likeness(asked, trigrams(self._texts[at]))) for at in self._candidates(asked))
        good = [(at, score) for at, score in weighed if score >= least]
        return tuple(sorted(good, key=lambda item: (-item[1], item[0]))[:count])

    def _candidates(self, asked: frozenset[str]) -> list[int]:
        known = (postings for trigram in asked if (postings := self._postings.get(trigram)) is not None)
        rarest = sorted(known, key=len)[:RAREST]
        seen: Counter[int] = Counter()
        for postings in rarest:
            seen.update(postings[:MAX_POSTINGS])
        return [at for at, _ in seen.most_common(WEIGHED)]
