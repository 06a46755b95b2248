"""One OpenAPI document, whole: its files read, its overlays applied, every reference made local.

RULE: after this every `$ref` is `#/…` within one value. A reference that leaves the toolspecs folder, or names a URL, is a
problem: the gate fetches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Json
from toolgate.load.files import Folder, Named
from toolgate.load.overlay import apply_overlay
from toolgate.load.vendor import MAX_DEPTH, MAX_NODES, parse_document

Version: TypeAlias = Literal["2.0", "3.0", "3.1", "3.2"]

BUNDLED: Final = "x-toolgate-files"  # where the other files of a split document are kept, by name
_VERSIONS: Final[Mapping[str, Version]] = {"3.0": "3.0", "3.1": "3.1", "3.2": "3.2"}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
# Below these keys the names are the author's own: a property may be called `example` or `default`.
_NAMED: Final = frozenset(
    (
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
        "schemas",
        "responses",
        "parameters",
        "requestBodies",
        "headers",
        "securitySchemes",
        "links",
        "callbacks",
        "pathItems",
        "mediaTypes",
        "paths",
        "webhooks",
        "content",
        "encoding",
        "variables",
        "mapping",
    )
)
_DROPPED: Final = ("example", "examples")  # a third of a large document, and not read before mocks
_LITERAL: Final = frozenset(("default", "enum", "const"))  # data, in which `$ref` is a name; so are `x-…`


@dataclass(frozen=True, slots=True)
class Document:
    """A whole document: `value` has only local references, and no examples."""

    value: Mapping[str, Json]
    version: Version
    shown: str

    @property
    def title(self) -> str:
        return self._info("title")

    @property
    def api_version(self) -> str:
        return self._info("version")

    def resolve(self, node: Json) -> Json:
        """Follow the references of a path item or another object; None when they lead nowhere."""
        for _ in range(MAX_DEPTH):
            if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
                return node
            siblings = {key: value for key, value in node.items() if key != "$ref"}
            node = pointed(self.value, node["$ref"])
            if siblings and isinstance(node, dict):
                node = {**node, **siblings}
        return None

    def _info(self, key: str) -> str:
        info = self.value.get("info")
        return str(info.get(key, "")) if isinstance(info, dict) else ""


def pointed(document: Json, reference: str) -> Json:
    """Return what a local reference points at, or None."""
    if not reference.startswith("#/"):
        return document if reference == "#" else None
    for token in unquote(reference[2:]).split("/"):
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def load_document(folder: Folder, file: Named | Path, *overlays: Named) -> Document:
    """Read a document with everything it refers to. Raises BundleError with every problem."""
    named = file if isinstance(file, Named) else Named(file)
    shown = folder.name(named.path)
    value = parse_document(folder.read_named(named), shown)
    version = _version(value, shown)
    problems: list[Problem] = []
    for overlay in overlays:
        name = folder.name(overlay.path)
        problems += apply_overlay(value, parse_document(folder.read_named(overlay), name), name)
    if problems:
        raise BundleError(problems)
    bundler = _Bundler(folder, named.path)
    bundler.run(value)
    if bundler.problems:
        raise BundleError(bundler.problems)
    return Document(value, version, shown)


def _version(value: Mapping[str, Json], shown: str) -> Version:
    if value.get("swagger") == "2.0" or value.get("swagger") == 2:  # noqa: PLR2004 - unquoted in YAML
        return "2.0"
    given = value.get("openapi")
    version = _VERSIONS.get(".".join(str(given).split(".")[:2]))
    if version is None:
        told = f"`openapi: {given}` is not read" if given is not None else "has neither `openapi:` nor `swagger:`"
        message = f"{told}; OpenAPI 3.0, 3.1, 3.2 and Swagger 2.0 are"
        raise BundleError([Problem(shown, 0, "document.version", message)])
    return version


@dataclass(slots=True)
class _Bundler:
    """Brings the other files of a split document into it, and rewrites the references to them. One walk per file."""

    folder: Folder
    root: Path
    problems: list[Problem] = field(default_factory=list)
    bundled: dict[str, Json] = field(default_factory=dict)
    waiting: list[tuple[Path, Json]] = field(default_factory=list)

    def run(self, value: dict[str, Json]) -> None:
        self._walk(self.root, value)
        while self.waiting:
            self._walk(*self.waiting.pop())
        if self.bundled:
            value[BUNDLED] = self.bundled

    def _walk(self, path: Path, value: Json) -> None:
        for node in _objects(value, self.folder.name(path)):
            reference = node.get("$ref")
            if isinstance(reference, str) and (path != self.root or not reference.startswith("#")):
                node["$ref"] = self._local(path, reference)

    def _local(self, path: Path, reference: str) -> str:
        file, _, fragment = reference.partition("#")
        if not file:
            return self._pointer(path) + fragment
        if _SCHEME.match(file) or file.startswith("/"):
            self._problem(path, reference, "reference.remote", "names a place outside the toolspecs folder")
            return "#"
        target = path.parent / unquote(file)
        named = self.folder.root / self.folder.relative(target)
        if not self._bring(path, named):
            return "#"
        return self._pointer(named) + fragment

    def _pointer(self, path: Path) -> str:
        if path == self.root:
            return "#"
        name = self.folder.relative(path).replace("~", "~0").replace("/", "~1").replace("%", "%25")
        return f"#/{BUNDLED}/{name}"

    def _bring(self, path: Path, target: Path) -> bool:
        name = self.folder.relative(target)
        if target == self.root or name in self.bundled:
            return True
        try:
            value = parse_document(
                self.folder.read_named(Named(target, self.folder.name(path))), self.folder.name(target)
            )
        except BundleError as error:
            self.problems += error.problems
            return False
        self.bundled[name] = value
        self.waiting.append((target, value))
        return True

    def _problem(self, path: Path, reference: str, code: str, message: str) -> None:
        told = f"`$ref: {reference}` {message}; save the file beside this one and name it by a relative path"
        self.problems.append(Problem(self.folder.name(path), 0, code, told))


def _objects(value: Json, shown: str) -> Iterator[dict[str, Json]]:
    """Walk every object that is not literal data, dropping examples. Parents come before what they hold."""
    level: list[tuple[Json, bool]] = [(value, False)]
    seen = 0
    for _ in range(MAX_DEPTH):
        below: list[tuple[Json, bool]] = []
        for node, named in level:
            if isinstance(node, list):
                below.extend((item, False) for item in node if isinstance(item, dict | list))
                continue
            if not named:
                yield node
                for key in _DROPPED:
                    node.pop(key, None)
            below.extend(
                (member, not named and key in _NAMED)
                for key, member in node.items()
                if isinstance(member, dict | list) and (named or not (key in _LITERAL or key.startswith("x-")))
            )
        seen += len(below)
        if seen > MAX_NODES:
            raise BundleError([Problem(shown, 0, "document.too_large", "holds too many objects and arrays")])
        if not below:
            return
        level = below
    raise BundleError([Problem(shown, 0, "document.too_deep", f"is nested deeper than {MAX_DEPTH} levels")])
