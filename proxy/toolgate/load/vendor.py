"""Documents as vendors ship them: JSON or YAML of any dialect, read leniently, fast and within bounds.

RULE: nothing a document holds makes the gate run code, expand without bound or guess a type: dates and versions stay
text, keys become text, and what cannot be JSON is a problem. Measured on 4.2 MB of YAML: ryaml 0.15 s, PyYAML's C loader
1.7 s, with equal values; unlike YAML 1.1 loaders, ryaml reads `on`, `no`, `017`, `1_000` and dates as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import orjson
from ryaml._ryaml import InvalidYamlError, loads  # typed there; the package itself re-exports them untyped

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Json

MAX_DEPTH: Final = 512
MAX_NODES: Final = 5_000_000  # containers; YAML aliases counted at what they stand for
MAX_OPEN: Final = 4_096  # brackets, by count alone: prose in a document may leave some open
_RETRIES: Final = 16
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_TOO_WIDE: Final = re.compile(r"integer `(-?\d+)` as [iu]128.* at line (\d+) column (\d+)")
_AT: Final = re.compile(r" ?at line (\d+) column \d+")
_MERGE: Final = "<<"


def parse_document(content: bytes, shown: str) -> dict[str, Json]:
    """Return the object a vendor's file holds. Raises BundleError."""
    value = _parse(content.removeprefix(b"\xef\xbb\xbf"), shown)
    if not isinstance(value, dict):
        raise _problem(shown, 0, "document.syntax", "is not an object; an OpenAPI document begins with `openapi:`")
    return value


def _parse(content: bytes, shown: str) -> Json:
    if content.lstrip()[:1] == b"{":
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            if "depth limit" in error.msg:
                raise _too_deep(shown) from error
            if shown.endswith(".json"):
                reason = f"is not JSON: {error.msg}"
                raise _problem(shown, error.lineno, "document.syntax", reason) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _problem(shown, line, "document.encoding", "is not UTF-8") from error
    if _most_open(content) > MAX_OPEN:
        raise _too_deep(shown)
    value = _parse_yaml(text, shown)
    return _as_json(value, shown) if isinstance(value, dict) else value


def _most_open(content: bytes) -> int:
    """How many brackets are open at once, those in texts included. ryaml takes time quadratic in it (100,000: 35 s)."""
    return max(accumulate(1 if each in b"[{" else -1 for each in content.translate(None, _NOT_BRACKETS)), default=0)


def _parse_yaml(text: str, shown: str) -> Json:
    for _ in range(_RETRIES):
        try:
            return loads(text)
        except InvalidYamlError as error:
            widened = _widened(text, str(error))
            if widened is None:
                raise _yaml_problem(str(error), shown) from error
            text = widened
        except ValueError as error:  # a key that is a list or mapping
            raise _problem(shown, 0, "document.syntax", "has a list or mapping as a key") from error
    raise _problem(shown, 0, "document.syntax", f"has more than {_RETRIES} integers beyond 64 bits")


def _widened(text: str, reason: str) -> str | None:
    """Write an integer beyond 64 bits as the double it is read as everywhere else (orjson, JavaScript); None if none."""
    match = _TOO_WIDE.search(reason)
    if match is None:
        return None
    digits, line, column = match[1], int(match[2]), int(match[3])
    lines = text.split("\n")
    at = lines[line - 1].find(digits, max(0, column - 1 - len(digits)))
    if at < 0:
        return None
    end = at + len(digits)
    lines[line - 1] = f"{lines[line - 1][:end]}.0{lines[line - 1][end:]}"
    return "\n".join(lines)


def _yaml_problem(reason: str, shown: str) -> BundleError:
    match = _AT.search(reason)
    told = _AT.sub("", reason).replace("\n", " ").replace('"', "`")
    return _problem(shown, int(match[1]) if match else 0, "document.syntax", f"is not YAML: {told}")


def _too_deep(shown: str) -> BundleError:
    return _problem(shown, 0, "document.too_deep", f"is nested deeper than {MAX_DEPTH} levels")


def _problem(shown: str, line: int, code: str, message: str) -> BundleError:
    return BundleError([Problem(shown, line, code, message)])


def _as_json(value: Json, shown: str) -> Json:
    """Make what YAML can hold and JSON cannot into JSON: keys become text, merge keys are merged. In place."""
    for container in containers(value, shown):
        if isinstance(container, dict):
            if _MERGE in container:
                _merge(container)
            if not all(type(key) is str for key in container):
                _name_keys(container)
    return value


def containers(value: Json, shown: str) -> Iterator[dict[str, Json] | list[Json]]:
    """Walk every object and array, parents first, within bounds; a parent may be changed when it is yielded."""
    level, seen = [value], 0
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for container in level:
            yield container
            members = container.values() if isinstance(container, dict) else container
            below.extend(member for member in members if isinstance(member, (dict, list)))
        seen += len(below)
        if seen > MAX_NODES:
            raise _problem(shown, 0, "document.too_large", f"holds more than {MAX_NODES} objects and arrays")
        if not below:
            return
        level = below
    raise _too_deep(shown)


def _merge(members: dict[str, Json]) -> None:
    """Merge what `<<` names: own keys win, then the earlier of the merged, each with its own merges done."""
    merged = members[_MERGE]
    sources = merged if isinstance(merged, list) else [merged]
    if not all(isinstance(source, dict) for source in sources):
        return
    del members[_MERGE]
    for source in sources:
        if _MERGE in source:
            _merge(source)
        for key, value in source.items():
            members.setdefault(key, value)


def _name_keys(members: dict[Json, Json]) -> None:
    """Give each key the text a JSON reader would see: `200:` is `"200"`, `true:` is `"true"`."""
    named = {key if isinstance(key, str) else orjson.dumps(key).decode(): value for key, value in members.items()}
    members.clear()
    members.update(named)
