"""What is wrong with a step of a proposed plan by itself: what it calls, and what it says of arguments and outputs.

RULE: a literal is judged as a call's is, by the same signature; what is not known yet is never held against a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from toolgate.core.authorization import is_listed
from toolgate.core.environment import catalogue_of, spoken
from toolgate.core.expressions import parse_expression
from toolgate.core.model import Json, Violation
from toolgate.core.pinned import CONSTRAINT, LITERAL, mark_of
from toolgate.core.proposal import Draft, Mark, Proposal
from toolgate.core.schema import Judge
from toolgate.core.signature import Rejected
from toolgate.core.suggest import near, shortened
from toolgate.core.weight import has_alternatives
from toolgate.core.wiretext import echo, pointer

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.catalog import Operation, ResourceAt
    from toolgate.core.model import Principal

_LISTED: Final = 20
# What is wrong with an object or an array whatever its parts are.
_OF_ITSELF: Final = frozenset({"required", "unknown", "type", "minItems", "maxItems", "minProperties", "maxProperties"})


def uncallable(operation: Operation, at: int, principal: Principal | None, bundle: Bundle) -> Violation | None:
    """Why an operation can be no step: it is not allowed here, it is outside plans, or nothing permits it."""
    path = f"/steps/{at}/operationId"
    if not operation.allowed:
        return _disallowed(operation, path, bundle)
    if operation.key in bundle.plans.free:
        message = f"`{operation.key}` is called outside plans"
        hint = "Leave the step out, and call it whenever you need it."
        return Violation(path, "operation", message, code="plan.free", hint=hint)
    if principal is not None and not is_listed(operation, principal, bundle):
        message = f"no policy can allow `{principal.id}` to call `{operation.key}` in {spoken(bundle.environment)}"
        hint = "Use an operation of GET /-/tools."
        return Violation(path, "operation", message, code="policy.not_allowed", hint=hint)
    return None


def unwritable(proposal: Proposal) -> Iterator[Violation]:
    """Outputs, expressions and constraints that cannot be read, and secrets that must not be written down."""
    for draft in proposal.graph.drafts:
        yield from _wrong_outputs(draft)
        for mark in draft.marks:
            yield from _wrong_mark(draft, mark, proposal)
        if draft.operation is not None and draft.operation.signature.masks:
            hidden = _Secret(draft.operation.signature.masks)
            for name, value in draft.arguments.items():
                yield from _secrets(value, pointer("", name), draft, hidden)


def ill_fitting(proposal: Proposal) -> Iterator[Violation]:
    """Literals that no call could be sent with."""
    for draft in proposal.graph.drafts:
        operation = draft.operation
        if operation is None or not draft.arguments:
            continue
        yield from _strangers(draft, operation)
        found = list(_misfits(draft, operation))
        yield from found
        if not found:
            yield from _lost_resources(draft, operation, proposal)
            yield from _omissions(draft, operation, proposal)


def _disallowed(operation: Operation, path: str, bundle: Bundle) -> Violation:
    instead = bundle.catalog.equivalent(operation)
    message = f"`{operation.key}` cannot be used in {spoken(bundle.environment)}"
    hint = f"Use `{instead.key}` instead." if instead else "Use an operation of GET /-/tools."
    suggestion = instead.key if instead else None
    return Violation(path, "operation", message, None, suggestion, "tool.disallowed", hint)


def _wrong_outputs(draft: Draft) -> Iterator[Violation]:
    for name, text in draft.outputs.items():
        path = pointer(draft.place("outputs"), name)
        message = _no_output(text)
        if message is not None:
            yield Violation(path, "expression", message, code="plan.output", hint=_OUTPUT_HINT)


def _no_output(text: str) -> str | None:
    """Why an expression names no part of an answer."""
    if not text.startswith("$response"):
        return f"{echo(text)} is no part of an answer"
    try:
        parse_expression(text)
    except ValueError as error:
        return str(error)
    return None


_OUTPUT_HINT: Final = "Write `$response.body#/…` or `$response.header.Name`."


def _wrong_mark(draft: Draft, mark: Mark, proposal: Proposal) -> Iterator[Violation]:
    path = draft.place("arguments") + mark.path
    match mark.kind:
        case "mistaken":
            message = f"{echo(mark.value)} is neither an expression nor plain text"
            hint = 'Write `$steps.ID.outputs.NAME` and nothing around it, or `{"$literal": …}` to send it as it stands.'
            yield Violation(path, "expression", message, code="plan.binding", hint=hint)
        case "mixed":
            hint = f"Write an object with `{mark.value}` and nothing else."
            message = f"`{mark.value}` stands beside other keys"
            yield Violation(path, "expression", message, code="plan.constraint", hint=hint)
        case "constraint":
            found = proposal.bundle.courses.compiling(mark.value)
            for where, message in () if isinstance(found, Judge) else found:
                place = pointer(path, CONSTRAINT) + where
                yield Violation(place, "schema", message, code="plan.constraint", hint=_CONSTRAINT_HINT)
        case _:
            return


_CONSTRAINT_HINT: Final = "Write a JSON Schema (2020-12) of keywords that are enforced, or leave it out."


class _Secret:
    """Which values must not be written down."""

    def __init__(self, masks: Iterable[str]) -> None:
        self._masks = [mask.split("/") for mask in masks]

    def __call__(self, path: str) -> bool:
        """Whether a pointer is that of such a value."""
        return [] in self.within(path)

    def within(self, path: str) -> list[list[str]]:
        """The ways from a place to such values in it."""
        tokens = path.split("/")
        return [mask[len(tokens) :] for mask in self._masks if len(mask) >= len(tokens) and _matches(mask, tokens)]


def _matches(mask: Sequence[str], tokens: Sequence[str]) -> bool:
    return all(want in {"*", have} for want, have in zip(mask, tokens, strict=False))


def _secrets(value: Json, path: str, draft: Draft, is_secret: _Secret) -> Iterator[Violation]:
    if is_secret(path):
        if not _says_nothing(value):
            yield _secret(draft.place("arguments") + path, "is a secret", _MASKED_HINT)
    elif mark_of(value) == CONSTRAINT:
        if _tells(value[CONSTRAINT], is_secret.within(path)):
            place = pointer(draft.place("arguments") + path, CONSTRAINT)
            yield _secret(place, "constrains what holds a secret", _HOLDER_HINT)
    else:
        for inner, each in _inner(value, path):
            yield from _secrets(each, inner, draft, is_secret)


def _inner(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    """The parts of a value, each with its place in the arguments."""
    match value:
        case dict():
            is_marked = mark_of(value) == LITERAL
            yield from ((path if is_marked else pointer(path, name), each) for name, each in value.items())
        case list():
            yield from ((pointer(path, at), each) for at, each in enumerate(value))
        case _:
            return


def _secret(place: str, what: str, hint: str) -> Violation:
    return Violation(place, "secret", f"{what}, and a plan is written down", code="plan.secret", hint=hint)


_MASKED_HINT: Final = 'Leave it out, or write `{"$constraint": {}}`: any value that fits the schema.'
_HOLDER_HINT: Final = (
    'Write `{"$constraint": {}}`, or constrain its other parts with `properties`, `items`, `type` and `required` only.'
)
# Keywords that tell nothing of a value but its shape.
_OF_SHAPE: Final = frozenset(
    {"type", "required", "minProperties", "maxProperties", "minItems", "maxItems", "uniqueItems"}
)


def _tells(schema: Json, ways: Sequence[Sequence[str]]) -> bool:
    """Whether a constraint may say something of the values that these ways lead to. SECURITY: what is not known, may."""
    if not ways or schema in (True, False) or not schema:
        return False
    if [] in ways or not isinstance(schema, dict):
        return True
    return any(_tells_by(keyword, value, ways) for keyword, value in schema.items() if keyword not in _OF_SHAPE)


def _tells_by(keyword: str, value: Json, ways: Sequence[Sequence[str]]) -> bool:
    match keyword, value:
        case "properties", dict():
            inner = ((each, pointer("", name)[1:]) for name, each in value.items())
            return any(_tells(each, [way[1:] for way in ways if way[0] in {"*", name}]) for each, name in inner)
        case "prefixItems", list():
            return any(_tells(each, [way[1:] for way in ways]) for each in value)
        case (("items" | "additionalProperties"), _):
            return _tells(value, [way[1:] for way in ways])
        case _:
            return True


def _says_nothing(value: Json) -> bool:
    """Whether no value can be learned from it: an expression, or a constraint that lets everything pass."""
    if isinstance(value, str):
        return value.startswith("$steps.")
    return isinstance(value, dict) and len(value) == 1 and value.get(CONSTRAINT) in ({}, True)


def _strangers(draft: Draft, operation: Operation) -> Iterator[Violation]:
    """Arguments that the operation does not have and whose values are not known; the others are judged with their values."""
    known = tuple(operation.signature.schema().get("properties", {}))
    for name in draft.arguments:
        if name not in known and name not in draft.literals:
            meant = near(name, known, 1)
            aid = f"; did you mean `{meant[0]}`?" if meant else ""
            message = f"{echo(name)} is not a field of the arguments of `{operation.key}`{aid}"
            path = pointer(draft.place("arguments"), name)
            hint = f"Write `{meant[0]}` instead." if meant else "Leave it out."
            suggestion = meant[0] if meant else None
            yield Violation(path, "unknown", message, list(known[:_LISTED]), suggestion, "arguments.invalid", hint)


def _misfits(draft: Draft, operation: Operation) -> Iterator[Violation]:
    result = operation.signature.accept(draft.literals)
    if not isinstance(result, Rejected):
        return
    base = draft.place("arguments")
    open_ended = _open_ended(draft, operation)
    for each in result.violations:
        if _is_sure(each, draft, open_ended):
            hint = f"Write `{each.suggestion}`." if each.suggestion else "Write a value that fits, or leave it out."
            yield each._replace(path=base + each.path, code="arguments.invalid", hint=hint)
    if not result.violations and not draft.marks:
        yield Violation(base, "arguments", result.detail, code=result.code, hint="Fix it, or leave it out.")


def _is_sure(violation: Violation, draft: Draft, open_ended: frozenset[str]) -> bool:
    """Whether it holds whatever the call adds to what the plan says."""
    path = violation.path
    top = path.split("/")[1] if path else ""
    if not path or top in open_ended or (violation.keyword == "required" and path.count("/") == 1):
        return False
    return draft.is_known(path) or (violation.keyword in _OF_ITSELF and not _is_within(path, draft.unknown))


def _is_within(path: str, places: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in places)


def _open_ended(draft: Draft, operation: Operation) -> frozenset[str]:
    """Arguments with parts that are not known, of which a schema has alternatives: any of these may fit."""
    partly = {each.split("/")[1] for each in draft.unknown if each.count("/") > 1}
    if not partly:
        return frozenset()
    schema = operation.signature.schema()
    named = {name: schema.get("properties", {}).get(name.replace("~1", "/").replace("~0", "~")) for name in partly}
    return frozenset(name for name, each in named.items() if has_alternatives(each, schema.get("$defs", {})))


def _lost_resources(draft: Draft, operation: Operation, proposal: Proposal) -> Iterator[Violation]:
    bundle, facts = proposal.bundle, proposal.now.facts
    for resource in operation.resources:
        if resource.catalogue is None or not draft.is_known(resource.at.pointer) or not _is_listed(resource, proposal):
            continue
        listed = catalogue_of(resource.catalogue, resource.type, facts, bundle).attributes
        for name in resource.at.ids(draft.literals)[:_LISTED]:
            if name not in listed:
                yield _lost(draft, resource, name, tuple(listed), bundle.environment)


def _lost(draft: Draft, resource: ResourceAt, name: str, listed: tuple[str, ...], environment: str) -> Violation:
    nearest = near(name, listed, 1)
    shown = f"`{shortened(nearest[0])}`" if nearest else ""
    message = f"{resource.type} `{shortened(name)}` does not exist in {spoken(environment)}"
    hint = f"Use {shown}, which exists here." if nearest else "Use one that exists; GET /-/environment shows some."
    place = draft.place("arguments") + resource.at.pointer
    suggestion = nearest[0] if nearest else None
    return Violation(place, "resource", message, None, suggestion, "environment.resource_not_found", hint)


def _omissions(draft: Draft, operation: Operation, proposal: Proposal) -> Iterator[Violation]:
    bundle, facts = proposal.bundle, proposal.now.facts
    for cover in operation.covers:
        top = cover.at.tokens[0] if cover.at.tokens else ""
        if top not in draft.literals or not draft.is_known(cover.at.pointer):
            continue
        omitted = cover.omitted(draft.literals, catalogue_of(cover.catalogue, cover.type, facts, bundle))
        if omitted:
            named = ", ".join(f"`{shortened(each)}`" for each in omitted[:3])
            more = f" and {len(omitted) - 3} more" if len(omitted) > len(omitted[:3]) else ""
            message = f"leaves out {cover.type} {named}{more}, which it must cover"
            place = draft.place("arguments") + cover.at.pointer
            hint = f"Include {named}{more}."
            yield Violation(
                place, "covers", message, list(omitted[:_LISTED]), None, "environment.resource_omitted", hint
            )


def _is_listed(resource: ResourceAt, proposal: Proposal) -> bool:
    """Whether a catalogue of this type is known now."""
    tool, kind = resource.catalogue or "", resource.type
    known = (proposal.now.facts.situation.catalogues.get(tool), proposal.bundle.resources.get(tool))
    return any(each is not None and kind in each for each in known)
