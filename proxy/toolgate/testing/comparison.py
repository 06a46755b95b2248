"""What changes between two configurations: who is let in and may call what, what operations are, what exists, what may be
spent, and how cases end.

RULE: both sides are asked the same questions by the same engine; a rewording that changes no answer is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

from toolgate.auth.issuer import Identity
from toolgate.core.amounts import text_of
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Credential, Operation, Secret
from toolgate.core.cost import Cost
from toolgate.core.model import Decision, Principal
from toolgate.core.policy import Statement
from toolgate.testing.bounds import BoundChange, bound_changes
from toolgate.testing.callers import IdentityChange, identity_changes, place_of
from toolgate.testing.cases import ANONYMOUS, Case, Suite
from toolgate.testing.inventory import ResourceChange, resource_changes
from toolgate.testing.running import Setting, code_of, decide_served

# unknown: no document has it · disallowed: not on the environment's allow-list · refused: no statement could permit it ·
# approval: a person may have to agree · listed: it may be called, if its arguments are right
Access: TypeAlias = Literal["unknown", "disallowed", "refused", "approval", "listed"]
What: TypeAlias = Literal["added", "removed", "changed"]


class AccessChange(NamedTuple):
    """Somebody may call something they could not, or no longer."""

    environment: str
    principal: str
    operation: str
    old: Access
    new: Access


class OperationChange(NamedTuple):
    """An operation that is not what it was."""

    environment: str
    operation: str
    what: tuple[str, ...]  # such as `effect: read → write`


class StatementChange(NamedTuple):
    """A statement that came, went, or says something else."""

    id: str
    what: What
    place: str  # file:line, on the side that has it, the new one first


class CaseChange(NamedTuple):
    """A case that ends otherwise."""

    case: Case
    environment: str
    old: Decision
    new: Decision


@dataclass(frozen=True, slots=True)
class Side:
    """One configuration: what it serves, its cases, and who is let in."""

    setting: Setting
    suite: Suite
    identity: Identity

    def bundle(self, environment: str) -> Bundle:
        return self.setting.served[environment].bundle


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that changes."""

    environments: tuple[tuple[str, What], ...]
    identity: tuple[IdentityChange, ...]
    statements: tuple[StatementChange, ...]
    operations: tuple[OperationChange, ...]
    resources: tuple[ResourceChange, ...]
    bounds: tuple[BoundChange, ...]
    access: tuple[AccessChange, ...]
    cases: tuple[CaseChange, ...]

    @property
    def is_empty(self) -> bool:
        what_is = self.environments or self.identity or self.statements or self.operations or self.resources
        return not (what_is or self.bounds or self.access or self.cases)


def compare(old: Side, new: Side, roles: Sequence[str] = ()) -> Comparison:
    """Return what changes from one side to the other, for their fixtures' principals, the anonymous one and `roles`."""
    before, after = old.setting.served, new.setting.served
    both = [name for name in after if name in before]
    return Comparison(
        environments=tuple(_environments(before, after)),
        identity=tuple(identity_changes(old.identity, new.identity)),
        statements=tuple(_statements(_all_statements(old), _all_statements(new))),
        operations=tuple(change for name in both for change in _operations(old.bundle(name), new.bundle(name))),
        resources=tuple(change for name in both for change in resource_changes(old.bundle(name), new.bundle(name))),
        bounds=tuple(change for name in both for change in bound_changes(old.bundle(name), new.bundle(name))),
        access=tuple(change for name in both for change in _access(old, new, name, roles)),
        cases=tuple(_cases(old, new, both)),
    )


def _environments(old: Iterable[str], new: Iterable[str]) -> Iterator[tuple[str, What]]:
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    yield from ((name, "added") for name in after if name not in before)
    yield from ((name, "removed") for name in before if name not in after)


def _all_statements(side: Side) -> dict[str, Statement]:
    bundles = [each.bundle for each in side.setting.served.values()]
    return {name: each for bundle in bundles for name, each in bundle.policies.statements.items()}


def _statements(old: Mapping[str, Statement], new: Mapping[str, Statement]) -> Iterator[StatementChange]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        shown = after or before
        if shown is None or (before and after and _says(before) == _says(after)):
            continue
        what: What = "added" if before is None else "removed" if after is None else "changed"
        yield StatementChange(name, what, f"{shown.file}:{shown.line}")


def _says(statement: Statement) -> tuple[object, ...]:
    """What a statement means; how it is written and where it stands is left out."""
    template = statement.template
    scope = (template.principal, template.action, template.resource)
    told = (statement.reason, statement.hint, statement.approval, statement.audit)
    return (statement.effect, *scope, template.clauses, *told)


def _operations(old: Bundle, new: Bundle) -> Iterator[OperationChange]:
    before, after = old.catalog.operations, new.catalog.operations
    for key in sorted(before.keys() | after.keys()):
        what = tuple(_differences(before.get(key), after.get(key)))
        if what:
            yield OperationChange(new.environment, key, what)


def _differences(old: Operation | None, new: Operation | None) -> Iterator[str]:
    if old is None or new is None:
        yield "added" if old is None else "removed"
        return
    for name, before, after in (
        ("allowed", _yes(old.allowed), _yes(new.allowed)),
        ("effect", old.effect, new.effect),
        ("request", f"{old.method} {old.path}", f"{new.method} {new.path}"),
        ("upstream", _upstream(old), _upstream(new)),
        ("credentials", _credentials(old), _credentials(new)),
        *_limits(old, new),
    ):
        if before != after:
            yield f"{name}: {before} → {after}"
    if old.signature.schema() != new.signature.schema():
        yield "arguments: another schema"
    if _mapped(old) != _mapped(new):
        yield "resources: another mapping"
    if _covered(old) != _covered(new):
        yield "covers: other resources"
    if old.cost != new.cost:
        yield f"cost: {_cost(old)} → {_cost(new)}"


def _cost(operation: Operation) -> str:
    """As a toolspec says it."""
    return ", ".join(f"{name} {_priced(name, each)}" for name, each in sorted(operation.cost.items())) or "none"


def _priced(name: str, cost: Cost) -> str:
    held = text_of(name, cost.hold) if isinstance(cost.hold, int) else cost.hold.text
    if cost.settle is None:
        return held
    unpriced = f", unpriced {text_of(name, cost.unpriced)}" if cost.unpriced is not None else ""
    return f"{held} settled by {cost.settle.text}{unpriced}"


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _upstream(operation: Operation) -> str:
    return operation.target.url if operation.target else "none"


def _credentials(operation: Operation) -> str:
    return ", ".join(map(_credential, operation.target.credentials if operation.target else ())) or "none"


def _credential(credential: Credential) -> str:
    """Where it is sent and read, never what it is."""
    read = " and ".join(place_of(part) for part in credential.value if isinstance(part, Secret))
    return f"{'basic, ' if credential.basic else ''}{credential.location} {credential.name} from {read}"


def _limits(old: Operation, new: Operation) -> Iterator[tuple[str, str, str]]:
    for each in fields(old.limits):
        yield each.name, str(getattr(old.limits, each.name)), str(getattr(new.limits, each.name))


def _mapped(operation: Operation) -> tuple[object, ...]:
    return tuple((each.type, each.at) for each in operation.resources)


def _covered(operation: Operation) -> tuple[object, ...]:
    return tuple((each.type, each.where, each.at, each.catalogue) for each in operation.covers)


def _access(old: Side, new: Side, environment: str, roles: Sequence[str]) -> Iterator[AccessChange]:
    before, after = old.bundle(environment), new.bundle(environment)
    keys = sorted(before.catalog.operations.keys() | after.catalog.operations.keys())
    for name, asking in _principals(old, new, roles).items():
        for key in keys:
            levels = _level(before, asking[0], key), _level(after, asking[1], key)
            if levels[0] != levels[1]:
                yield AccessChange(environment, name, key, *levels)


def _principals(old: Side, new: Side, roles: Sequence[str]) -> Mapping[str, tuple[Principal | None, Principal | None]]:
    """Who asks, as each side knows them: the anonymous one is its settings' own, a fixture is the newer one."""
    fixtures = {**old.suite.principals, **new.suite.principals}
    named = {name: (each, each) for name, each in sorted(fixtures.items())}
    asked = {f"role {role}": (each, each) for role in roles for each in [Principal(f"role-{role}", (role,))]}
    return {ANONYMOUS: (old.setting.anonymous, new.setting.anonymous), **named, **asked}


def _level(bundle: Bundle, principal: Principal | None, key: str) -> Access:
    operation = bundle.catalog.operations.get(key)
    if operation is None:
        return "unknown"
    if not operation.allowed:
        return "disallowed"
    if principal is None or not bundle.policies.may(principal, operation, bundle.environment):
        return "refused"
    return "approval" if bundle.policies.may_ask(principal, operation, bundle.environment) else "listed"


def _cases(old: Side, new: Side, environments: Sequence[str]) -> Iterator[CaseChange]:
    """The cases of both sides that end otherwise; one that stands in both is asked once."""
    newer: dict[str, list[Case]] = {}
    for case in new.suite.cases:
        newer.setdefault(case.name, []).append(case)
    gone = [case for case in old.suite.cases if not any(_is_same(case, each) for each in newer.get(case.name, ()))]
    asked = [(case, new.setting) for case in new.suite.cases] + [(case, old.setting) for case in gone]
    serves_anonymous = old.setting.anonymous is not None and new.setting.anonymous is not None
    for case, setting in asked:
        if case.principal is None and not serves_anonymous:
            continue  # refused before there is a call; `access` tells it
        for name in (name for name in setting.serving(case) if name in environments):
            before = decide_served(case, old.setting.served[name], old.setting.anonymous)
            after = decide_served(case, new.setting.served[name], new.setting.anonymous)
            if code_of(before) != code_of(after):
                yield CaseChange(case, name, before, after)


def _is_same(case: Case, other: Case) -> bool:
    return (case.asked, case.principal) == (other.asked, other.principal)
