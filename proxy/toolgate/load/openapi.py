"""The operations of a document: what each is called, what it may do by default, and what its author says about it.

RULE: an operation's id is the vendor's own where it is one and only one; every other id is made from method and path, so
that no operation can be taken for another.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from toolgate.core.bundle import Note
from toolgate.core.matching import parse_key
from toolgate.core.model import Effect, Json
from toolgate.load.documents import Document

METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
MAX_DESCRIPTION: Final = 1024
MAX_NAME: Final = 64
_MAX_ID: Final = 255
_EFFECTS: Final[Mapping[str, Effect]] = {
    "GET": "read",
    "HEAD": "read",
    "OPTIONS": "read",
    "QUERY": "read",
    "DELETE": "destructive",
}
_OTHER: Final = re.compile(r"[^A-Za-z0-9]+")
_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_METHOD: Final = re.compile(r"[A-Z]{1,32}", re.ASCII)
_UNSEEN: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Declared:
    """One operation as its document has it."""

    id: str
    method: str
    template: str
    path_item: Mapping[str, Json]
    operation: Mapping[str, Json]
    pointer: str  # where in the document: a JSON Pointer

    @property
    def effect(self) -> Effect:
        """What its method promises; the toolspec knows better."""
        return _EFFECTS.get(self.method, "write")

    @property
    def shape(self) -> tuple[str, str, object]:
        """Its method and path without template names: two of one shape are met by the same requests."""
        key = parse_key(self.template)
        return self.method, key.shape, key.fixed_query


@dataclass(slots=True)
class Operations:
    """What was found in one document, and what in it can never be called."""

    declared: list[Declared] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def operations_of(document: Document) -> Operations:
    """Return the operations of a document, in its order, each with an id of its own."""
    found = Operations()
    paths = document.value.get("paths")
    for template, item in (paths if isinstance(paths, dict) else {}).items():
        pointer = f"/paths/{_token(template)}"
        if template.startswith("x-"):
            continue
        wrong = _wrong_key(template)
        item = document.resolve(item)  # noqa: PLW2901 - the same path item, wherever it stands
        if wrong or not isinstance(item, dict):
            message = f"{wrong or 'the path item is missing or not an object'}; it cannot be called"
            found.notes.append(Note(document.shown, pointer, "not_understood", message))
            continue
        for method, operation, place in _methods(document, item, f"{pointer}", found.notes):
            found.declared.append(Declared("", method, template, item, operation, place))
    found.declared = _identified(found.declared)
    found.notes += _notes_of_repeated(document, found.declared)
    return found


def _notes_of_repeated(document: Document, declared: list[Declared]) -> Iterator[Note]:
    repeated = repeated_ids(declared)
    for each in declared:
        if _given_id(each) in repeated:
            message = f"`{_given_id(each)}` occurs more than once, so this operation is named `{each.id}`"
            yield Note(document.shown, f"{each.pointer}/operationId", "not_understood", message)


def _wrong_key(template: str) -> str | None:
    try:
        parse_key(template)
    except ValueError as error:
        return str(error)
    return None


def _methods(
    document: Document, item: Mapping[str, Json], pointer: str, notes: list[Note]
) -> Iterator[tuple[str, Mapping[str, Json], str]]:
    """Every operation of a path item whose method can be sent, with its place."""
    names = (*METHODS, "query") if document.version == "3.2" else METHODS
    for name in item:
        if name in names and isinstance(item[name], dict):
            yield name.upper(), item[name], f"{pointer}/{name}"
    if "trace" in item:
        notes.append(
            Note(document.shown, f"{pointer}/trace", "not_understood", "TRACE is never sent; it cannot be called")
        )
    more = item.get("additionalOperations") if document.version == "3.2" else None
    for method, operation in (more if isinstance(more, dict) else {}).items():
        place = f"{pointer}/additionalOperations/{_token(method)}"
        if _METHOD.fullmatch(method) and method not in ("TRACE", "CONNECT") and isinstance(operation, dict):
            yield method, operation, place
        else:
            notes.append(
                Note(
                    document.shown, place, "not_understood", f"the method `{method}` is never sent; it cannot be called"
                )
            )


def _identified(declared: list[Declared]) -> list[Declared]:
    given = Counter(_given_id(each) for each in declared)
    kept = {each for each in given if each and given[each] == 1}
    made = Counter(_made_id(each) for each in declared if _given_id(each) not in kept)
    taken = kept | {each for each in made if made[each] > 1}
    return [replace(each, id=_id(each, kept, taken)) for each in declared]


def _id(each: Declared, kept: set[str], taken: set[str]) -> str:
    given = _given_id(each)
    if given in kept:
        return given
    made = _made_id(each)
    return made if made not in taken else f"{made}_{_digest(f'{each.method} {each.template}')}"


def repeated_ids(declared: Iterable[Declared]) -> dict[str, tuple[str, ...]]:
    """The vendor's ids that occur more than once, each with what its operations are named instead."""
    named: dict[str, list[str]] = {}
    for each in declared:
        given = _given_id(each)
        if given and given != each.id:
            named.setdefault(given, []).append(each.id)
    return {given: tuple(ids) for given, ids in named.items()}


def _given_id(each: Declared) -> str:
    """The vendor's id; empty where there is none that could be printed in an error or typed in an allow-list."""
    given = each.operation.get("operationId")
    return given if isinstance(given, str) and 0 < len(given) <= _MAX_ID and given.isprintable() else ""


def _made_id(each: Declared) -> str:
    return _OTHER.sub("_", f"{each.method.lower()}_{each.template}").strip("_")[:_MAX_ID]


def names_of(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the model's name of each (tool, id): `tool__id`, with a digest where it is too long or not alone."""
    pairs = list(keys)
    plain = {pair: _NOT_NAME.sub("_", f"{pair[0]}__{pair[1]}") for pair in pairs}
    shared = Counter(plain.values())
    return {
        pair: name if len(name) <= MAX_NAME and shared[name] == 1 else _digested(name, pair)
        for pair, name in plain.items()
    }


def _digested(name: str, pair: tuple[str, str]) -> str:
    digest = _digest(".".join(pair))
    return f"{name[: MAX_NAME - len(digest) - 1]}_{digest}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def description_of(operation: Mapping[str, Json]) -> str:
    """What the author says, short: it is read by a model."""
    told = [text.strip() for key in ("summary", "description") if isinstance(text := operation.get(key), str)]
    return visible("\n\n".join(dict.fromkeys(each for each in told if each)), MAX_DESCRIPTION)


def visible(text: str, longest: int) -> str:
    """Return the text without the characters that an eye does not see, cut to `longest`."""
    seen = _UNSEEN.sub(" ", text)
    return seen if len(seen) <= longest else f"{seen[: longest - 1].rstrip()}…"


def server_url(document: Document) -> str | None:
    """The document's own server, with its variables' defaults; None where it names no absolute one."""
    url = _swagger_server(document.value) if document.version == "2.0" else _server(document.value.get("servers"))
    return url.rstrip("/") if url and re.match(r"https?://[^{}]+\Z", url) else None


def _swagger_server(value: Mapping[str, Json]) -> str | None:
    host, base = value.get("host"), value.get("basePath", "")
    schemes = value.get("schemes") or ["https"]
    if not isinstance(host, str) or not isinstance(base, str) or not isinstance(schemes, list):
        return None
    return f"{'https' if 'https' in schemes else schemes[0]}://{host}{base}"


def _server(servers: Any) -> str | None:
    first = servers[0] if isinstance(servers, list) and servers else None
    if not isinstance(first, dict) or not isinstance(first.get("url"), str):
        return None
    variables = first.get("variables")
    url = str(first["url"])
    for name, variable in (variables if isinstance(variables, dict) else {}).items():
        if isinstance(variable, dict):
            url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    return url


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
