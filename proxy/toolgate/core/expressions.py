"""Expressions: where in a call's arguments, or in its reply, a value stands (DESIGN §5).

RULE: parsed once at load; asked on the path of a call; asking never raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import orjson

from toolgate.core.model import Json

Root: TypeAlias = Literal["args", "response.body", "response.header"]

NOTHING: Final = object()  # what is answered where a value was asked for and there is none
EVERY: Final = "*"  # a token that stands for every element of an array, or every value of an object
_DOTTED: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_WHOLE: Final = 1 << 64  # beyond, a whole number is no integer that JSON here can hold
_OF_ANSWER: Final = "`$response.body#/items` or `$response.header.Name`"
_FORMS: Final = f"`$args.name`, `$args#/body/items/*/name`, {_OF_ANSWER}"


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: what it is asked of (`root`) and the way down from there (`tokens`)."""

    text: str
    root: Root
    tokens: tuple[str, ...]

    @property
    def pointer(self) -> str:
        """Where it points, as a JSON Pointer for a violation's path."""
        return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in self.tokens)

    def values(self, root: Json) -> tuple[Json, ...]:
        """Return every value it names in `root`, in document order; what is not there is left out.

        `root` is the arguments object, the reply's JSON body, or its headers by lower-case name.
        """
        found = [root]
        for token in self.tokens:
            if len(found) == 1:  # nearly always
                found = [*_children(found[0], token)]
            else:
                found = [child for parent in found for child in _children(parent, token)]
            if not found:
                return ()
        return tuple(found)

    def value(self, root: Json) -> Json:
        """Return the first value it names in `root`; NOTHING where there is none."""
        for token in self.tokens:
            if type(root) is dict and token != EVERY:
                root = root.get(token, NOTHING)
            else:
                children = _children(root, token)
                root = children[0] if children else NOTHING
            if root is NOTHING:
                break
        return root

    def ids(self, root: Json) -> tuple[str, ...]:
        """Return the resource ids it names in `root`: each once, in document order; an array's are its elements."""
        value = root
        for token in self.tokens:
            value = value.get(token) if type(value) is dict and token != EVERY else None
        if type(value) is str:  # nearly always
            return (value,)
        found = self.values(root)
        if any(isinstance(value, list) for value in found):
            found = tuple(each for value in found for each in (value if isinstance(value, list) else (value,)))
        return tuple(dict.fromkeys(map(id_of, found)))


def id_of(value: Json) -> str:
    """Return what a value says as the id of a resource: text as it stands, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
        return str(int(value))  # SECURITY: one number has one id, however it is written (`1`, `1.0`, `1e0`)
    return orjson.dumps(value).decode()


def parse_expression(text: str) -> Expression:
    """Parse `text`, or raise ValueError with a sentence for the problem list."""
    if text.startswith("$args"):
        return Expression(text, "args", _way(text, text.removeprefix("$args")))
    if text.startswith("$response.body"):
        return Expression(text, "response.body", _way(text, text.removeprefix("$response.body")))
    if text.startswith("$response.header."):
        return Expression(text, "response.header", _header(text, text.removeprefix("$response.header.")))
    raise ValueError(f"`{text}` is not an expression; write {_forms_like(text)}")


def _forms_like(text: str) -> str:
    """What may have been meant."""
    return _OF_ANSWER if text.startswith("$response") else _FORMS


def _way(text: str, rest: str) -> tuple[str, ...]:
    if not rest or rest == "#":
        return ()
    if rest.startswith("."):
        return _dotted(text, rest[1:])
    if not rest.startswith("#/"):
        raise ValueError(f"`{text}` is not an expression; write {_forms_like(text)}")
    if _BAD_ESCAPE.search(rest):
        raise ValueError(f"`{text}` has a `~` that is not `~0` or `~1`; a JSON Pointer writes `~` as `~0`, `/` as `~1`")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in rest[2:].split("/"))


def _dotted(text: str, names: str) -> tuple[str, ...]:
    if not _DOTTED.fullmatch(names):
        raise ValueError(
            f"`{text}` is not an expression; names after dots are letters, digits, `_` and `-`: "
            f"write others as a JSON Pointer, `{text[: -len(names) - 1]}#/odd name`"
        )
    return tuple(names.split("."))


def _header(text: str, name: str) -> tuple[str, ...]:
    if not _HEADER.fullmatch(name):
        raise ValueError(f"`{text}` does not name a header; write `$response.header.Name`")
    return (name.lower(),)


def _children(parent: Json, token: str) -> tuple[Json, ...] | list[Json]:
    if isinstance(parent, dict):
        if token == EVERY:
            return list(parent.values())
        return (parent[token],) if token in parent else ()
    if isinstance(parent, list):
        if token == EVERY:
            return parent
        return _element(parent, token)
    return ()


def _element(parent: list[Json], token: str) -> tuple[Json, ...]:
    if not _INDEX.fullmatch(token):
        return ()
    index = int(token)
    return (parent[index],) if index < len(parent) else ()
