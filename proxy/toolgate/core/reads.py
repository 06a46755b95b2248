"""What a statement reads of a request: which paths, and of each whether its value or only its presence (CEDAR.md §5).

RULE: total over the expressions Cedar has, and never too little: what is not understood raises. A decision is told
only what its statements read, so a path missed here would be an argument a forbid does not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from toolgate.core.expressions import Expression, parse_expression

if TYPE_CHECKING:
    from cedarpy import pst

Path: TypeAlias = tuple[str, ...]  # `context.args.body.metric` is ("context", "args", "body", "metric")
Root: TypeAlias = Literal["principal", "action", "resource"]

RESERVED: Final = frozenset({"__entity", "__extn", "__expr"})  # keys that are escapes in Cedar's JSON, not members
_NAMED_ONLY: Final = frozenset(
    {
        ("context",),
        ("context", "derived"),
        ("context", "derived", "count"),
        ("context", "derived", "every"),
        ("context", "run"),
        ("context", "run", "by_operation"),
        ("context", "run", "spent"),
    }
)  # too large to be told whole: a statement says which member it means
_TEXT_SETS: Final = frozenset({("context", "nulls"), ("context", "run", "completed")})
_EMPTY: Final[frozenset[Path]] = frozenset()


@dataclass(frozen=True, slots=True)
class Reads:
    """What statements read. A text that `contains` asks of a set of texts is the last step of its path."""

    values: frozenset[Path] = _EMPTY
    presence: frozenset[Path] = _EMPTY  # asked with `has`; the value may stay unknown
    tags: frozenset[str] = frozenset()  # of the principal
    identities: frozenset[Root] = frozenset()  # compared with a name; a principal's roles are not meant
    types: frozenset[Root] = frozenset()  # asked with `is`

    def touches(self, *prefix: str) -> bool:
        """Whether anything at or under a path is read, or something it is part of."""
        return any(
            path[: len(prefix)] == prefix[: len(path)] if path in self.values else path[: len(prefix)] == prefix
            for path in self.values | self.presence
        )

    def under(self, *prefix: str) -> Reads:
        """Return what is read at or under a path, with the paths starting there."""
        size = len(prefix)
        return Reads(
            frozenset(path[size:] for path in self.values if path[:size] == prefix),
            frozenset(path[size:] for path in self.presence if path[:size] == prefix),
        )

    def named(self, *prefix: str) -> frozenset[str]:
        """Return the next step of every path under a path: which counts, which operations, which nulls are named."""
        size = len(prefix)
        return frozenset(
            path[size] for path in self.values | self.presence if path[:size] == prefix and len(path) > size
        )


NOTHING: Final = Reads()


def reads(template: pst.Template) -> Reads:
    """Return what a statement reads. Raises ValueError with a sentence for what it must not read, or is not understood."""
    found = _Found()
    found.scope("principal", template.principal)
    found.scope("resource", template.resource)
    for clause in template.clauses:
        found.value(clause.expr)
    return found.told()


def reads_of(expr: pst.Expr) -> Reads:
    """Return what one expression reads. Raises ValueError as `reads` does."""
    found = _Found()
    found.value(expr)
    return found.told()


def place_of(text: str) -> Expression:
    """Parse a pointer into the arguments, as statements write it. Raises ValueError with a sentence."""
    if not text.startswith("/"):
        raise ValueError(f"`{text}` is not a pointer into the arguments; write one such as `/body/items`")
    return parse_expression(f"$args#{text}")


def all_of(several: Iterable[Reads]) -> Reads:
    """Return what any of them reads."""
    each = tuple(several)
    values: frozenset[Path] = frozenset().union(*(one.values for one in each))
    return Reads(
        values,
        frozenset().union(*(one.presence for one in each)) - values,
        frozenset().union(*(one.tags for one in each)),
        frozenset().union(*(one.identities for one in each)),
        frozenset().union(*(one.types for one in each)),
    )


@dataclass(slots=True)
class _Found:
    """What was found so far. Nodes are told apart by the names of their classes: cedarpy is not imported for it."""

    values: set[Path] = field(default_factory=set)
    presence: set[Path] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    identities: set[Root] = field(default_factory=set)
    types: set[Root] = field(default_factory=set)

    def told(self) -> Reads:
        return Reads(
            frozenset(self.values),
            frozenset(self.presence - self.values),
            frozenset(self.tags),
            frozenset(self.identities),
            frozenset(self.types),
        )

    def scope(self, root: Literal["principal", "resource"], scope: Any) -> None:
        match type(scope).__name__:
            case "ScopeAny":
                pass
            case "ScopeIs":
                self.types.add(root)
            case "ScopeEq":
                self._no_slot(scope.entity)
                self.identities.add(root)
            case "ScopeIn" | "ScopeIsIn" as kind:
                if kind == "ScopeIsIn":
                    self.types.add(root)
                self._no_slot(scope.entity)
                self._ancestry(root, (scope.entity,))
            case other:
                raise ValueError(f"the scope `{other}` is not known here")

    def value(self, expr: Any) -> None:  # noqa: C901, PLR0912 (one arm for each of Cedar's fifteen expressions)
        match type(expr).__name__:
            case "Var" | "GetAttr":
                self._path(expr)
            case "HasAttr":
                self._has(expr)
            case "BoolLit" | "LongLit" | "StringLit":
                pass
            case "EntityLit":
                self._literal(expr.value)
            case "UnaryOp":
                self.value(expr.arg)
            case "BinaryOp":
                self._binary(expr)
            case "Like":
                self.value(expr.base)
            case "Is":
                self._is(expr)
            case "IfThenElse":
                self.value(expr.cond)
                self.value(expr.then_expr)
                self.value(expr.else_expr)
            case "Set":
                for element in expr.elements:
                    self.value(element)
            case "Record":
                _no_reserved(expr.fields)
                for element in expr.fields.values():
                    self.value(element)
            case "Slot":
                raise ValueError("templates (`?principal`, `?resource`) are not used here; name what is meant")
            case other:
                raise ValueError(f"the expression `{other}` is not known here")

    def _path(self, expr: Any) -> None:
        path = _chain(expr)
        match path:
            case ("context", *_):
                if path in _NAMED_ONLY:
                    raise ValueError(f"`{'.'.join(path)}` cannot be read whole; name the member that is meant")
                self.values.add(_pointed(path))
            case ("resource", _, *_):
                self.values.add(path)
            case ("principal" | "resource" | "action" as root,):
                self.identities.add(root)
            case _:
                raise _no_attributes(path)

    def _has(self, expr: Any) -> None:
        base = _chain(expr.base)
        _no_reserved(expr.attrs)
        if base[0] not in {"context", "resource"}:
            raise _no_attributes((*base, *expr.attrs))
        for size in range(1, len(expr.attrs) + 1):
            self.presence.add(_pointed((*base, *expr.attrs[:size])))

    def _binary(self, expr: Any) -> None:
        if expr.op in {"get_tag", "has_tag"}:
            self._tag(expr)
        elif expr.op == "in":
            self._in(expr.left, expr.right)
        elif not self._asks_of_texts(expr):
            self.value(expr.left)
            self.value(expr.right)

    def _tag(self, expr: Any) -> None:
        if type(expr.left).__name__ != "Var" or expr.left.name != "principal":
            raise ValueError("only the principal has tags")
        if type(expr.right).__name__ != "StringLit":
            raise ValueError('a tag is named by a text, as in `principal.getTag("team")`')
        _no_reserved((expr.right.value,))
        self.tags.add(expr.right.value)

    def _is(self, expr: Any) -> None:
        if type(expr.base).__name__ != "Var" or expr.base.name == "context":
            raise ValueError("`is` asks for the type of principal, action or resource")
        self.types.add(expr.base.name)
        if expr.in_expr is not None:
            self._in(expr.base, expr.in_expr)

    def _in(self, left: Any, right: Any) -> None:
        # Only the entities of the request are told, so of any other it is not known what it is in.
        if type(left).__name__ != "Var" or left.name == "context":
            raise ValueError("`in` asks what principal, action or resource is in; it stands on its left")
        literals = right.elements if type(right).__name__ == "Set" else (right,)
        if all(type(each).__name__ == "EntityLit" for each in literals):
            self._ancestry(left.name, [each.value for each in literals])
        else:
            self.value(left)
            self.value(right)

    def _ancestry(self, root: Root, entities: Iterable[Any]) -> None:
        """`in` is reflexive: what is in itself is compared by its name. A principal's roles are always told."""
        if root != "principal" or any(str(each.type) != "Role" for each in entities):
            self.identities.add(root)

    def _asks_of_texts(self, expr: Any) -> bool:
        """Whether fixed texts are looked for in a set of texts: then only those are read of it."""
        path = _chain_or_none(expr.left)
        looked_for = expr.right
        if expr.op == "contains_any" and path not in _TEXT_SETS:
            path, looked_for = _chain_or_none(expr.right), expr.left
        if path not in _TEXT_SETS or expr.op not in {"contains", "contains_any", "contains_all"} or path is None:
            return False
        texts = [looked_for] if expr.op == "contains" else getattr(looked_for, "elements", [None])
        if any(type(each).__name__ != "StringLit" for each in texts):
            return False
        self.values.update(_pointed((*path, each.value)) for each in texts)
        return True

    def _literal(self, entity: Any) -> None:
        """A name in a condition is compared with something: where it could be the caller's, the caller's id is read."""
        match str(entity.type):
            case "Role":
                pass
            case "Agent":
                self.identities.add("principal")
            case "Action":
                self.identities.add("action")
            case _:
                self.identities.add("resource")

    def _no_slot(self, entity: Any) -> None:
        if type(entity).__name__ == "Slot":
            raise ValueError("templates (`?principal`, `?resource`) are not used here; name what is meant")


def _chain(expr: Any) -> Path:
    path = _chain_or_none(expr)
    if path is None:
        raise ValueError(
            "an attribute of a computed value cannot be followed; write its path in full, from `context` on"
        )
    _no_reserved(path)
    return path


def _chain_or_none(expr: Any) -> Path | None:
    steps = list(_steps(expr))
    return tuple(reversed(steps)) if steps and steps[-1] in {"principal", "action", "resource", "context"} else None


def _steps(expr: Any) -> Iterator[str]:
    while type(expr).__name__ == "GetAttr":
        yield expr.attr
        expr = expr.base
    # The name of an attribute could be `context` too, so what is not a variable ends the chain with no name.
    yield expr.name if type(expr).__name__ == "Var" else ""


def _pointed(path: Path) -> Path:
    """The path, after a look at the pointer into the arguments it may name."""
    match path:
        case ("context", "nulls", text, *_) | ("context", "derived", "count" | "every", text, *_):
            place_of(text)
        case _:
            pass
    return path


def _no_attributes(path: Path) -> ValueError:
    text = f"`{'.'.join(path)}`"
    if path[0] == "action":
        return ValueError(f"{text}: an action has no attributes; ask for its name or its groups")
    asked = 'ask for its role (`principal in Role::"…"`) or its tag (`principal.hasTag("…")`)'
    return ValueError(f"{text}: a principal has no attributes; {asked}")


def _no_reserved(names: Iterable[str]) -> None:
    for name in names:
        if name in RESERVED:
            raise ValueError(f"`{name}` is reserved by Cedar and cannot be read")
