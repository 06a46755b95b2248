"""What is compared with what: the operands that do not fit, found by the kinds of what a statement reads.

RULE: an aid to tell Cedar's verdict, never one of its own. Cedar says that kinds do not fit; this says which words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from cedarpy import pst

from toolgate.core.actions import quoted
from toolgate.core.kinds import Fields, Kind, Many, Variants
from toolgate.core.reads import Path
from toolgate.load.cedar.tree import nodes
from toolgate.load.cedar.words import kind_text, path_text

PLAIN: Final[tuple[Kind, ...]] = ("text", "long", "flag", "decimal")  # kinds compare; most have no hash
_ORDER: Final = {"less": "<", "less_eq": "<=", "greater": ">", "greater_eq": ">="}
_DECIMAL: Final = {
    "decimal_less_than": "lessThan", "decimal_less_eq": "lessThanOrEqual",
    "decimal_greater": "greaterThan", "decimal_greater_eq": "greaterThanOrEqual",
}  # fmt: skip
_SWAPPED: Final = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}
_BY_ORDER: Final = dict(zip(_ORDER, _DECIMAL.values(), strict=True))
_METHODS: Final = {"to_time": "toTime", "to_date": "toDate"}
_COUNTED: Final = {"add": "+", "sub": "-", "mul": "*"}
_OF_LISTS: Final = {"contains": "contains", "contains_all": "containsAll", "contains_any": "containsAny"}

Known = Callable[[Path], Kind | None]  # the kind of what stands at a path; None where that is not known
Is = Kind | str  # a kind, or words for what has none (`a point in time`)


class Misfit(NamedTuple):
    """Two things that do not go together, and where to look for it: a path, or a word where it is none."""

    path: Path
    word: str
    message: str


def misfits(template: pst.Template, known: Known) -> Iterator[Misfit]:
    """Every operand that is not of the kind its operator takes."""
    for clause in template.clauses:
        finder = _Finder(known)
        finder.condition(clause.expr)
        yield from finder.found


class _Finder:
    def __init__(self, known: Known) -> None:
        self.found: list[Misfit] = []
        self._known = known

    def condition(self, expr: pst.Expr) -> None:
        """What must be true or false."""
        match expr:
            case pst.BinaryOp("and" | "or", left, right):
                self.condition(left)
                self.condition(right)
            case pst.UnaryOp("not", arg):
                self.condition(arg)
            case pst.IfThenElse(cond, then_expr, else_expr):
                for each in (cond, then_expr, else_expr):
                    self.condition(each)
            case pst.BinaryOp():
                self._binary(expr)
            case pst.Like(base):
                self._require(base, ("text",), "`like` is asked of text")
            case pst.UnaryOp("is_empty", arg):
                self._require_list(arg, "isEmpty")
            case _:
                self._require(expr, ("flag",), "a condition is true or false; compare it with something")

    def _binary(self, expr: pst.BinaryOp) -> None:
        if expr.op in {"eq", "not_eq"}:
            self._equal(expr.left, expr.right)
        elif expr.op in _ORDER:
            self._ordered(expr.op, expr.left, expr.right)
        elif expr.op in _DECIMAL:
            self._decimal(expr.left, expr.right, _DECIMAL[expr.op])
        elif expr.op in _COUNTED:
            for each in (expr.left, expr.right):
                self._require(each, ("long",), f"`{_COUNTED[expr.op]}` takes whole numbers")
        elif expr.op in _OF_LISTS:
            self._list(expr)

    def _ordered(self, op: str, left: pst.Expr, right: pst.Expr) -> None:
        self._descend(left, right)
        for operand, beside in ((left, right), (right, left)):
            found = self._is(operand)
            if isinstance(found, Variants):
                self._report_variants(operand, found)
            elif found == "decimal":
                self._ordered_decimal(op, left, right)
                return
            elif _is_time(found) or _is_time(self._is(beside)):
                self._ordered_times(operand, found, beside)
            elif found == "text" and isinstance(operand, pst.StringLit) and operand.value.lstrip("-").isdecimal():
                self._report(operand, f"is text, and `{_ORDER[op]}` compares whole numbers; write it without quotes")
            elif found is not None and found != "long":
                self._report(operand, f"is {_said(found)}, and `{_ORDER[op]}` compares whole numbers")

    def _ordered_decimal(self, op: str, left: pst.Expr, right: pst.Expr) -> None:
        """One problem for both sides: what is written out is no more wrong than what it is compared with."""
        swapped = _path(left) is None and _path(right) is not None
        operand, beside = (right, left) if swapped else (left, right)
        method = _BY_ORDER[_SWAPPED[op] if swapped else op]
        if self._is(operand) == "decimal":
            value = _text(beside) if self._is(beside) == "decimal" else 'decimal("0.5")'
            self._report(operand, f"is a decimal number; write `{_text(operand)}.{method}({value})`")
        else:
            hint = "; write whole numbers without `decimal(…)`" if self._is(operand) == "long" else ""
            self._report(operand, f"is {_said(self._is(operand))} and is compared with a decimal number{hint}")

    def _ordered_times(self, operand: pst.Expr, found: Is | None, beside: pst.Expr) -> None:
        if _is_time(found) and found != self._is(beside):
            self._report(operand, f"is {_said(found)}; compare it with one, such as `{_TIMES[str(found)]}`")

    def _decimal(self, left: pst.Expr, right: pst.Expr, method: str) -> None:
        for each in (left, right):
            if self._is(each) == "long" and isinstance(each, pst.LongLit):
                self._report(left, f'is compared with {each.value}; write `.{method}(decimal("{each.value}.0"))`')
            else:
                hint = "; compare whole numbers with `<` and its like" if self._is(each) == "long" else ""
                self._require(each, ("decimal",), f"`{method}` compares decimal numbers{hint}")

    def _equal(self, left: pst.Expr, right: pst.Expr) -> None:
        one, other = self._is(left), self._is(right)
        if one is None or other is None or one == other:
            self._descend(left, right)
            return
        for operand, each, beside in ((left, one, other), (right, other, one)):
            if isinstance(each, Variants) and not isinstance(beside, Variants):
                self._report_variants(operand, each)
                return
        if isinstance(one, Fields) or isinstance(other, Fields) or "an object" in (one, other):
            self._report(left if _path(left) else right, "is an object; compare its members one by one")
            return
        operand, value = (right, left) if type(left) in _LITERALS else (left, right)
        is_one, is_other = (one, other) if operand is left else (other, one)
        hint = _equal_hint(operand, is_one, value)
        self._report(operand, f"is {_said(is_one)} and is compared with {_said(is_other)}{hint}")

    def _descend(self, *expressions: pst.Expr) -> None:
        for each in expressions:
            if isinstance(each, pst.BinaryOp):
                self._binary(each)

    def _list(self, expr: pst.BinaryOp) -> None:
        method = _OF_LISTS[expr.op]
        if not self._require_list(expr.left, method):
            return
        many = self._is(expr.left)
        if method != "contains":
            self._require_list(expr.right, method)
        elif isinstance(many, Many) and (item := self._is(expr.right)) not in (None, many.of):
            operand = expr.left if _path(expr.left) else expr.right
            self._report(operand, f"is {kind_text(many)} and is asked whether it holds {_said(item)}")

    def _require_list(self, expr: pst.Expr, method: str) -> bool:
        found = self._is(expr)
        if found is None or isinstance(found, Many):
            return True
        if isinstance(found, Variants):
            self._report_variants(expr, found)
        else:
            hint = '; for a part of a text write `… like "*part*"`' if found == "text" and _path(expr) else ""
            self._report(expr, f"is {_said(found)}, and `{method}` is asked of a list{hint}")
        return False

    def _require(self, expr: pst.Expr, kinds: tuple[Is, ...], rule: str) -> None:
        found = self._is(expr)
        if isinstance(found, Variants):
            self._report_variants(expr, found)
        elif found is not None and found not in kinds:
            self._report(expr, f"is {_said(found)}, and {rule}")

    def _report_variants(self, expr: pst.Expr, kind: Variants) -> None:
        text, first = _text(expr), next(iter(kind.by))
        self._report(expr, f"may be {kind_text(kind)}; ask first: `{text} has {first} && {text}.{first} == …`")

    def _report(self, expr: pst.Expr, message: str) -> None:
        inside = (_path(each) for each in nodes(expr) if isinstance(each, pst.GetAttr))
        path = next((each for each in inside if each is not None), ())
        self.found.append(Misfit(path, _text(expr), f"`{_text(expr)}` {message}"))

    def _is(self, expr: pst.Expr | None) -> Is | None:
        path = _path(expr)
        if path is not None:
            known = "a point in time" if path == ("context", "now") else self._known(path)
            return None if known == "opaque" else known
        match expr:
            case pst.UnaryOp(op) | pst.BinaryOp(op):
                return _RESULTS.get(op)
            case pst.Set(elements) if elements:
                first, *others = (self._is(each) for each in elements)
                is_kind = first in PLAIN or isinstance(first, Many)
                return Many(first) if is_kind and all(each == first for each in others) else None  # type: ignore[arg-type]
            case pst.EntityLit(uid):
                return f"the name `{uid}`"
            case pst.Record():
                return "an object"
            case _:
                return _LITERALS.get(type(expr))


_TIMES: Final = {"a point in time": 'datetime("2024-01-31")', "a length of time": 'duration("1h30m")'}
_LITERALS: Final[dict[type, Is]] = {
    pst.StringLit: "text", pst.LongLit: "long", **dict.fromkeys((pst.BoolLit, pst.Like, pst.HasAttr, pst.Is), "flag"),
}  # fmt: skip
_RESULTS: Final[dict[str, Is]] = {
    "neg": "long", "decimal": "decimal", "datetime": "a point in time", "duration": "a length of time",
    "ip": "an IP address", "to_date": "a point in time", "to_time": "a length of time", "not": "flag",
    "add": "long", "sub": "long", "mul": "long", "get_tag": "text", "offset": "a point in time",
    "duration_since": "a length of time",
    **dict.fromkeys((*_ORDER, *_DECIMAL, *_OF_LISTS, "eq", "not_eq", "and", "or", "in", "has_tag", "is_empty"), "flag"),
}  # fmt: skip


def _is_time(found: Is | None) -> bool:
    return isinstance(found, str) and found in _TIMES


def _said(found: Is | None) -> str:
    if isinstance(found, str) and " " in found:
        return found
    return "something else" if found is None else kind_text(found)  # type: ignore[arg-type] # a kind by now


def _equal_hint(operand: pst.Expr, kind: Is | None, value: pst.Expr) -> str:
    """What to write for a value of the wrong kind."""
    text, hint = _text(operand), ""
    match kind, value:
        case "decimal", pst.LongLit(number):
            hint = f'`{text} == decimal("{number}.0")`'
        case "long", pst.StringLit(word) if word.lstrip("-").isdecimal():
            hint = f"{word} without quotes"
        case "flag", pst.StringLit("true" | "false" as word):
            hint = f"{word} without quotes"
        case "text", pst.LongLit(number):
            hint = f'`"{number}"`'
        case "text", pst.Set():
            hint = f"`[…].contains({text})`"
        case Many(), pst.StringLit(word):
            hint = f'`{text}.contains("{word}")`'
        case "text", pst.EntityLit(uid):
            hint = f'`"{uid.id}"`'
        case _:
            pass
    return f"; write {hint}" if hint else ""


def _path(expr: pst.Expr | None) -> Path | None:
    steps: list[str] = []
    while isinstance(expr, pst.GetAttr):
        steps.append(expr.attr)
        expr = expr.base
    return (expr.name, *reversed(steps)) if isinstance(expr, pst.Var) else None


def _text(expr: pst.Expr) -> str:
    path = _path(expr)
    if path:
        return path_text(path)
    match expr:
        case pst.StringLit(text):
            told = quoted(text)
        case pst.LongLit(value) | pst.BoolLit(value):
            told = str(value).lower()
        case pst.BinaryOp("get_tag", _, pst.StringLit(tag)):
            told = f"principal.getTag({quoted(tag)})"
        case pst.UnaryOp("decimal" | "datetime" | "duration" | "ip" as function, arg):
            told = f"{function}({_text(arg)})"
        case pst.UnaryOp("to_time" | "to_date" as method, arg):
            told = f"{_text(arg)}.{_METHODS[method]}()"
        case _:
            told = "this"
    return told
