"""Merged layers → Settings, or every problem, each where its value was written.

RULE: a message says what to write instead and never repeats a value: a secret may stand where none belongs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from toolgate.core.bundle import Problem
from toolgate.core.suggest import near
from toolgate.settings.keys import elements, keys
from toolgate.settings.layers import Layers, dotted, variable
from toolgate.settings.model import Settings
from toolgate.settings.sense import nonsense

FILE_NAME: Final = "toolgate.yaml"
_WANTED: Final = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be `true` or `false`",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "model_type": "must be a mapping of settings",
    "too_short": "must name at least one",
    "string_pattern_mismatch": "must be a name that matches `{pattern}`",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
}


def judge(layers: Layers, file: str | None, base: Path) -> tuple[Settings | None, list[Problem]]:
    try:
        settings = Settings.model_validate(layers.tree, context={"base": base})
    except ValidationError as broken:
        return None, [_problem(error, layers, file) for error in _told(broken, layers)]
    found = [_located(key, "settings.invalid", message, layers, file) for key, message in nonsense(settings)]
    return settings, found


def _told(broken: ValidationError, layers: Layers) -> list[ErrorDetails]:
    """Its errors; a missing `environments` follows from a missing `environment` and says nothing more."""
    errors = broken.errors(include_url=False, include_input=False)
    implied = "environment" not in layers.tree
    return [
        error for error in errors if not (implied and error["loc"] == ("environments",) and error["type"] == "missing")
    ]


def _problem(error: ErrorDetails, layers: Layers, file: str | None) -> Problem:
    key = dotted(error["loc"])
    if error["type"] == "missing":
        return _located(key, "settings.missing", _missing(key, layers, file), layers, file)
    if error["type"] == "extra_forbidden":  # inside a list of sections; elsewhere it was told when it was read
        return _located(key, "settings.unknown_key", _unknown(key), layers, file)
    return _located(key, "settings.invalid", f"`{key}` {_wanted(error, key)}", layers, file)


def _missing(key: str, layers: Layers, file: str | None) -> str:
    if key != "environment":
        return f"`{key}` is missing"
    if listed := layers.tree.get("environments"):
        return f"`environment` is missing, and `environments` lists {len(listed)}; say which one this process enforces"
    here = (
        "" if file else f"; there is no `{FILE_NAME}` here: name one with `--config` or write one with `toolgate init`"
    )
    return f"`environment` is missing; write `environment: prod`, set `{variable(key)}` or pass `--environment`{here}"


def _unknown(key: str) -> str:
    beside = [
        name.rpartition(".")[2] for name in elements() if name.rpartition(".")[0] == _any_index(key.rpartition(".")[0])
    ]
    nearest = near(key.rpartition(".")[2], beside, 1)
    meant = f"did you mean `{nearest[0]}`?" if nearest else f"it may have {_one_of(tuple(beside))}"
    return f"`{key}` is not a setting; {meant}"


def _any_index(key: str) -> str:
    return re.sub(r"\[[0-9]+\]", "[]", key)


def _wanted(error: ErrorDetails, key: str) -> str:
    """What to write instead."""
    limits = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(limits["error"])
        case "literal_error":
            return f"must be {_one_of(_choices(key))}"
        case kind:
            return _WANTED.get(kind, "does not fit").format_map(limits)


def _choices(key: str) -> tuple[str, ...]:
    """The words a setting may be; `key` may be an entry of a list of them."""
    known = {**keys(), **elements()}
    name = _any_index(key)
    return known[name if name in known else name.removesuffix("[]")].choices


def _one_of(choices: tuple[str, ...]) -> str:
    *others, last = (f"`{choice}`" for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last


def _located(key: str, code: str, message: str, layers: Layers, file: str | None) -> Problem:
    origin = layers.origin(key)
    if origin is None:
        return Problem(file or FILE_NAME, 1 if file else 0, code, message)
    return Problem(origin.name, origin.line, code, message)
