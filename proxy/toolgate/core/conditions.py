"""A statement taken apart: its clauses as conditions that must all hold, each on its own (CEDAR.md §7, §8).

RULE: the parts together mean what the statement means: a list of conditions joined by `and`, in the order Cedar asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cedarpy import pst

_ANY: Final = pst.ScopeAny()
_NO_NOTES: Final[pst.FrozenMap[str, str]] = pst.FrozenMap()  # unlike a dict it can be hashed


def conditions_of(template: pst.Template) -> tuple[pst.Clause, ...]:
    """Return every condition of a statement, in order."""
    return tuple(part for clause in template.clauses for part in parts_of(clause))


def parts_of(clause: pst.Clause) -> Iterator[pst.Clause]:
    """Split `when {a && b}` into a and b, and `unless {a || b}` into not a and not b."""
    match clause:
        case pst.When(expr):
            yield from (pst.When(each) for each in _split(expr, "and"))
        case pst.Unless(expr):
            yield from (pst.Unless(each) for each in _split(expr, "or"))


def probe(probe_id: str, template: pst.Template, clauses: Iterable[pst.Clause]) -> pst.Template:
    """A permit that holds exactly where the statement's principal scope and these conditions hold."""
    return pst.Template(probe_id, "permit", template.principal, _ANY, _ANY, tuple(clauses), _NO_NOTES)


def _split(expr: pst.Expr, op: str) -> Iterator[pst.Expr]:
    # Chains lean to the left and may be a hundred long; only the left side is followed without recursion.
    rights = []
    while isinstance(expr, pst.BinaryOp) and expr.op == op:
        rights.append(expr.right)
        expr = expr.left
    yield expr
    for right in reversed(rights):
        yield from _split(right, op)
