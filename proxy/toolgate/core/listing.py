"""Reading a live catalogue: what to ask for, and what the pages of answers list.

RULE: a list is whole or it is refused. A page that cannot be read, an id that is not text or occurs twice, one item too
many: nothing of it is used, because a resource that is missing from a list is one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from toolgate.core import strictjson
from toolgate.core.bundle import LiveCatalogue
from toolgate.core.catalog import Operation
from toolgate.core.expressions import EVERY, Expression
from toolgate.core.model import Header, Json
from toolgate.core.parameters import Parameter
from toolgate.core.wiretext import Malformed, echo

MOST_PAGES: Final = 1_000
MOST_BYTES: Final = 32 << 20  # of all pages together
LONGEST_ID: Final = 512
_LONGEST_CURSOR: Final = 4_096
_OK: Final = 200
_LINK: Final = re.compile(r'<([^<>]*)>((?:[^,<>"]|"[^"]*")*)')
_RELATION: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,]+))', re.IGNORECASE)
_URL_STARTS: Final = ("http://", "https://", "/", "?")


@dataclass(frozen=True, slots=True)
class Answer:
    """One page as the upstream answered it."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


@dataclass(slots=True)
class Listing:
    """One reading of a live catalogue, page by page."""

    live: LiveCatalogue
    operation: Operation
    found: dict[str, Mapping[str, Json]] = field(default_factory=dict)  # id → attributes
    arguments: Mapping[str, Json] | None = field(init=False)  # what to ask next; None: the list is whole
    _pages: int = 0
    _bytes: int = 0
    _asked: set[str] = field(default_factory=set)  # the pages asked for, as text

    def __post_init__(self) -> None:
        self.arguments = self.live.arguments
        if self._page is not None and (self._is_counted or self._page.required):
            self._asked.add("1")
            self.arguments = self._asking("1")

    def add(self, answer: Answer) -> str | None:
        """Take one page; return what it did wrong (a predicate: `answered with status 500`) when the reading is no good."""
        self._pages += 1
        self._bytes += len(answer.body)
        wrong = self._unreadable(answer)
        if wrong is not None:
            return wrong
        try:
            body, _ = strictjson.read(answer.body)
        except Malformed as error:
            return f"gave an answer that cannot be read: {error}"
        items = self._items(body)
        if isinstance(items, str):
            return items
        return self._take(items) or self._turn(answer, body, len(items))

    # -- one page ------------------------------------------------------------------------------------------------

    def _unreadable(self, answer: Answer) -> str | None:
        if answer.status != _OK:
            return f"answered with status {answer.status}"
        if self._bytes > MOST_BYTES:
            return f"gave answers larger than {MOST_BYTES >> 20} MiB together"
        responses = self.operation.responses
        if not responses.can_judge:
            return None
        media_type = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
        if responses.schema(_OK) is not None and not responses.declared_json(_OK, media_type):
            return f"answered with the media type {echo(media_type)}, which its document does not declare"
        # SECURITY: what policies read of a resource was promised by this schema, whatever `validate_responses` says.
        violations = responses.violations(_OK, media_type, answer.body)
        if violations:
            return f"gave an answer off its schema: {violations[0].message} at {echo(violations[0].path or '/')}"
        return None

    def _items(self, body: Json) -> list[Json] | str:
        at = self.live.items
        if EVERY in at.tokens:
            before = at.tokens[: at.tokens.index(EVERY)]
            if not Expression(at.text, at.root, before).values(body):
                return f"gave an answer with nothing at `{at.text}`"
            return list(at.values(body))
        found = at.values(body)
        if not found:
            return f"gave an answer with nothing at `{at.text}`"
        return found[0] if isinstance(found[0], list) else f"gave an answer whose `{at.text}` is no list"

    def _take(self, items: list[Json]) -> str | None:
        for item in items:
            wrong = self._add(item)
            if wrong is not None:
                return wrong
        if len(self.found) > self.live.max_items:
            return f"lists more than {self.live.max_items:,} items (`max_items`)"
        return None

    def _add(self, item: Json) -> str | None:
        key = self.live.id
        name = item.get(key) if isinstance(item, dict) else item
        if not isinstance(name, str) or not name:
            return f"lists an item whose `{key}` is no text: {echo(name)}"
        if len(name) > LONGEST_ID:
            return f"lists an item whose `{key}` is longer than {LONGEST_ID} characters: {echo(name)}"
        if name in self.found:
            return f"lists {echo(name)} twice"
        self.found[name] = (
            {each: value for each, value in item.items() if each != key} if isinstance(item, dict) else {}
        )
        return None

    # -- the next page -------------------------------------------------------------------------------------------

    @property
    def _is_counted(self) -> bool:
        return self.live.page is not None and self.live.next is None

    @property
    def _page(self) -> Parameter | None:
        return next((each for each in self.operation.signature.parameters if each.key == self.live.page), None)

    def _turn(self, answer: Answer, body: Json, count: int) -> str | None:
        """Say what to ask next."""
        cursor = self._counted(count) if self._is_counted else self._next(answer.headers, body)
        self.arguments = None
        if cursor is None:
            return None
        if isinstance(cursor, _NoCursor):
            return cursor.why
        if self._pages >= MOST_PAGES:
            return f"has more than {MOST_PAGES:,} pages"
        if cursor in self._asked:
            return f"names the page {echo(cursor)} twice"
        self._asked.add(cursor)
        self.arguments = self._asking(cursor)
        return None

    def _counted(self, count: int) -> str | None:
        return str(self._pages + 1) if count else None

    def _next(self, headers: tuple[Header, ...], body: Json) -> str | _NoCursor | None:
        following = self.live.next
        if following is None:
            return None
        if following.root == "response.header":
            named = [value for name, value in headers if name.lower() == following.tokens[0]]
            said: Iterable[Json] = _linked(named) if following.tokens[0] == "link" else named
        else:
            said = following.values(body)
        last = (*said,)[-1:]
        return self._cursor(last[0]) if last else None

    def _cursor(self, said: Json) -> str | _NoCursor | None:
        if said is None or said is False or said == "":
            return None
        if isinstance(said, int) and not isinstance(said, bool):
            return str(said)
        if not isinstance(said, str) or len(said) > _LONGEST_CURSOR:
            return _NoCursor(f"names a next page that is no cursor: {echo(said)}")
        if "?" not in said or not said.startswith(_URL_STARTS):
            return said
        return self._of_url(said)

    def _of_url(self, url: str) -> str | _NoCursor:
        """SECURITY: of a URL only the one parameter is taken; where to send is the toolspec's to say."""
        name = self._page.name if self._page is not None else ""
        try:
            pairs = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=100))
        except ValueError:
            return _NoCursor(f"names a next page that is no URL: {echo(url)}")
        return pairs.get(name) or _NoCursor(f"names a next page whose URL has no `{name}`: {echo(url)}")

    def _asking(self, cursor: str) -> Mapping[str, Json]:
        page = self._page
        return {**self.live.arguments, page.key: page.shape.read(cursor)} if page is not None else self.live.arguments


@dataclass(frozen=True, slots=True)
class _NoCursor:
    why: str


def _linked(headers: Iterable[str]) -> Iterator[str]:
    """The targets of `rel=next` (RFC 8288)."""
    for header in headers:
        for target, parameters in _LINK.findall(header):
            relations = _RELATION.search(parameters)
            if relations is not None and "next" in (relations[1] or relations[2]).lower().split():
                yield target
