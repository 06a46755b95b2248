"""Requests from the vendors' own documents: schemathesis draws them, operation by operation, the same ones every time.

RULE: schemathesis reads the document by itself. Nothing here asks the gate what it thinks of a request.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import ryaml
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider
from hypothesis.internal.constants_ast import Constants
from schemathesis.config import SchemathesisConfig
from schemathesis.core.control import SkipTest
from schemathesis.generation import GenerationMode
from schemathesis.generation.case import Case

Mode = Literal["positive", "negative"]
COUNTS = {
    "alertmanager-swagger2.yaml": 9,
    "box.json": 296,
    "github.json": 1223,
    "kubernetes-swagger2.json": 826,
    "openai.yaml": 288,
    "petstore.yaml": 19,
    "prometheus-3.1.yaml": 49,
    "stripe.yaml": 468,
}


class SeededOnly(HypothesisProvider):
    """Draws from the seed alone: by itself hypothesis also draws literals out of whatever local modules are loaded."""

    @property
    def _local_constants(self) -> Constants:
        return Constants()


BACKEND = "toolgate-seeded-only"
AVAILABLE_PROVIDERS[BACKEND] = f"{__name__}.SeededOnly"


@dataclass(frozen=True)
class Budget:
    """How much is drawn: every `stride`th operation from `start`, so many examples of each."""

    examples: int
    start: int = 0
    stride: int = 1


@cache
def document(path: Path) -> dict[str, Any]:
    """Read a document as a library would that has nothing to do with the gate."""
    text = path.read_text(encoding="utf-8")
    read = json.loads(text) if path.suffix == ".json" else _yaml(text)
    assert isinstance(read, dict)
    return read


def _yaml(text: str) -> Any:
    try:
        return ryaml.loads(text)
    except ryaml.InvalidYamlError:  # an integer beyond 64 bit
        return yaml.load(text, yaml.CSafeLoader)


def operations(path: Path, mode: Mode) -> Sequence[Any]:
    """Return schemathesis' operations of a document."""
    schema = schemathesis.openapi.from_dict(document(path), config=SchemathesisConfig())
    schema.config.generation.update(
        modes=[GenerationMode(mode)],
        deterministic=True,
        allow_x00=False,
        with_security_parameters=False,  # credentials are the gate's own: those of the caller never travel
    )
    return [each.ok() for each in schema.get_all_operations()]


def cases(path: Path, mode: Mode, budget: Budget) -> Iterator[tuple[Any, Case]]:
    """Yield operations with the cases drawn for them."""
    for operation in operations(path, mode)[budget.start :: budget.stride]:
        for case in _drawn(operation, mode, budget.examples):
            yield operation, case


def _drawn(operation: Any, mode: Mode, examples: int) -> list[Case]:
    drawn: list[Case] = []

    # Seeded by name, so that no two operations are given the same texts.
    @seed(crc32(f"{mode} {operation.label}".encode()))
    @settings(
        max_examples=examples,
        backend=BACKEND,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=GenerationMode(mode)))
    def draw(case: Case) -> None:
        drawn.append(case)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, about their own strategies
        try:
            draw()
        except (Unsatisfiable, SkipTest):
            return []  # nothing about this operation can be wrong, or the document asks for the impossible
    return drawn


def mutations(case: Case) -> Sequence[Any]:
    """Return what was broken on purpose in a negative case."""
    return getattr(case._meta.phase.data, "mutations", ()) if case._meta is not None else ()


def resolved(document: Mapping[str, Any], node: Any) -> Any:
    """Follow local references."""
    for _ in range(32):
        if not isinstance(node, dict) or not isinstance(node.get("$ref"), str):
            return node
        target: Any = document
        for token in node["$ref"].removeprefix("#/").split("/"):
            target = target[token.replace("~1", "/").replace("~0", "~")]
        node = target
    return node
