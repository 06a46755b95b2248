"""A gate with an upstream behind it, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.books import assert_agents_were_told_the_truth, assert_written_ahead
from tests.support.gate import Gate
from tests.support.home import build, tool
from tests.support.load import Load
from tests.support.upstream import Seen, Upstream, book_of


@dataclass(frozen=True, slots=True)
class Scene:
    gate: Gate
    upstream: Upstream
    book: Path

    @property
    def seen(self) -> list[str]:
        """Everything the upstream saw, from its file."""
        return book_of(self.book)

    def load(self, name: str, **options: Any) -> Load:
        return Load(self.gate.ports["agent"], name, **options)

    def assert_books_agree(self, *loads: Load) -> None:
        assert_written_ahead(self.gate, self.seen)
        for load in loads:
            assert_agents_were_told_the_truth(load.answers, self.seen)
        self.gate.verify()


@contextmanager
def served(
    home: Path,
    *,
    witness: Callable[[Seen], None] | None = None,
    under: Sequence[str] = (),
    environment: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Scene]:
    """A ready gate in `home`, and its upstream. `environment` goes into the toolspec, the rest into the settings."""
    book = home / "book.txt"
    home.mkdir(exist_ok=True)
    with Upstream(book, witness=witness) as upstream:
        build(home, tool(upstream.url, **(environment or {})), **settings)
        with Gate(home, under=under) as gate:
            yield Scene(gate, upstream, book)
