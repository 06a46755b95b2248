"""From a validator's faults to violations: which of them matter, and what each says.

RULE: bounded work. A refusal must not cost more than a call, so large values are cut down before they are explained.
Its weakness: when only what was cut off is wrong, the answer says so without naming the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from toolgate.core.model import Json, Violation
from toolgate.core.suggest import near
from toolgate.core.wiretext import echo, pointer

MOST_VIOLATIONS: Final = 20
MOST_EXPLAINED: Final = 1000  # nodes of a value that are explained: about 10 ms at worst
# How deep a value is explained, and how many of its nodes: the first that is bearable.
SIZES: Final = ((64, MOST_EXPLAINED), (12, 300), (6, 100), (4, 30), (3, 10), (2, 4))
Path: TypeAlias = Sequence[str | int]
TOO_LARGE: Final = Violation(
    "",
    "schema",
    "the arguments do not fit the schema, in a part too large or too deep to be explained; check the longest arrays"
    " and the deepest objects",
)


class Kind(Protocol):
    """What a fault is about: a JSON Schema keyword and what it asked for."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> Json: ...


class Fault(Protocol):
    """One error of the validator, as jsonschema-rs reports it."""

    @property
    def instance_path(self) -> list[str | int]: ...
    @property
    def schema_path(self) -> list[str | int]: ...
    @property
    def absolute_keyword_location(self) -> str | None: ...
    @property
    def instance(self) -> Json: ...
    @property
    def kind(self) -> Kind: ...


class Cut:
    """A value cut down to what is explained, and the places where something was left out."""

    __slots__ = ("_depth", "_left", "places", "value")

    def __init__(self, value: Json, depth: int, nodes: int) -> None:
        self._left = nodes
        self._depth = depth
        self.places: list[tuple[str | int, ...]] = []
        self.value = value if _is_small(value, depth, nodes) else self._copy(value, ())

    def _copy(self, node: Json, at: tuple[str | int, ...]) -> Json:
        if isinstance(node, dict):
            return {key: self._copy(child, (*at, key)) for key, child in self._some(list(node.items()), at)}
        if isinstance(node, list):
            return [self._copy(child, (*at, index)) for index, child in self._some(list(enumerate(node)), at)]
        return node

    def _some(self, children: list[tuple[Json, Json]], at: tuple[str | int, ...]) -> list[tuple[Json, Json]]:
        taken = children[: max(self._left, 1)] if len(at) < self._depth else []
        self._left -= len(taken)
        if len(taken) < len(children):
            self.places.append(at)
        return taken

    def is_misled(self, fault: Fault) -> bool:
        """Whether a fault may come from what was left out rather than from what is there."""
        if not self.places or fault.kind.name in {"type", "additionalProperties", "unevaluatedProperties"}:
            return False
        branches = getattr(fault.kind, "context", None)
        if branches and not _is_double(fault):
            return all(self.is_misled(each) for branch in branches for each in branch)
        path = tuple(fault.instance_path)
        return any(place[: len(path)] == path for place in self.places)


def _is_small(value: Json, depth: int, nodes: int) -> bool:
    left = nodes
    level: list[Json] = [value] if value and isinstance(value, (dict, list)) else []
    for _ in range(depth):
        below: list[Json] = []
        for node in level:
            left -= len(node)
            if left <= 0:
                return False
            children = node.values() if isinstance(node, dict) else node
            below += [child for child in children if child and isinstance(child, (dict, list))]
        if not below:
            return True
        level = below
    return not level


class Explainer:
    """Explains faults of one schema. `names_at` answers, sorted, which property names stand where one was not."""

    __slots__ = ("_masks", "_names_at")

    def __init__(self, masks: Iterable[Path], names_at: Callable[[Fault], tuple[str, ...]]) -> None:
        self._masks = tuple(masks)
        self._names_at = names_at

    def explain(self, fault: Fault) -> Iterator[Violation]:
        match fault.kind.name:
            case "anyOf" | "oneOf" if not _is_double(fault):
                yield from self._explain_branches(fault, getattr(fault.kind, "context", ()))
            case "additionalProperties" | "unevaluatedProperties":
                yield from self._explain_names(fault)
            case "required":
                name = str(fault.kind.value)
                yield Violation(join([*fault.instance_path, name]), "required", f"{echo(name)} is missing")
            case _:
                yield self._explain_value(fault)

    def _explain_names(self, fault: Fault) -> Iterator[Violation]:
        path = fault.instance_path
        known = self._names_at(fault)
        where = f"`{join(path)}`" if path else "the arguments"
        for name in fault.kind.value[:MOST_VIOLATIONS]:
            suggestion = next(iter(near(name, known, 1)), None)
            message = f"{echo(name)} is not a field of {where}{aid(suggestion)}"
            yield Violation(join([*path, name]), "unknown", message, list(known[:MOST_VIOLATIONS]), suggestion)

    def _explain_branches(self, fault: Fault, branches: Sequence[Sequence[Fault]]) -> Iterator[Violation]:
        here = fault.instance_path
        if branches and all(len(branch) == 1 and _is_type_at(branch[0], here) for branch in branches):
            kinds = sorted({kind for branch in branches for kind in _types(branch[0])})
            yield Violation(join(here), "type", f"{self._echo(fault)} must be {_either(kinds)}", kinds)
            return
        nearest = min((branch for branch in branches if branch), key=lambda branch: _distance(branch, here), default=())
        if not nearest:
            yield self._explain_value(fault)
        for each in nearest[:MOST_VIOLATIONS]:
            yield from self.explain(each)

    def _explain_value(self, fault: Fault) -> Violation:
        keyword = fault.kind.name
        message, expected = say(fault, self._echo(fault))
        suggestion = None
        if keyword == "enum" and isinstance(fault.instance, str) and not self._is_masked(fault.instance_path):
            suggestion = next(iter(near(fault.instance, [each for each in expected if isinstance(each, str)], 1)), None)
            message += aid(suggestion)
        return Violation(join(fault.instance_path), _RENAMED.get(keyword, keyword), message, expected, suggestion)

    def _echo(self, fault: Fault) -> str:
        return "the value" if self._is_masked(fault.instance_path) else echo(fault.instance)

    def _is_masked(self, path: Path) -> bool:
        return any(_covers(mask, path) for mask in self._masks)


def aid(suggestion: str | None) -> str:
    """Return the did-you-mean that ends a message; nothing where nothing is near."""
    return f"; did you mean `{suggestion}`?" if suggestion else ""


def join(path: Path) -> str:
    text = ""
    for token in path:
        text = pointer(text, token)
    return text


def _covers(mask: Path, path: Path) -> bool:
    return len(mask) <= len(path) and all(
        want in {"*", str(have)} for want, have in zip(mask, path[: len(mask)], strict=True)
    )


def _is_double(fault: Fault) -> bool:
    """Whether a oneOf failed because several alternatives fit, not because none does."""
    return type(fault.kind).__name__.endswith("MultipleValid")


def _is_type_at(fault: Fault, path: Path) -> bool:
    return fault.kind.name == "type" and fault.instance_path == path


def _types(fault: Fault) -> list[str]:
    value = fault.kind.value
    return [value] if isinstance(value, str) else list(value)


def _distance(branch: Sequence[Fault], here: Path) -> tuple[bool, bool, int, int]:
    """How far a value is from a branch: another type altogether, another tag, fields of its own, then how much is wrong."""
    is_other_type = any(
        fault.instance_path == here and fault.kind.name in {"type", "enum", "const"} for fault in branch
    )
    is_other_tag = any(fault.kind.name in {"const", "enum"} for fault in branch)
    other_fields = sum(
        fault.kind.name in _OF_FIELDS for fault in branch
    )  # a value with a branch's fields means that one
    return is_other_type, is_other_tag, other_fields, len(branch)


_OF_FIELDS: Final = frozenset({"required", "additionalProperties", "unevaluatedProperties"})
_NOUNS: Final = {
    "null": "null",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}
_RENAMED: Final = {"falseSchema": "forbidden", "x-toolgate-pattern": "pattern"}


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(_NOUNS.get(kind, kind) for kind in kinds)


def say(fault: Fault, shown: str) -> tuple[str, Json]:
    """Return the sentence for a fault and what was expected."""
    keyword = fault.kind.name
    if keyword in _LIMITS:
        limit = getattr(fault.kind, "limit", fault.kind.value)
        return _LIMITS[keyword].format(shown=shown, limit=limit), limit
    if keyword in _WANTED:
        sentence, read = _WANTED[keyword]
        expected = read(fault)
        return sentence(shown, expected), expected
    if keyword in _PLAIN:
        return _PLAIN[keyword], None
    return f"{shown} does not fit `{keyword}`", None


def _wanted(fault: Fault) -> Json:
    return fault.kind.value


def _options(fault: Fault) -> list[Json]:
    return list(fault.kind.value)[:MOST_VIOLATIONS]


_WANTED: Final[Mapping[str, tuple[Callable[[str, Json], str], Callable[[Fault], Json]]]] = {
    "type": (lambda shown, kinds: f"{shown} must be {_either(kinds)}", _types),
    "enum": (lambda shown, _options: f"{shown} is not one of the allowed values", _options),
    "const": (lambda shown, wanted: f"{shown} must be {echo(wanted)}", _wanted),
    "pattern": (lambda shown, wanted: f"{shown} does not match the pattern {echo(wanted)}", _wanted),
    "x-toolgate-pattern": (lambda shown, wanted: f"{shown} does not match the pattern {echo(wanted)}", _wanted),
    "format": (lambda shown, wanted: f"{shown} is not in the format {echo(wanted)}", _wanted),
    "multipleOf": (lambda shown, wanted: f"{shown} is not a multiple of {wanted}", _wanted),
}
_PLAIN: Final = {
    "falseSchema": "this field is not accepted here (it is read-only or excluded); leave it out",
    "uniqueItems": "the elements must all differ",
    "oneOf": "the value fits more than one of the alternatives; it must fit exactly one",
    "not": "the value is one of those that are excluded",
}
_LIMITS: Final = {
    "minimum": "{shown} is less than {limit}",
    "maximum": "{shown} is more than {limit}",
    "exclusiveMinimum": "{shown} must be more than {limit}",
    "exclusiveMaximum": "{shown} must be less than {limit}",
    "minLength": "{shown} is shorter than {limit} characters",
    "maxLength": "{shown} is longer than {limit} characters",
    "minItems": "the array has fewer than {limit} elements",
    "maxItems": "the array has more than {limit} elements",
    "minProperties": "the object has fewer than {limit} fields",
    "maxProperties": "the object has more than {limit} fields",
}
