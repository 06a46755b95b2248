"""Outside text becomes a typed value: the strict pydantic base of our files, and its errors as problems with a line.

RULE: a key nobody knows is an error that names the nearest one; a value is never converted from another kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.suggest import near
from toolgate.load.yaml import Parsed, Steps

M = TypeVar("M", bound=BaseModel)

_SIZE: Final = re.compile(r"(\d{1,12})(B|KiB|MiB|GiB)?", re.ASCII)
_UNITS: Final = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LARGEST: Final = 1 << 30
_KINDS: Final[Mapping[str, str]] = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be `true` or `false`",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "missing": "is missing",
}


class Strict(BaseModel):
    """The base of every model of our files. What validates one is built at its first use: few files are everywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, defer_build=True)


def validated(model: type[M], parsed: Parsed, shown: str, *, not_yet: Mapping[str, str] | None = None) -> M:
    """Return the file's value as `model`. Raises BundleError with every problem; `not_yet` names keys of later issues."""
    if parsed.value is None:
        raise BundleError([Problem(shown, 1, "config.empty", "is empty")])
    try:
        return model.model_validate(parsed.value)
    except ValidationError as error:
        problems = explained(error, model, not_yet or {})
        raise BundleError(
            Problem(shown, parsed.line(steps), code, message) for steps, code, message in problems
        ) from None


def judged(model: type[M], parsed: Parsed, shown: str) -> tuple[M | None, tuple[Problem, ...]]:
    """As `validated`, for files whose names are judged whatever is wrong with their form: one round tells all of it."""
    try:
        return validated(model, parsed, shown), ()
    except BundleError as broken:
        return None, tuple(broken.problems)


def listed(value: Any, *steps: str) -> list[Any]:
    """The list at a place of what was written, whatever form the rest has; empty where there is none."""
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def explained(
    error: ValidationError, model: type[BaseModel], not_yet: Mapping[str, str]
) -> list[tuple[Steps, str, str]]:
    """Tell each of pydantic's errors as (where, code, message), never echoing a value."""
    details = error.errors(include_url=False, include_input=False)
    later = {
        detail["loc"][:-1] for detail in details if detail["type"] == "extra_forbidden" and detail["loc"][-1] in not_yet
    }
    return [
        _told(detail, model, not_yet)
        for detail in details
        if not (detail["type"] == "missing" and detail["loc"][:-1] in later)  # one cause, one problem
    ]


def _told(detail: ErrorDetails, model: type[BaseModel], not_yet: Mapping[str, str]) -> tuple[Steps, str, str]:
    steps: Steps = detail["loc"]
    if steps and steps[-1] == "[key]":
        place = f"`{steps[-2]}` in `{_dotted(steps[:-2])}`" if steps[:-2] else f"`{steps[-2]}`"
        return steps[:-1], "config.value", f"{place} {_reason(detail)}"
    if detail["type"] == "extra_forbidden":
        return _unknown(steps, model, not_yet)
    code = "config.missing_key" if detail["type"] == "missing" else "config.value"
    reason = _reason(detail)
    if not steps:
        return steps, code, reason
    return steps, code, f"`{_dotted(steps)}`{':' if reason.startswith('`') else ''} {reason}"


def _unknown(steps: Steps, model: type[BaseModel], not_yet: Mapping[str, str]) -> tuple[Steps, str, str]:
    key = str(steps[-1])
    if key in not_yet:
        return steps, "config.not_supported", f"`{_dotted(steps)}` {not_yet[key]}"
    hint = did_you_mean(key, _keys_at(model, steps[:-1]))
    return steps, "config.unknown_key", f"the key `{_dotted(steps)}` is not known{hint}"


def _reason(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {str(context['expected']).replace(chr(39), '`')}"
    if kind == "too_short":
        return f"must hold at least {context['min_length']}"
    message = detail["msg"].replace("Input should be", "must be").replace("'", "`")
    return message[:1].lower() + message[1:]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message: the known word this one was meant to be, if any is near."""
    found = near(word, known, 1)
    return f"; did you mean `{found[0]}`?" if found else ""


def _keys_at(model: type[BaseModel], steps: Steps) -> list[str]:
    """The keys the model knows at this place, following fields, lists and mappings downward."""
    annotation: Any = model
    for step in steps:
        fields = _fields(annotation)
        if fields is None:
            annotation = _inner(annotation)
        elif step in fields:
            annotation = fields[str(step)]
        else:
            return []
    return list(_fields(annotation) or ())


def _fields(annotation: Any) -> dict[str, Any] | None:
    if get_origin(annotation) in (dict, list):
        return None
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return {field.alias or name: field.annotation for name, field in candidate.model_fields.items()}
    return None


def _inner(annotation: Any) -> Any:
    """What a list or mapping holds; through `… | None` where it is optional."""
    containers = [each for each in (annotation, *get_args(annotation)) if get_origin(each) in (dict, list)]
    return get_args(containers[0])[-1] if containers else None


def _dotted(steps: Steps) -> str:
    return ".".join(str(step) for step in steps)


def _parsed_size(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a size such as `1MiB`, `512KiB` or a number of bytes")  # noqa: TRY004 - pydantic's way
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a size such as `1MiB`, `512KiB` or a number of bytes")
    size = int(match[1]) * _UNITS[match[2]]
    if size > _LARGEST:
        raise ValueError("must be at most `1GiB`")
    return size


@dataclass(frozen=True, slots=True)
class Fits:
    """Text that fits `pattern` whole, or is told off with `told`."""

    pattern: str
    told: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        compiled = re.compile(self.pattern, re.ASCII)

        def check(value: str) -> str:
            if not compiled.fullmatch(value):
                raise ValueError(self.told)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^(?:{self.pattern})$"}


Size = Annotated[
    int,
    BeforeValidator(_parsed_size),
    WithJsonSchema({"type": ["integer", "string"], "pattern": r"^\d+(B|KiB|MiB|GiB)?$", "examples": ["1MiB", 65536]}),
]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
