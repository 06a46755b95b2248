"""What the gate refuses by a settled decision whatever a document says, kept out of the generated requests.

RULE: each entry is decided by looking at the case alone, never by what the gate answered; each has its reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from schemathesis.generation.case import Case

_CONTROL = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_DECEPTIVE = re.compile(f"[{_CONTROL}]")
_NOT_IN_PATHS = re.compile(f"[{_CONTROL}/\\\\%]")
_NOT_IN_BRACKETS = re.compile(f"[{_CONTROL}\\[\\]]")
_NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?").fullmatch
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
_DEEPEST = 60
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


@dataclass(frozen=True)
class Settled:
    """One settled refusal. `holds` finds it in a case; such a case is not asked."""

    name: str
    reason: str
    holds: Callable[[Case], bool]


def tame(case: Case) -> None:
    """Change what a settled decision refuses, where the rest of the request is still worth asking.

    Path values keep their length and lose control and bidirectional characters, slashes, backslashes and percent signs
    (B15, B16, E09: they make another path of it). Names of query and form fields lose control characters (E09), and
    inside an object brackets, which are deepObject's. Header values keep to printable ASCII (RFC 9110 §5.5), and
    headers with `_` in their names are not sent (A17: gateways read `_` as `-`).
    """
    case.freeze_metadata()
    case.path_parameters = {name: _plain(value) for name, value in (case.path_parameters or {}).items()}
    headers = (case.headers or {}).items()
    case.headers = {name: _NOT_IN_HEADERS.sub("x", str(value)) for name, value in headers if "_" not in name}
    declared = {each.name for each in case.operation.query}
    query = (case.query or {}).items()
    case.query = {name if name in declared else _named(name): _renamed(value) for name, value in query}
    if case.media_type in {FORM, MULTIPART} and isinstance(case.body, dict):
        case.body = {_DECEPTIVE.sub("x", name): _renamed(value) for name, value in case.body.items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = _NOT_IN_PATHS.sub("x", unquote(value))  # schemathesis keeps path values percent-encoded
    return quote("x" * len(plain) if plain in {".", ".."} else plain, safe="")


def _named(name: str) -> str:
    return _DECEPTIVE.sub("x", name).replace("[]", "[x]")  # `a[]` is the next element of an array, not a field


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_NOT_IN_BRACKETS.sub("x", name) or "x": _renamed(each) for name, each in value.items()}
    return [_renamed(each) for each in value] if isinstance(value, list) else value


def _leaves(value: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, depth + 1)
    else:
        yield value, depth


def _has_wide_integer(case: Case) -> bool:
    named = (case.path_parameters, case.query, dict(case.headers or {}))
    texts = (str(leaf) for each in named for leaf, _ in _leaves(each))
    if any(_NUMBER(text) and not _LEAST <= float(text) <= _MOST for text in texts):
        return True
    return any(isinstance(leaf, int) and not _LEAST <= leaf <= _MOST for leaf, _ in _leaves(case.body))


def _is_deep(case: Case) -> bool:
    return any(depth > _DEEPEST for _, depth in _leaves(case.body))


def _is_xml(case: Case) -> bool:
    return case.media_type is not None and case.media_type.endswith(("/xml", "+xml"))


def _fields(case: Case) -> Iterator[Any]:
    """Yield the values that are written as named texts."""
    yield from (case.query or {}).values()
    if case.media_type == FORM and isinstance(case.body, dict):
        yield from case.body.values()


def _has_empty_array(case: Case) -> bool:
    if case.media_type == MULTIPART and isinstance(case.body, dict) and [] in case.body.values():
        return True
    return any(_holds(value, lambda each: each in ([], {})) for value in _fields(case))


def _has_nested_array(case: Case) -> bool:
    """Whether an array stands inside an object, or an object or array inside an array."""
    declared = {each.name for each in case.operation.query}
    # A deepObject of the query is written out already: `a[b]` with a list of its own.
    if any(isinstance(value, list) and name not in declared and "[" in name for name, value in case.query.items()):
        return True
    nested = (each for value in _fields(case) for each in _within(value))
    return any(_holds(each, lambda inner: isinstance(inner, list)) for each in nested)


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from ([each] for each in value if isinstance(each, dict | list))


def _holds(value: Any, test: Callable[[Any], bool]) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return test(value) or any(_holds(each, test) for each in inner)


SETTLED = (
    Settled(
        "wide integer",
        "integers are exact from -2^63 to 2^64-1, beyond: malformed; the format `unixtime` is a number of 64 bit, which "
        "schemathesis does not know",
        _has_wide_integer,
    ),
    Settled("deep", "bodies nest at most 64 levels (SAFETY, settled)", _is_deep),
    Settled("xml", "XML cannot be judged; beside JSON it is refused, so that it is no way around the schema", _is_xml),
    Settled("empty array", "an empty array or object among named texts is nothing on the wire", _has_empty_array),
    Settled(
        "nested array",
        "OpenAPI gives arrays inside objects, and anything inside arrays, no form among named texts (3.1.1 §4.8.12.4: "
        "undefined); schemathesis repeats the name or writes the keys alone, the gate takes `a[b][]` and `a[b][0]`",
        _has_nested_array,
    ),
)
