"""The names in a statement: actions, groups, types, tools, environments, operations of a run.

RULE: Cedar takes any name it was not told of for one that matches nothing, and a forbid with a slip in it would never
fire. Every name is looked up here, in every environment's catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cedarpy import pst

from toolgate.core.actions import ACTION, EFFECTS, PRINCIPAL, ROLE, TOOL, uid
from toolgate.core.bundle import Problem
from toolgate.core.reads import Reads
from toolgate.core.suggest import shortened
from toolgate.load.cedar.checking import Parsed
from toolgate.load.cedar.lexer import Source, Token
from toolgate.load.cedar.syntax import problem
from toolgate.load.cedar.tree import Named, nodes, resource_type
from toolgate.load.cedar.vocabulary import Vocabulary
from toolgate.load.cedar.words import a, either, there_are
from toolgate.load.models import did_you_mean

_MEANT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("reads", "get", "list", "view", "query", "readonly"), "read"),
    **dict.fromkeys(("writes", "create", "update", "edit", "put", "post", "patch"), "write"),
    **dict.fromkeys(("delete", "remove", "destroy", "drop", "delete*"), "destructive"),
}
_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("User", "Principal", "Service", "Workload", "OAuthUser", "IamEntity"), PRINCIPAL),
    **dict.fromkeys(("Group", "Team", "Roles"), ROLE),
    **dict.fromkeys(("Gateway", "Resource", "Api"), TOOL),
}


def name_problems(parsed: Parsed, known: Vocabulary) -> list[Problem]:
    """Every name in a statement that means nothing, or nothing where it stands."""
    names, template = _Names(parsed.source, known), parsed.statement.template
    return [
        *names.of_entities(parsed.named),
        *names.of_scope(template),
        *names.of_conditions(template, parsed.reads),
    ]


class _Names:
    """The names of one statement, and where they stand in its text."""

    def __init__(self, source: Source, known: Vocabulary) -> None:
        self._source = source
        self._known = known
        self._tokens: list[Token] | None = None

    def of_entities(self, named: Named) -> Iterator[Problem]:
        for entity in named.entities:
            yield from self._entity(entity.type, entity.id)
        for kind in named.types:
            yield from self._type(kind)

    def of_scope(self, template: pst.Template) -> Iterator[Problem]:
        yield from self._principal(template.principal)
        yield from self._resource(template)
        if isinstance(template.action, pst.ActionEq):
            yield from self._no_group(template.action.entity)

    def of_conditions(self, template: pst.Template, reads: Reads) -> Iterator[Problem]:
        for node in nodes(template.clauses):
            match node:
                case pst.BinaryOp("eq" | "not_eq" | "contains" | "in" as op, left, right):
                    asked = "in" if op == "in" else "is"
                    yield from self._compared(left, right, asked, template)
                    yield from self._compared(right, left, asked, template)
                case pst.Like(pst.Var(what)) if what in _UNLIKE:
                    yield self._problem(
                        "like", f"`like` is asked of text, and `{what}` is none; {_UNLIKE[what]}", "policy.type"
                    )
                case pst.Is(pst.Var(what), kind):
                    yield from self._impossible(what, str(kind), "is", template)
                case _:
                    pass
        for name in sorted(reads.named("context", "run", "completed") | reads.named("context", "run", "by_operation")):
            if name not in self._known.here and name not in self._known.elsewhere:
                yield self._problem(
                    name, f"`{shortened(name)}` is no operation{_meant(self._known.operations.near(name))}"
                )

        for name in sorted(reads.named("context", "run", "spent") - self._known.spent):
            yield self._problem(name, _uncounted(name, self._known.spent))

    def _compared(self, what: pst.Expr, value: pst.Expr, asked: str, template: pst.Template) -> Iterator[Problem]:
        """A name that stands beside what it is compared with, alone or in a list."""
        for each in value.elements if isinstance(value, pst.Set) else (value,):
            match what, each:
                case pst.Var(name), pst.EntityLit(entity):
                    yield from self._impossible(name, str(entity.type), asked, template)
                    if (name, asked) == ("action", "is"):
                        yield from self._no_group(entity)
                case pst.Var(name), pst.StringLit(text) if name != "context":
                    yield self._untyped(name, asked, text, template)
                case _ if what == _ENVIRONMENT and isinstance(each, pst.StringLit):
                    yield from self._environment(each.value)
                case _:
                    pass

    def _untyped(self, what: str, asked: str, text: str, template: pst.Template) -> Problem:
        """A text where a name stands: Cedar takes an action for unlike any text, and never says so."""
        types = sorted(self._known.types_about(template.action) - {TOOL})
        kinds = {"action": ACTION, "principal": ROLE if asked == "in" else PRINCIPAL}
        kind = kinds.get(what, types[0] if len(types) == 1 else TOOL)
        told = f"`{what}` is compared with text; a name stands after its type: write `{uid(kind, text)}`"
        return self._problem(text, told, "policy.type")

    def _impossible(self, what: str, kind: str, asked: str, template: pst.Template) -> Iterator[Problem]:
        """A condition that no call can meet: a principal that is a tool, a resource of a type nothing is about."""
        known = self._known
        possible: frozenset[str] = _CAN_BE.get((what, asked), frozenset())
        if what == "resource":
            possible = known.types_about(template.action)
        if kind not in possible and (kind in known.types or kind in {PRINCIPAL, ROLE, ACTION}):
            told = f"this never holds: {_NEVER.get(what, 'no operation of this statement is about')} {a(f'`{kind}`')}"
            told += '; write `principal in Role::"…"`' if (what, kind) == ("principal", ROLE) else ""
            yield self._problem(kind, told, "policy.never")

    # -- one name --------------------------------------------------------------------------------------------------

    def _entity(self, kind: pst.EntityType, name: str) -> Iterator[Problem]:
        if kind.basename == ACTION and kind.namespace:
            message = f'`{kind}` is not known; an action is written `Action::"tool.operationId"`'
            yield self._problem(kind.namespace[0], message)
        elif str(kind) == ACTION:
            yield from self._action(name)
        elif str(kind) == TOOL and name not in self._known.tools:
            hint = did_you_mean(name, self._known.tools) or there_are(self._known.tools)
            yield self._problem(name, f"there is no tool `{shortened(name)}`{hint}")
        elif str(kind) in self._known.listed:
            yield from self._resource_named(str(kind), name)
        else:
            yield from self._type(kind)

    def _resource_named(self, kind: str, name: str) -> Iterator[Problem]:
        """SECURITY: a forbid that names what does not exist protects nothing."""
        listed = self._known.listed[kind]
        if name not in listed:
            where = " of any environment" if len(self._known.environments) > 1 else ""
            meant = did_you_mean(name, listed) or (there_are(sorted(listed)) if listed else "; it is empty")
            yield self._problem(name, f"no catalogue{where} lists {a(kind)} `{shortened(name)}`{meant}")

    def _action(self, name: str) -> Iterator[Problem]:
        if not self._known.is_known(name):
            message = f"no operation and no group is called `{shortened(name)}`{self._meant_action(name)}"
            yield self._problem(name, message)

    def _meant_action(self, name: str) -> str:
        known = self._known
        if name.lower() in _MEANT:
            return f"; did you mean the group `{_MEANT[name.lower()]}`?"
        if "*" in name:
            return (
                "; names are not patterns: name a group (`read`, `write`, `destructive` or a tool), or leave `action`"
            )
        named = [key for key in (*known.here, *known.elsewhere) if key.partition(".")[2] == name]
        if named:
            return f"; write the tool's name too: {either(f'`{key}`' for key in named[:3])}"
        by_name = next((each.key for each in known.here.values() if each.operation.name == name), None)
        if by_name is not None:
            return f"; write `{by_name}`"
        return _meant(known.actions.near(name)) or (
            f'; an action is written `Action::"tool.operationId"`, a group {_listed(EFFECTS)} or a tool\'s name'
        )

    def _type(self, kind: pst.EntityType) -> Iterator[Problem]:
        name = str(kind)
        if name in {PRINCIPAL, ROLE, ACTION} or name in self._known.types:
            return
        choices = sorted({PRINCIPAL, ROLE, *self._known.types})
        meant = f"; did you mean `{_TYPES[name]}`?" if name in _TYPES else did_you_mean(name, choices)
        yield self._problem(name.partition("::")[0], f"there is no type `{name}`{meant or there_are(choices)}")

    def _no_group(self, entity: pst.EntityUid) -> Iterator[Problem]:
        name = entity.id
        if str(entity.type) == ACTION and name in self._known.groups:
            yield self._problem(name, f"`{name}` is a group of actions; write `action in {uid(ACTION, name)}`")

    def _environment(self, text: str) -> Iterator[Problem]:
        known = self._known.environments
        if text not in known:
            hint = f"; write `{_SPOKEN[text]}`" if _SPOKEN.get(text) in known else did_you_mean(text, known)
            message = f"there is no environment `{shortened(text)}`{hint or there_are(known)}"
            yield self._problem(text, message)

    # -- who and what ----------------------------------------------------------------------------------------------

    def _principal(self, scope: pst.PrincipalOrResourceConstraint) -> Iterator[Problem]:
        match scope:
            case pst.ScopeEq(pst.EntityUid(type=kind, id=name)) if str(kind) == ROLE:
                yield self._problem(name, f"nobody is a role; write `principal in {uid(ROLE, name)}`")
            case pst.ScopeEq(pst.EntityUid(type=kind)) | pst.ScopeIs(kind):
                yield from self._never_who(
                    kind, {PRINCIPAL}, f"a principal is an `{PRINCIPAL}`, never {a(f'`{kind}`')}"
                )
            case pst.ScopeIn(pst.EntityUid(type=kind)):
                yield from self._never_who(
                    kind, {ROLE, PRINCIPAL}, f"a principal is in a `{ROLE}`, never in {a(f'`{kind}`')}"
                )
            case pst.ScopeIsIn(kind, pst.EntityUid(type=of)):
                yield from self._never_who(
                    kind, {PRINCIPAL}, f"a principal is an `{PRINCIPAL}`, never {a(f'`{kind}`')}"
                )
                yield from self._never_who(
                    of, {ROLE, PRINCIPAL}, f"a principal is in a `{ROLE}`, never in {a(f'`{of}`')}"
                )
            case _:
                pass

    def _never_who(self, kind: pst.EntityType, possible: set[str], message: str) -> Iterator[Problem]:
        """A type that exists and is not what a principal is; one that does not is told already."""
        name = str(kind)
        if name not in possible and (name in self._known.types or name in {PRINCIPAL, ROLE, ACTION}):
            yield self._problem(name, message)

    def _resource(self, template: pst.Template) -> Iterator[Problem]:
        kind = resource_type(template.resource)
        if kind is None:
            return
        if kind in {PRINCIPAL, ROLE, ACTION}:
            yield self._problem(kind, f"a resource is a `{TOOL}` or of a catalogued type, never `{kind}`")
        elif kind in self._known.types and kind not in self._known.types_about(template.action):
            message = (
                f"this can never match: no operation its action holds is about {a(f'`{kind}`')} in any environment; "
                f"map the arguments to it (`resources: [{{type: {kind}, at: …}}]` in tool.yaml), or drop it here"
            )
            yield self._problem(kind, message, "policy.never")

    def _problem(self, word: str, message: str, code: str = "policy.unknown") -> Problem:
        return problem(self._source, self._place(word), code, message)

    def _place(self, word: str) -> int:
        if self._tokens is None:
            self._tokens = list(self._source.tokens())
        quoted = uid("", word).removeprefix("::")
        return next((token.start for token in self._tokens if token.text in {word, quoted}), 0)


_CAN_BE: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("principal", "is"): frozenset({PRINCIPAL}),
    ("principal", "in"): frozenset({PRINCIPAL, ROLE}),
    ("action", "is"): frozenset({ACTION}),
    ("action", "in"): frozenset({ACTION}),
}
_UNLIKE: Final = {
    "principal": 'ask for a role, `principal in Role::"…"`, or a tag, `principal.getTag("…") like "…"`',
    "action": 'names are not patterns: name a group, as in `action in Action::"read"`, or several in a list',
    "resource": 'ask for the argument that names it, as in `context.args.name like "…"`, or for an attribute',
}
_NEVER: Final = {"principal": "a principal is never", "action": "an action is never"}
_ENVIRONMENT: Final = pst.GetAttr(pst.Var("context"), "environment")
_SPOKEN: Final[Mapping[str, str]] = {
    "production": "prod", "live": "prod", "development": "dev", "stage": "staging", "prod": "production",
    "dev": "development", "staging": "stage",
}  # fmt: skip


def _meant(names: Iterable[str]) -> str:
    found = [f"`{name}`" for name in names]
    return f"; did you mean {either(found)}?" if found else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _uncounted(dimension: str, counted: frozenset[str]) -> str:
    """What a run has spent is known from the budgets that count every call of it."""
    there = there_are(sorted(counted)) if counted else ""
    way = f"`budgets.yaml` wants one such as `{{name: run-{dimension}, scope: [run], {dimension}: …}}`, without `match` and `window`"
    return f"no budget counts the `{shortened(dimension)}` of a run{did_you_mean(dimension, counted) or there}; {way}"
