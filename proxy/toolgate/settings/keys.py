"""The settings by their dotted names, read off the model: one list for variables, listings and the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from toolgate.core.catalog import Secret
from toolgate.settings import values
from toolgate.settings.descriptions import descriptions
from toolgate.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Key:
    """One setting. `attributes` is the way to its value from `Settings`."""

    name: str
    attributes: tuple[str, ...]
    section: type[BaseModel]  # that it stands in
    choices: tuple[str, ...]
    scalar: bool  # a number or a truth value, so a variable's text is read as one
    required: bool
    default: Any
    entries: type[BaseModel] | None = None  # of a list of sections: what each of them is

    @property
    def description(self) -> str:
        """What it is for, on one line."""
        return " ".join(descriptions(self.section).get(self.attributes[-1], "").split())

    def shown(self, value: Any) -> str:
        """A value of this setting as a person writes it."""
        if isinstance(value, int) and self.attributes[-1].endswith("_bytes"):
            return values.shown_size(value)
        if (
            isinstance(value, int) and self.attributes[-1] == f"{self.name.rpartition('.')[2]}_s"
        ):  # written with its unit
            return values.shown_duration(value)
        return shown(value)

    def value(self, settings: Settings) -> Any:
        found: Any = settings
        for attribute in self.attributes:
            if found is None:
                return None
            found = getattr(found, attribute)
        return found


@cache
def keys() -> dict[str, Key]:
    """Every setting, in the order of the file."""
    return {key.name: key for key in _walk(Settings, (), ())}


@cache
def elements() -> dict[str, Key]:
    """The settings inside the entries of a list, as `identity.issuers[].name`: written in the file, or in the list's JSON."""
    found: dict[str, Key] = {}
    for key in keys().values():
        if key.entries is not None:
            found |= {inner.name: inner for inner in _walk(key.entries, (f"{key.name}[]",), ())}
    return found


@cache
def sections() -> frozenset[str]:
    """The names keys stand in: `listen`, `listen.tls`, ….."""
    names = [name.split(".") for name in keys()]
    return frozenset(".".join(parts[:depth]) for parts in names for depth in range(1, len(parts)))


def shown(value: Any) -> str:
    """A setting's value as a person writes it. Secrets are references and stay so."""
    match value:
        case tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{name}: {shown(inner)}" for name, inner in value.items()) + "}"
        case BaseModel():
            return shown({name: inner for name, inner in value if name in value.model_fields_set})
        case Secret(source=source, name=name):
            return f"${{{source}:{name}}}"
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _walk(model: type[BaseModel], names: tuple[str, ...], attributes: tuple[str, ...]) -> Iterator[Key]:
    for attribute, field in model.model_fields.items():
        name = (*names, field.alias or attribute)
        inner = _section(field)
        if inner is not None:
            yield from _walk(inner, name, (*attributes, attribute))
            continue
        yield _key(field, ".".join(name), (*attributes, attribute), model)


def _key(field: FieldInfo, name: str, attributes: tuple[str, ...], section: type[BaseModel]) -> Key:
    kinds = tuple(_flat(field.annotation))
    return Key(
        name=name,
        attributes=attributes,
        section=section,
        choices=tuple(kind for kind in kinds if isinstance(kind, str)),
        scalar=any(kind in {int, float, bool} for kind in kinds),
        required=field.is_required(),
        default=None if field.is_required() else field.default,
        entries=_model(field) if _is_list(field) else None,
    )


def _section(field: FieldInfo) -> type[BaseModel] | None:
    return None if _is_list(field) else _model(field)


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _model(field: FieldInfo) -> type[BaseModel] | None:
    for kind in _flat(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _flat(annotation: Any) -> Iterator[Any]:
    """The classes and literal words an annotation is made of."""
    if get_origin(annotation) is Annotated:
        yield from _flat(annotation.__origin__)
        return
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _flat(part)
