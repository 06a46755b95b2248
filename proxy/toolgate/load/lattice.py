"""The lattice of environments: what may change something in a narrower one must be allowed in each wider one.

RULE: proven by listing, at `check` and at every start: an operation first tried in production was never tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from toolgate.core.bundle import Problem
from toolgate.load.tools import ToolSpec, View


def lattice_problems(spec: ToolSpec) -> Iterator[Problem]:
    """Every operation that breaks it, for each pair of environments the tool has entries for."""
    for wider, narrower in combinations(spec.views.values(), 2):
        for name, effect in _effectful(narrower).items():
            if name not in _allowed(wider):
                yield spec.problem(
                    ("environments", narrower.environment, "allow"),
                    "environment.lattice",
                    f"`{name}` ({effect}) is allowed in `{narrower.environment}` and not in the wider "
                    f"`{wider.environment}`; allow it there too, or not here",
                )


def _effectful(view: View) -> dict[str, str]:
    return {each.declared.id: each.effect for each in view.operations if each.allowed and each.effect != "read"}


def _allowed(view: View) -> set[str]:
    return {each.declared.id for each in view.operations if each.allowed}
