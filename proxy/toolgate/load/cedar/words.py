"""What a policy's values are called in a sentence.

RULE: no type name of Cedar's: an operator reads `text` and `a list of whole numbers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from toolgate.core.kinds import Fields, Kind, Many, Scalar, Variant, Variants
from toolgate.core.reads import Path
from toolgate.core.suggest import shortened

_LISTED: Final = 8
_VOWEL: Final = re.compile(r"`?(?:[aeio]|u(?![^aeiou][aeiou]))", re.IGNORECASE)  # an Item, an Update, a User
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CEDARS_WORDS: Final = frozenset({"if", "then", "else", "in", "is", "like", "has", "true", "false"})
_SCALARS: Final[Mapping[Scalar, str]] = {
    "text": "text", "long": "a whole number", "flag": "true or false", "decimal": "a decimal number",
    "opaque": "anything",
}  # fmt: skip
_MANY: Final[Mapping[Scalar, str]] = {
    "text": "texts", "long": "whole numbers", "flag": "truth values", "decimal": "decimal numbers",
    "opaque": "anything",
}  # fmt: skip
_CEDARS: Final[Mapping[str, str]] = {
    "String": "text", "Long": "a whole number", "Bool": "true or false", "decimal": "a decimal number",
    "datetime": "a point in time", "duration": "a length of time", "ipaddr": "an IP address", "Role": "a role",
    "Agent": "a principal", "Tool": "a tool",
}  # fmt: skip


def path_text(path: Path) -> str:
    """Write a path as a policy does: `context.args.body["odd name"]`."""
    first, *rest = path
    return first + "".join(f".{step}" if is_name(step) else f'["{step}"]' for step in rest)


def is_name(step: str) -> bool:
    """Whether an attribute can be written after a dot."""
    return _IDENTIFIER.fullmatch(step) is not None and step not in _CEDARS_WORDS


def kind_text(kind: Kind) -> str:
    """Say what a value of a kind is, as in `it is …`."""
    match kind:
        case Many(of):
            return f"a list of {_MANY[of]}" if isinstance(of, str) else f"a list of {_plural(of)}"
        case Fields():
            return "an object"
        case Variants(by):
            return either(variant_text(each) for each in by)
        case _:
            return _SCALARS[kind]


def variant_text(variant: Variant) -> str:
    return {"string": "text", "integer": "a whole number", "number": "a decimal number",
            "boolean": "true or false", "array": "a list", "object": "an object"}[variant]  # fmt: skip


def cedars_text(name: str) -> str:
    """Say a type as Cedar writes it in a message."""
    name = name.strip()
    if name.startswith("Set<"):
        inner = cedars_text(name[4:-1])
        return "a list" if "__cedar" in name else f"a list of {inner.removeprefix('a ').removeprefix('an ')}s"
    if name.startswith("{"):
        return "an object"
    if name.startswith("__cedar"):
        return "an entity" if "AnyEntity" in name else "an object"
    return _CEDARS.get(name, a(f"`{name}`"))


def a(noun: str) -> str:
    """Put the article before a name: `an Item`."""
    return f"{'an' if _VOWEL.match(noun) else 'a'} {noun}"


def either(texts: Iterable[str]) -> str:
    found = list(dict.fromkeys(texts))
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"


def there_are(names: Iterable[str]) -> str:
    """How a message about a name that is not known goes on when no known one is near."""
    found = [f"`{shortened(name)}`" for name in names]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"; there {'is' if len(found) == 1 else 'are'} {', '.join(found[:_LISTED])}{more}"


def _plural(kind: Kind) -> str:
    match kind:
        case Fields():
            return "objects"
        case Many():
            return "lists"
        case _:
            return "values of several kinds"
