"""Where settings come from: flag before variable before file before default, and what each key came from.

RULE: layers are merged by key before anything is judged, and each key remembers its origin, so that a problem is
reported where the value was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

PREFIX: Final = "TOOLGATE_"
# Ours without being settings.
_RESERVED: Final = frozenset({"TOOLGATE_CONFIG", "TOOLGATE_DEBUG", "TOOLGATE_SPECS", "TOOLGATE_TOKEN"})
# Kubernetes sets these for every Service in the namespace; one may be named `toolgate`.
_SERVICE_LINK: Final = re.compile(
    r"TOOLGATE(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}\.[0-9]{1,18}")
_WORDS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: `toolgate.yaml:3`, `TOOLGATE_LEDGER`, `--ledger`, or `default`."""

    kind: Literal["default", "file", "variable", "flag"]
    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(slots=True)
class Layers:
    """The values so far, and the origin of each dotted key."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def put(self, key: str, value: Any, origin: Origin) -> None:
        *sections, last = key.split(".")
        tree = self.tree
        for section in sections:
            inner = tree.get(section)
            if not isinstance(inner, dict):
                inner = tree[section] = {}
            tree = inner
        tree[last] = value
        for inner in [name for name in self.origins if name.startswith(f"{key}[")]:
            del self.origins[inner]
        self.origins[key] = origin

    def origin(self, key: str) -> Origin | None:
        """The origin of the key, else of what stands beside it in the nearest section."""
        while key:
            near = (self.origins[name] for name in self.origins if name == key or name.startswith(f"{key}."))
            if (found := next(near, None)) is not None:
                return found
            key = key.rpartition(".")[0]
        return None


def from_variables(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Dotted key → (variable, text) for every variable that can be meant as a setting."""
    return {
        name.removeprefix(PREFIX).lower().replace("__", "."): (name, text)
        for name, text in environ.items()
        if name.startswith(PREFIX) and name not in _RESERVED and not _SERVICE_LINK.fullmatch(name)
    }


def dotted(steps: Sequence[str | int]) -> str:
    """The name of a setting by the steps to it: `identity.issuers[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def scalar(text: str) -> Any:
    """Text of a variable or flag as the number or truth value it spells."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return _WORDS.get(text, text)
