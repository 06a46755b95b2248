"""From a request's method, path and query to the operations it means: dictionaries and a tree of segments, built at load.

RULE: a path is matched as its upstream will read it (percent-decoded once), and handed on as it was written. What is not
in canonical form (dot or empty segments, controls, what decodes twice, encoded slashes where no operation declares them)
is refused, never normalised into a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from toolgate.core.model import new

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation

# SECURITY: none of these can be part of a match, whatever the wire gate let through.
_UNSAFE_RAW: Final = re.compile(r"//|/\.\.?(?:/|\Z)|[^!-~]|[\\#?]|%(?![0-9A-Fa-f]{2})|%25[0-9A-Fa-f]{2}", re.ASCII)
# Most paths, at a third of the cost: nothing but unreserved characters, no segment that is empty or begins with a dot.
_SAFE_RAW: Final = re.compile(r"(?:/(?!\.)[A-Za-z0-9._~-]++)++").fullmatch
_UNSAFE_TEXT: Final = "[\x00-\x1f\x7f-\x9f\\\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
_UNSAFE_DECODED: Final = re.compile(_UNSAFE_TEXT)
_SLASH: Final = re.compile("%2[Ff]")
_UNSAFE_PLAIN: Final = re.compile(rf"//|/\.\.?(?:/|\Z)|{_UNSAFE_TEXT}")
_TEMPLATE: Final = re.compile(r"\{[^{}]*\}")

Pairs: TypeAlias = tuple[tuple[str, str], ...]
Operations: TypeAlias = "tuple[Operation, ...]"
Mark: TypeAlias = int | tuple[int, int, int]  # a whole segment, or (segment, start, end) of its decoded text


class Found(NamedTuple):
    """The operations one request means: one, or several whose keys differ only by `#…`.

    `path_values` holds, for each operation, the raw (percent-encoded) values in the order of its template.
    """

    operations: Operations
    path_values: tuple[tuple[str, ...], ...]

    @property
    def is_declared(self) -> bool:
        """Whether each operation declares the encoded slashes of the path where they stand."""
        return all(
            operation.signature.declares(values)
            for operation, values in zip(self.operations, self.path_values, strict=True)
        )


class Asked(NamedTuple):
    method: str
    query: str


@dataclass(frozen=True, slots=True)
class Key:
    """A document's path key, taken apart: `/responses/compact?beta=true#Action=x`."""

    path: str
    fixed_query: Pairs

    @property
    def shape(self) -> str:
        """The path without the names of its templates: two keys of one shape take the same paths."""
        return _TEMPLATE.sub("{}", self.path)


def parse_key(template: str) -> Key:
    """Take a document's path key apart. Raises ValueError with a sentence when no request could be written for it."""
    path_and_query, _, _ = template.partition("#")
    path, _, query = path_and_query.partition("?")
    if not path.startswith("/"):
        raise ValueError(f"the path `{template}` does not begin with `/`")
    if "{" in query or "}" in query:
        raise ValueError(f"the path `{template}` has a template in its query; declare it as a query parameter")
    plain = _TEMPLATE.sub("x", path)
    if "{" in plain or "}" in plain:
        raise ValueError(f"the path `{template}` has a brace without its partner")
    if _UNSAFE_PLAIN.search(plain) or ("%" in plain and any(_is_uncallable(part) for part in plain.split("/"))):
        raise ValueError(
            f"the path `{template}` has an empty or dot segment, a slash within one or an unseen character"
        )
    return Key(path, query_pairs(query))


def _is_uncallable(segment: str) -> bool:
    text = _literal(segment)
    return text in (".", "..") or "/" in text or _UNSAFE_DECODED.search(text) is not None


def query_pairs(query: str) -> Pairs:
    """Split a raw query and decode each half once; what is not UTF-8 stays as it is and equals nothing declared."""
    return tuple(
        (_unquote(name), _unquote(value)) for name, _, value in (p.partition("=") for p in query.split("&") if p)
    )


def _unquote(text: str) -> str:
    plain = text.replace("+", " ")
    return unquote_to_bytes(plain).decode("utf-8", "surrogateescape") if "%" in plain else plain


def read_early(path: str) -> str:
    """What a raw path is to an upstream that decodes its encoded slashes before it matches."""
    return _SLASH.sub("/", path)


@dataclass(frozen=True, slots=True)
class Variants:
    """What one method and path shape can mean: by the fixed query of their keys, most pairs first."""

    by_query: tuple[tuple[Pairs, Operations], ...]

    def choose(self, query: str) -> Operations:
        """Return the operations whose fixed query this query holds; the fullest wins."""
        if not self.by_query[0][0]:
            return self.by_query[0][1]
        given = frozenset(query_pairs(query))
        for pairs, operations in self.by_query:
            if given.issuperset(pairs):
                return operations
        return ()


Leaf: TypeAlias = dict[str, Variants]


@dataclass(frozen=True, slots=True)
class Affixed:
    """A segment of several parts: `{base}...{head}`, `{Sid}.json`, `{name}:cancel`. Linear in the segment."""

    texts: tuple[str, ...]  # the literal texts before, between and after the templates

    def spans(self, segment: str) -> list[tuple[int, int]] | None:
        """Return where each value stands, none empty, the leftmost way it fits."""
        first, last = self.texts[0], self.texts[-1]
        end = len(segment) - len(last)
        if not segment.startswith(first) or not segment.endswith(last):
            return None
        spans, start = [], len(first)
        for text in self.texts[1:-1]:
            at = segment.find(text, start + 1, end)
            if at < 0:
                return None
            spans.append((start, at))
            start = at + len(text)
        if start >= end:
            return None
        spans.append((start, end))
        return spans


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    affixed: list[tuple[Affixed, _Node]] = field(default_factory=list)
    whole: _Node | None = None
    leaf: Leaf = field(default_factory=dict)


class Matcher:
    """The paths of a set of operations. Flat: its cost follows the path's segments, not the number of operations."""

    __slots__ = ("_exact", "_root", "_tails")

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        self._exact: dict[str, dict[str, Found]] = {}
        self._tails: dict[str, _Node] = {}  # by the literal path before it: what a last segment is looked for in
        for (path, method), group in _grouped(operations).items():
            self._add(path, method, group)
        self._tails = {head: node for head, node in self._tails.items() if not node.affixed}

    def find(self, method: str, path: str, query: str) -> Found | None:
        """Return what the request means, or None. `path` is raw: `/tool` and then the path on the upstream."""
        exact = self._exact.get(path)
        if exact is not None and (found := exact.get(method)) is not None:
            return found
        is_safe = _SAFE_RAW(path) is not None
        if is_safe and (found := self._find_last(method, path, query)) is not None:
            return found
        if not is_safe and _UNSAFE_RAW.search(path):
            return None
        raw = path.split("/")
        segments = raw if "%" not in path else _decoded(raw)
        if segments is None:
            return None
        marks: list[Mark] = []
        operations = _walk(self._root, segments, 1, marks, new(Asked, (method, query)))
        if not operations:
            return None
        values = tuple([raw[mark] if isinstance(mark, int) else _cut(raw, segments, mark) for mark in marks])
        found = new(Found, (operations, (values,) * len(operations)))
        return None if "%" in path and _SLASH.search(path) and not found.is_declared else found

    def _find_last(self, method: str, path: str, query: str) -> Found | None:
        """What most paths with a template are: literal but for the last segment. None where it must be walked."""
        head, _, last = path.rpartition("/")
        node = self._tails.get(head)
        if node is None or node.whole is None or last in node.literals:
            return None
        variants = node.whole.leaf.get(method)
        operations = variants.choose(query) if variants is not None else ()
        return new(Found, (operations, ((last,),) * len(operations))) if operations else None

    def _add(self, path: str, method: str, group: Mapping[Pairs, Operations]) -> None:
        above = node = self._root
        for segment in path.split("/")[1:]:
            above, node = node, _child(node, segment)
        by_query = sorted(group.items(), key=lambda item: -len(item[0]))
        node.leaf[method] = Variants(tuple(by_query))
        head = path.removesuffix("/{}")
        if head != path and _SAFE_RAW(head):
            self._tails[head] = above
        if "{" not in path and set(group) == {()} and not _UNSAFE_RAW.search(path):
            self._exact.setdefault(path, {})[method] = Found(group[()], ((),) * len(group[()]))


def _grouped(operations: Iterable[Operation]) -> dict[tuple[str, str], dict[Pairs, Operations]]:
    groups: dict[tuple[str, str], dict[Pairs, Operations]] = {}
    for operation in operations:
        key = parse_key(operation.template)
        group = groups.setdefault((f"/{operation.tool}{key.shape}", operation.method), {})
        group[key.fixed_query] = (*group.get(key.fixed_query, ()), operation)
    return groups


def _child(node: _Node, segment: str) -> _Node:
    if segment == "{}":
        node.whole = node.whole or _Node()
        return node.whole
    if "{}" not in segment:
        return node.literals.setdefault(_literal(segment), _Node())
    pattern = Affixed(tuple(_literal(text) for text in segment.split("{}")))
    for known, child in node.affixed:
        if known == pattern:
            return child
    child = _Node()
    node.affixed.append((pattern, child))
    node.affixed.sort(key=lambda item: (-sum(map(len, item[0].texts)), len(item[0].texts)))  # more literal text first
    return child


def _literal(text: str) -> str:
    """A template's literal text as its upstream reads it: authors write `%20` and ` ` for the same path."""
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def _walk(node: _Node, segments: Sequence[str], at: int, marks: list[Mark], asked: Asked) -> Operations:
    """Return what stands at the end of the most specific way that has this method and query; () when none does."""
    kept = len(marks)
    while at < len(segments) and not node.affixed:  # where one way only leads on, there is nothing to come back to
        child = node.literals.get(segments[at])
        if child is None and node.whole is not None and segments[at]:
            child = node.whole
            marks.append(at)
        elif child is None or node.whole is not None:
            break
        node, at = child, at + 1
    operations = _branch(node, segments, at, marks, asked)
    if not operations:
        del marks[kept:]
    return operations


def _branch(node: _Node, segments: Sequence[str], at: int, marks: list[Mark], asked: Asked) -> Operations:
    if at == len(segments):
        variants = node.leaf.get(asked.method)
        return variants.choose(asked.query) if variants is not None else ()
    segment = segments[at]
    child = node.literals.get(segment)
    if child is not None and (operations := _walk(child, segments, at + 1, marks, asked)):
        return operations
    return _through_templates(node, segments, at, marks, asked) if segment else ()


def _through_templates(node: _Node, segments: Sequence[str], at: int, marks: list[Mark], asked: Asked) -> Operations:
    kept = len(marks)
    for pattern, child in node.affixed:
        spans = pattern.spans(segments[at])
        if spans is None:
            continue
        marks.extend((at, start, end) for start, end in spans)
        if operations := _walk(child, segments, at + 1, marks, asked):
            return operations
        del marks[kept:]
    if node.whole is None:
        return ()
    marks.append(at)
    operations = _walk(node.whole, segments, at + 1, marks, asked)
    if not operations:
        del marks[kept:]
    return operations


def _decoded(raw: Sequence[str]) -> list[str] | None:
    segments = []
    for segment in raw:
        try:
            text = unquote_to_bytes(segment).decode("utf-8") if "%" in segment else segment
        except UnicodeDecodeError:
            return None
        if text in (".", "..") or _UNSAFE_DECODED.search(text):
            return None
        segments.append(text)
    return segments


def _cut(raw: Sequence[str], segments: Sequence[str], mark: tuple[int, int, int]) -> str:
    """Return the raw text of a part of a segment that was matched by its decoded text."""
    at, start, end = mark
    written, text = raw[at], segments[at]
    if len(written) == len(text):
        return written[start:end]
    ends = _raw_ends(written, text)
    return written[ends[start] : ends[end]]


def _raw_ends(written: str, text: str) -> list[int]:
    """For each count of decoded characters, how many raw ones they take."""
    ends, at = [0], 0
    for character in text:
        at += 3 * len(character.encode()) if written[at] == "%" else 1
        ends.append(at)
    return ends
