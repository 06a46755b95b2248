"""One parameter: how its value is written in its style, and read back.

RULE: `read(write(value)) == value`, or `write` raises `Unwritable`; elements are split after the one percent-decoding,
as upstreams do, so an element can never hold its own separator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Final, Literal, TypeAlias

from toolgate.core import strictjson
from toolgate.core.model import Json
from toolgate.core.shape import ANY, TEXT, Shape, write_scalar
from toolgate.core.wiretext import Malformed, Unwritable, echo

Location: TypeAlias = Literal["path", "query", "header", "cookie"]
Style: TypeAlias = Literal[
    "simple", "label", "matrix", "form", "spaceDelimited", "pipeDelimited", "tabDelimited", "deepObject", "json"
]
Quote: TypeAlias = Callable[[str], str]
_STRING: Final = frozenset({"string"})
NESTING: Final = 32  # brackets of one deepObject name


class Absent(Enum):
    """The one value that says a parameter has no default (`null` is a default)."""

    ABSENT = 0


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A declared parameter or form field. `name` is the document's, `key` the one in the arguments object."""

    name: str
    key: str
    location: Location
    style: Style
    explode: bool
    shape: Shape
    required: bool = False
    reserved: bool = False  # allowReserved
    empty: bool = False  # allowEmptyValue
    default: Json = ABSENT

    # Worked out once, because every call asks.
    is_scalar: bool = field(init=False)  # one text is one value, by its shape alone: nothing to split, no prefix
    is_plain_text: bool = field(init=False)  # such a one, and any text is its value as it stands
    is_repeated: bool = field(init=False)  # its array is written as the same name again and again
    takes_many: bool = field(
        init=False
    )  # its name may be repeated: also a deepObject's array, as some clients write it
    is_spread: bool = field(init=False)  # its object's fields stand as parameters of their own

    def __post_init__(self) -> None:
        shape = self.shape
        is_json = self.style == "json"
        is_prefixed = self.style in {"label", "matrix"}
        is_exploded = self.explode and self.style not in {"json", "deepObject"}
        object.__setattr__(self, "is_scalar", not (shape.is_composite or is_json or is_prefixed or self.empty))
        object.__setattr__(self, "is_plain_text", self.is_scalar and shape.scalars == _STRING)
        object.__setattr__(self, "is_repeated", is_exploded and shape.items is not None)
        is_deep = self.style == "deepObject"
        object.__setattr__(self, "takes_many", (is_exploded or is_deep) and shape.items is not None)
        object.__setattr__(self, "is_spread", is_exploded and shape.fields is not None)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the elements of an array or object stand in one text."""

    separator: str
    written: str  # the separator as it is sent
    pairs: bool = False  # an object as `k=v` rather than `k,v`


_DELIMITED: Final[Mapping[str, Layout]] = {
    "form": Layout(",", ","),
    "simple": Layout(",", ","),
    "spaceDelimited": Layout(" ", "%20"),
    "pipeDelimited": Layout("|", "%7C"),
    "tabDelimited": Layout("\t", "%09"),
}


@cache
def layout_of(style: str, *, explode: bool) -> Layout:
    """Return how elements stand inside one text of this style."""
    match style, explode:
        case "label", True:
            return Layout(".", ".", pairs=True)
        case "matrix", True:
            return Layout(";", ";", pairs=True)
        case "simple", True:
            return Layout(",", ",", pairs=True)
        case _:
            return _DELIMITED.get(style, _DELIMITED["simple"])


def read_text(text: str, shape: Shape, layout: Layout) -> Json:
    """Read one decoded text. What does not fit its shape stays text, for the validator to refuse."""
    if not shape.is_composite or (shape.scalars and layout.separator not in text and "=" not in text):
        return shape.read(text)
    if shape.items is not None and not (shape.fields is not None and layout.pairs and "=" in text):
        return [shape.items.read(element) for element in text.split(layout.separator)] if text else []
    return _read_fields(text, shape, layout)


def _read_fields(text: str, shape: Shape, layout: Layout) -> Json:
    if not text:
        return {}
    elements = text.split(layout.separator)
    if layout.pairs:
        if not all("=" in element for element in elements):
            return shape.read(text)
        names, values = zip(*(element.split("=", 1) for element in elements), strict=True)
    else:
        if len(elements) % 2:
            return shape.read(text)
        names, values = tuple(elements[::2]), tuple(elements[1::2])
    if len(set(names)) != len(names):
        raise Malformed(f"{echo(text)} has the same field twice")
    return {name: field_shape(shape, name).read(value) for name, value in zip(names, values, strict=True)}


def field_shape(shape: Shape, name: str) -> Shape:
    """Return what a field of an object holds; text, where nothing is said."""
    return (shape.fields or {}).get(name) or shape.rest or TEXT


def write_text(value: Json, shape: Shape, layout: Layout, quote: Quote) -> str:
    """Write one value as one text, quoted. Raises Unwritable."""
    match value:
        case list():
            return layout.written.join(quote(write_scalar(element, shape.items or ANY)) for element in value)
        case dict():
            return layout.written.join(_written_fields(value, shape, layout, quote))
        case _:
            return quote(write_scalar(value, shape))


def _written_fields(value: Mapping[str, Json], shape: Shape, layout: Layout, quote: Quote) -> Iterable[str]:
    for name, each in value.items():
        text = quote(write_scalar(each, field_shape(shape, name)))
        if layout.pairs:
            yield f"{quote(name)}={text}"
        else:
            yield quote(name)
            yield text


def read_json(text: str) -> Json:
    """Read a `content` parameter: a JSON document inside a text."""
    return strictjson.read(text.encode())[0]


# -- path: the style's prefix stands in the segment ------------------------------------------------------------


def read_path(parameter: Parameter, text: str) -> Json:
    """Read a decoded path segment's value. Raises Malformed when the style's prefix is missing."""
    if parameter.is_scalar:
        return parameter.shape.read(text)
    if parameter.style == "json":
        return read_json(text)
    layout = layout_of(parameter.style, explode=parameter.explode)
    match parameter.style:
        case "label":
            return read_text(_after(text, ".", parameter), parameter.shape, layout)
        case "matrix":
            return _read_matrix(parameter, text, layout)
        case _:
            return read_text(text, parameter.shape, layout)


def _after(text: str, prefix: str, parameter: Parameter) -> str:
    if not text.startswith(prefix):
        raise Malformed(f"the path value of `{parameter.name}` must begin with `{prefix}`")
    return text[len(prefix) :]


def _read_matrix(parameter: Parameter, text: str, layout: Layout) -> Json:
    if parameter.explode and parameter.shape.is_composite:
        rest = _after(text, ";", parameter)
        if parameter.shape.items is None:
            return _read_fields(rest, parameter.shape, layout)
        elements = rest.split(";")
        return [parameter.shape.items.read(_after_name(element, parameter)) for element in elements]
    rest = _after_name(_after(text, ";", parameter), parameter)
    return read_text(rest, parameter.shape, layout_of("simple", explode=False))


def _after_name(element: str, parameter: Parameter) -> str:
    name, _, value = element.partition("=")
    if name != parameter.name:
        raise Malformed(f"the path value of `{parameter.name}` must read `;{parameter.name}=`")
    return value


def write_path(parameter: Parameter, value: Json, quote: Quote) -> str:
    """Write a path segment's value, quoted. Raises Unwritable."""
    if parameter.style == "json":
        return quote(strictjson.write(value).decode())
    layout = layout_of(parameter.style, explode=parameter.explode)
    match parameter.style:
        case "label":
            return "." + write_text(value, parameter.shape, layout, quote)
        case "matrix":
            return _write_matrix(parameter, value, layout, quote)
        case _:
            return write_text(value, parameter.shape, layout, quote)


def _write_matrix(parameter: Parameter, value: Json, layout: Layout, quote: Quote) -> str:
    name = quote(parameter.name)
    if parameter.explode and isinstance(value, list):
        items = parameter.shape.items or ANY
        return "".join(f";{name}={quote(write_scalar(element, items))}" for element in value)
    if parameter.explode and isinstance(value, dict):
        return ";" + write_text(value, parameter.shape, layout, quote)
    return f";{name}={write_text(value, parameter.shape, layout_of('simple', explode=False), quote)}"


# -- header ----------------------------------------------------------------------------------------------------


def read_header(parameter: Parameter, text: str) -> Json:
    """Read a header's value; spaces around the elements of a list carry no meaning (RFC 9110 §5.6.1)."""
    if parameter.style == "json":
        return read_json(text)
    layout = layout_of("simple", explode=parameter.explode)
    if parameter.shape.is_composite and "," in text:
        text = ",".join(element.strip(" \t") for element in text.split(","))
    return read_text(text.strip(" \t"), parameter.shape, layout)


def write_header(parameter: Parameter, value: Json, quote: Quote) -> str:
    """Write a header's value. Raises Unwritable."""
    if parameter.style == "json":
        return quote(strictjson.write(value).decode())
    return write_text(value, parameter.shape, layout_of("simple", explode=parameter.explode), quote)


# -- deepObject: name[key][key] --------------------------------------------------------------------------------


def split_brackets(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Split `a[b][c]` into `a` and its keys; None when the name has no such form. Raises Malformed when too deep."""
    if not name.endswith("]") or "[" not in name:
        return None
    base, _, inner = name[:-1].partition("[")
    if inner.count("][") >= NESTING:
        raise Malformed(f"{echo(name)} is nested more than {NESTING} levels deep")
    keys = tuple(inner.split("]["))
    if not base or any("[" in key or "]" in key for key in keys):
        return None
    return base, keys


class Tree:
    """What `name[key][key]=text` parameters add up to, before their texts are read."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: dict[str, Json] = {}

    def add(self, keys: tuple[str, ...], text: str) -> bool:
        """Put a text where its keys say; False when that place is taken."""
        node = self._root
        for key in keys[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                return False
            node = child
        last = keys[-1]
        if last == "":  # `name[]=`: the next element of an array
            if not isinstance(node.setdefault("", []), list):
                return False
            node[""].append(text)
            return True
        if last in node:
            return False
        node[last] = text
        return True

    def read(self, shape: Shape) -> Json:
        return _read_node(self._root, shape)


def _read_node(node: Json, shape: Shape) -> Json:
    if isinstance(node, str):
        return shape.read(node)
    if shape.items is not None and (elements := _elements(node)) is not None:
        items = shape.items
        return [_read_node(element, items) for element in elements]
    if isinstance(node, list):
        return [TEXT.read(element) for element in node]
    return {key: _read_node(child, field_shape(shape, key)) for key, child in node.items()}


def _elements(node: Json) -> list[Json] | None:
    """Return an object's values in order when its keys are 0, 1, 2, … or it is one `[]` list."""
    if isinstance(node, list):
        return node
    if list(node) == [""]:
        inner = node[""]
        return inner if isinstance(inner, list) else [inner]
    try:
        return [node[str(index)] for index in range(len(node))]
    except KeyError:
        return None


def write_brackets(name: str, value: Json, shape: Shape) -> Iterable[tuple[str, str]]:
    """Yield the names and texts of a nested value, unquoted. Raises Unwritable."""
    match value:
        case dict():
            if not value:
                raise Unwritable("an empty object cannot be written in this parameter's style; leave it out")
            for key, each in value.items():
                if not key or "[" in key or "]" in key:
                    raise Unwritable(f"the field name {echo(key)} cannot be written in this parameter's style")
                yield from write_brackets(f"{name}[{key}]", each, field_shape(shape, key))
        case list():
            if not value:
                raise Unwritable("an empty array cannot be written in this parameter's style; leave it out")
            for index, each in enumerate(value):
                yield from write_brackets(f"{name}[{index}]", each, shape.items or ANY)
        case _:
            yield name, write_scalar(value, shape)
