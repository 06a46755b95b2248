"""Why a call was refused, statement by statement: which hold, and which permit missed by one condition (CEDAR.md §8).

RULE: on the explain path only. Every statement is asked as a permit, so that each says for itself whether it holds; none
hides another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, Literal, TypeAlias, cast

from cedarpy import pst

from toolgate.core import cedar
from toolgate.core.conditions import conditions_of
from toolgate.core.kinds import Fields, Kind, Variant, Variants
from toolgate.core.policy import Applied, NearMiss, Question, Statement
from toolgate.core.reads import Path, Reads, all_of, reads, reads_of
from toolgate.core.rulings import View
from toolgate.core.wiretext import pointer
from toolgate.core.wording import action_written, conditions_written, scope_written

_ANY: Final = pst.ScopeAny()
_MOST_OTHER: Final = 3

Scope: TypeAlias = pst.PrincipalOrResourceConstraint


def applied(statements: tuple[Statement, ...], question: Question, view: View) -> tuple[Applied, ...]:
    """Return, of each statement, whether it holds; None where it cannot be evaluated."""
    verdict = _evaluated([_asked(each) for each in statements], statements, question, view)
    if verdict is not None:
        return tuple((each.id, each.effect, _said(each, verdict)) for each in statements)
    # Something that is read cannot be told: each is asked by itself, so that the others say what they say.
    alone = ((each, _evaluated([_asked(each)], [each], question, view)) for each in statements)
    return tuple((each.id, each.effect, None if told is None else _said(each, told)) for each, told in alone)


def near_misses(statements: tuple[Statement, ...], question: Question, view: View) -> tuple[NearMiss, ...]:
    """Return the permits that miss by one thing: a condition that is false, or who calls, or what it is about."""
    permits = tuple(each for each in statements if each.effect == "permit" and not each.audit)
    # Their scopes first, all at once: most permits of a large slice are somebody else's.
    of_principal = _holding(permits, _principal_of, question, view)
    of_resource = _holding(permits, _resource_of, question, view)
    fitting = [each for each in permits if each.id in of_principal & of_resource]
    one_off = tuple(each for each in permits if each.id in of_principal ^ of_resource)
    otherwise = _holding(one_off, _conditions_of, question, view)
    return (
        *(miss for each in fitting for miss in _missed(each, question, view)),
        *(
            _unmet(each, "resource" if each.id in of_principal else "principal")
            for each in one_off
            if each.id in otherwise
        ),
    )


def meant_otherwise(statements: tuple[Statement, ...], question: Question, view: View) -> tuple[NearMiss, ...]:
    """Return the permits of other actions that hold but for their action: their author may have meant this one."""
    told = [each for each in statements if not each.audit]
    holding = {name for name, _, holds in applied(tuple(told), question, view) if holds}
    found = (each for each in told if each.id in holding)
    return tuple(
        NearMiss(each.id, action_written(each.template.action), (), each.hint) for each in islice(found, _MOST_OTHER)
    )


def _holding(
    permits: tuple[Statement, ...], part: Callable[[Statement], pst.Template], question: Question, view: View
) -> set[str]:
    """Return the permits of which a part holds."""
    told = applied(tuple(replace(each, template=part(each)) for each in permits), question, view)
    return {name for name, _, holds in told if holds}


def _unmet(statement: Statement, variable: Literal["principal", "resource"]) -> NearMiss:
    """What a head asks is nothing the agent can change: it reads no argument."""
    scope: Scope = getattr(statement.template, variable)
    return NearMiss(statement.id, scope_written(variable, scope), (), statement.hint)


def _missed(statement: Statement, question: Question, view: View) -> Iterator[NearMiss]:
    conditions = conditions_of(statement.template)
    probes = [_permit(str(at), _ANY, _ANY, (each,)) for at, each in enumerate(conditions)]
    verdict = _evaluated(probes, [statement], question, view)
    failing = {""} if verdict is None else {failure.statement for failure in verdict.failures}
    if verdict is None or "" in failing:
        return
    unmet = [at for at in range(len(conditions)) if str(at) not in verdict.reasons]
    false = [at for at in unmet if str(at) not in failing]
    if len(false) == 1 and unmet[0] == false[0]:  # what fails after it may have been guarded by it
        at = false[0]
        written = conditions_written(statement.text, statement.template)[at]
        yield NearMiss(statement.id, written, _pointers(reads_of(conditions[at].expr), view.kind()), statement.hint)


def _evaluated(
    probes: Sequence[pst.Template], statements: Iterable[Statement], question: Question, view: View
) -> cedar.Verdict | None:
    """Evaluate permits, each for itself, with what the statements read; None where that cannot be told."""
    projection = view.projection(all_of(reads(each.template) for each in statements))
    try:
        told = projection.tell(question)
        return cedar.judge(projection.request(told), cedar.set_of(probes), cedar.entities_of(projection.entities(told)))
    except ValueError:
        return None


def _said(statement: Statement, verdict: cedar.Verdict) -> bool | None:
    if any(failure.statement in {statement.id, ""} for failure in verdict.failures):
        return None
    return statement.id in verdict.reasons


def _asked(statement: Statement) -> pst.Template:
    """A permit that holds where the statement does: of permits Cedar says of each whether it holds."""
    template = statement.template
    return _permit(statement.id, template.principal, template.resource, template.clauses)


def _principal_of(statement: Statement) -> pst.Template:
    return _permit(statement.id, statement.template.principal, _ANY, ())


def _resource_of(statement: Statement) -> pst.Template:
    return _permit(statement.id, _ANY, statement.template.resource, ())


def _conditions_of(statement: Statement) -> pst.Template:
    return _permit(statement.id, _ANY, _ANY, statement.template.clauses)


def _permit(probe_id: str, principal: Scope, resource: Scope, clauses: tuple[pst.Clause, ...]) -> pst.Template:
    return pst.Template(probe_id, "permit", principal, _ANY, resource, clauses, {})


def _pointers(read: Reads, kind: Kind) -> tuple[str, ...]:
    """Return where in the arguments a condition looks."""
    paths = read.values | read.presence
    named = {path[-1] for path in paths if path[:2] in {("context", "nulls"), ("context", "derived")}}
    return tuple(sorted(named | {_pointer(path[2:], kind) for path in paths if path[:2] == ("context", "args")}))


def _pointer(path: Path, kind: Kind) -> str:
    """Return the pointer of a path, without the names of the alternatives on its way."""
    told = ""
    for token in path:
        if isinstance(kind, Variants):
            kind = kind.by.get(cast("Variant", token), "opaque")
            continue
        member = kind.members.get(token) if isinstance(kind, Fields) else None
        kind = "opaque" if member is None else member.kind
        told = pointer(told, token)
    return told
