"""What a text may be read as: the part of a schema that decides how arguments stand on the wire.

RULE: reading never loses anything. A text that does not read as what its schema permits stays text, and the validator,
which judges every value, says what is wrong with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal, TypeAlias

from toolgate.core.model import Json
from toolgate.core.wiretext import Unwritable, echo

Scalar: TypeAlias = Literal["null", "boolean", "integer", "number", "string"]
SCALARS: Final[frozenset[Scalar]] = frozenset(("null", "boolean", "integer", "number", "string"))
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,19}").fullmatch
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 64) - 1
_WORDS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Shape:
    """Which JSON values a text may stand for. `items` and `fields` are None where no array or object fits."""

    scalars: frozenset[Scalar] = SCALARS
    items: Shape | None = None
    fields: Mapping[str, Shape] | None = None
    rest: Shape | None = None  # what fields the schema does not name hold
    swallows: bool = False  # the schema says that it wants fields it does not name
    # Worked out once, because every call asks.
    read: Callable[[str], Json] = field(init=False, compare=False)
    is_composite: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", _reader(self.scalars))
        object.__setattr__(self, "is_composite", self.items is not None or self.fields is not None)


def write_scalar(value: Json, shape: Shape) -> str:
    """Return the text of a scalar. Raises Unwritable for an array or object, which this place cannot hold."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _write_float(value, shape)
        case _:
            raise Unwritable("an array or object cannot stand inside this parameter's style")


def _write_float(value: float, shape: Shape) -> str:
    if value.is_integer() and "number" not in shape.scalars and _LEAST <= value <= _MOST:
        return str(int(value))
    if not math.isfinite(value):
        raise Unwritable(f"{echo(value)} is not a number that can be sent")
    return repr(value)


@cache
def _reader(scalars: frozenset[Scalar]) -> Callable[[str], Json]:
    """Choose how to read a text, in the order null, boolean, integer, number, string."""
    if not scalars or scalars == {"string"}:
        return _as_it_is
    if scalars == {"integer"}:
        return _integer
    if scalars == {"boolean"}:
        return _boolean
    return _union(scalars)


def _as_it_is(text: str) -> Json:
    return text


def _boolean(text: str) -> Json:
    return _WORDS.get(text, text)


def _integer(text: str) -> Json:
    if _INTEGER(text) and _LEAST <= (value := int(text)) <= _MOST:
        return value
    return text


def _number(text: str) -> Json:
    if _NUMBER(text) and math.isfinite(value := float(text)):
        return value
    return text


def _union(scalars: frozenset[Scalar]) -> Callable[[str], Json]:
    is_text = "string" in scalars

    def read(text: str) -> Json:
        if text == "null" and "null" in scalars:
            return None
        if "boolean" in scalars and text in _WORDS:
            return _WORDS[text]
        if "integer" in scalars and (value := _integer(text)) is not text:
            return value
        if "number" in scalars and (value := _number(text)) is not text:
            # `1.10` is a version as well as a number: where text fits too, only a number's own spelling is one.
            return value if not is_text or repr(value) == text else text
        return text

    return read


TEXT: Final = Shape(frozenset(("string",)))
ANY: Final = Shape()
