"""The lattice of environments, for statements: what they permit in a narrower one is permitted in each wider one.

RULE: a proof is sufficient, never complete (CEDAR.md §10). For each environment its name is put into the conditions and
what follows is worked out; what stays unproven is noted, not refused. It holds for equal facts: the same arguments,
the same resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

from cedarpy import pst

from toolgate.core.bundle import Note
from toolgate.core.policy import Statement
from toolgate.load.cedar.vocabulary import Known, Vocabulary, scope_names

_ENVIRONMENT: Final = pst.GetAttr(pst.Var("context"), "environment")
_TRUE: Final = pst.BoolLit(value=True)
_FALSE: Final = pst.BoolLit(value=False)
_MENTION: Final = "environment"


class Residual(NamedTuple):
    """What is left of a statement in one environment: its scope, and the conditions that do not follow from the name."""

    principal: pst.PrincipalOrResourceConstraint
    resource: pst.PrincipalOrResourceConstraint
    conditions: frozenset[pst.Expr]

    def implies(self, other: Residual) -> bool:
        """Whether whatever this holds for, the other holds for too."""
        return (
            other.principal in (self.principal, pst.ScopeAny())
            and other.resource in (self.resource, pst.ScopeAny())
            and other.conditions <= self.conditions
        )


def residual(template: pst.Template, environment: str) -> Residual | None:
    """Return what is left of a statement in an environment; None when it holds for nothing there."""
    conditions: set[pst.Expr] = set()
    for clause in template.clauses:
        told = clause.expr if isinstance(clause, pst.When) else pst.UnaryOp("not", clause.expr)
        conditions.update(_conjuncts(folded(told, environment)))
    if _FALSE in conditions:
        return None
    return Residual(template.principal, template.resource, frozenset(conditions - {_TRUE}))


def unproven(statements: Iterable[Statement], known: Vocabulary) -> Iterator[Note]:
    """Note the statements because of which more may be allowed here than in a wider environment."""
    at = known.environments.index(known.environment)
    lattice = _Lattice(tuple(each for each in statements if not each.audit), known)
    for wider in known.environments[:at]:
        yield from lattice.notes(wider)


@dataclass
class _Lattice:
    """The statements of one environment, beside what they are in wider ones."""

    statements: tuple[Statement, ...]
    known: Vocabulary
    _residuals: dict[tuple[str, str], Residual | None] = field(default_factory=dict)

    def notes(self, wider: str) -> Iterator[Note]:
        here = self.known.environment
        for statement in self._differing:
            one, other = self._residual(statement, here), self._residual(statement, wider)
            if one == other:
                continue
            if statement.effect == "permit" and one is not None:
                beyond = self._unmatched(statement, one, wider)
                told = f"permits in `{here}` what it may not permit in the wider `{wider}`"
            elif statement.effect == "forbid" and other is not None:
                beyond = self._unmatched(statement, other, here)
                told = f"forbids in the wider `{wider}` what it may not forbid in `{here}`"
            else:
                continue
            if beyond:
                yield Note(
                    f"{statement.file}:{statement.line}", "", "unproven", f"`{statement.id}` {told}: {_few(beyond)}"
                )

    def _unmatched(self, statement: Statement, of: Residual, environment: str) -> list[str]:
        """Return the operations for which no statement of the same effect holds as much in an environment."""
        found = []
        for known in self.known.reached(statement.template.action):
            if known.operation.allowed and known.operation.effect != "read":
                others = (self._residual(each, environment) for each in self._of(known, statement.effect))
                if not any(other is not None and of.implies(other) for other in others):
                    found.append(known.key)
        return found

    def _residual(self, statement: Statement, environment: str) -> Residual | None:
        key = statement.id, environment
        if key not in self._residuals:
            self._residuals[key] = residual(statement.template, environment)
        return self._residuals[key]

    def _of(self, known: Known, effect: str) -> Iterator[Statement]:
        operation = known.operation
        for name in ("", operation.key, operation.effect, operation.tool):
            yield from (each for each in self._by_name.get(name, ()) if each.effect == effect)

    @cached_property
    def _differing(self) -> tuple[Statement, ...]:
        return tuple(each for each in self.statements if _MENTION in each.text)

    @cached_property
    def _by_name(self) -> Mapping[str, list[Statement]]:
        found: dict[str, list[Statement]] = {}
        for each in self.statements:
            names = scope_names(each.template.action)
            for name in names or ("",):
                found.setdefault(name, []).append(each)
        return found


def folded(expr: pst.Expr, environment: str) -> pst.Expr:  # noqa: PLR0911 (one line for each expression that can fold)
    """Put the environment's name into an expression, and work out what follows from it."""
    if expr == _ENVIRONMENT:
        return pst.StringLit(environment)
    match expr:
        case pst.BinaryOp("and" | "or" as op, left, right):
            return _joined(op, folded(left, environment), folded(right, environment))
        case pst.BinaryOp(op, left, right):
            return _compared(pst.BinaryOp(op, folded(left, environment), folded(right, environment)))
        case pst.UnaryOp("not", arg):
            return _negated(folded(arg, environment))
        case pst.Like(base):
            return _matched(replace(expr, base=folded(base, environment)))
        case pst.Set(elements):
            return pst.Set(tuple(folded(each, environment) for each in elements))
        case pst.IfThenElse(cond, then_expr, else_expr):
            parts = (folded(cond, environment), folded(then_expr, environment), folded(else_expr, environment))
            return _chosen(*parts)
        case _:
            return expr


def _joined(op: pst.BinaryOpName, left: pst.Expr, right: pst.Expr) -> pst.Expr:
    """Cedar stops at the left side that decides, so only that may take the right one away."""
    ends, goes_on = (_FALSE, _TRUE) if op == "and" else (_TRUE, _FALSE)
    if left == ends or right == goes_on:
        return left
    return right if left == goes_on else pst.BinaryOp(op, left, right)


def _compared(expr: pst.BinaryOp) -> pst.Expr:
    match expr:
        case pst.BinaryOp("eq" | "not_eq" as op, pst.StringLit(one), pst.StringLit(other)):
            return pst.BoolLit(value=(one == other) == (op == "eq"))
        case pst.BinaryOp("contains", pst.Set(elements), pst.StringLit() as text):
            is_plain = all(isinstance(each, pst.StringLit) for each in elements)
            return pst.BoolLit(value=text in elements) if is_plain else expr
        case _:
            return expr


def _negated(expr: pst.Expr) -> pst.Expr:
    match expr:
        case pst.BoolLit(value):
            return pst.BoolLit(value=not value)
        case pst.UnaryOp("not", arg):
            return arg
        case _:
            return pst.UnaryOp("not", expr)


def _matched(expr: pst.Like) -> pst.Expr:
    if not isinstance(expr.base, pst.StringLit):
        return expr
    return pst.BoolLit(value=_fits(expr.base.value, expr.pattern))


def _fits(text: str, pattern: tuple[pst.PatternElem, ...]) -> bool:
    """Match a pattern of characters and `*`, in time that follows the product of both lengths."""
    ends = {0}  # how much of the text is matched so far
    for element in pattern:
        if isinstance(element, pst.Char):
            ends = {at + 1 for at in ends if text[at : at + 1] == element.value}
        elif ends:
            ends = set(range(min(ends), len(text) + 1))
    return len(text) in ends


def _chosen(cond: pst.Expr, then_expr: pst.Expr, else_expr: pst.Expr) -> pst.Expr:
    if isinstance(cond, pst.BoolLit):
        return then_expr if cond.value else else_expr
    return pst.IfThenElse(cond, then_expr, else_expr)


def _conjuncts(expr: pst.Expr) -> Iterator[pst.Expr]:
    stack = [expr]
    while stack:
        match stack.pop():
            case pst.BinaryOp("and", left, right):
                stack += (left, right)
            case other:
                yield other


def _few(keys: list[str]) -> str:
    more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
    return f"`{keys[0]}`{more}"
