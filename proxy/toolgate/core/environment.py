"""What the agent may believe about the world here: which operations, which resources (DESIGN §8).

RULE: each function answers one line of `check` or `decide`: a Refusal, or what the next line may go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Absent, Operation, ResourceAt
from toolgate.core.codes import CODES
from toolgate.core.covers import Cover
from toolgate.core.model import (
    Facts,
    Json,
    Recovery,
    Refusal,
    Resource,
    ResourceCatalogue,
    Situation,
    ValidCall,
    Violation,
    new,
)
from toolgate.core.suggest import near, shortened
from toolgate.core.wiretext import echo

_SPOKEN: Final = {"prod": "production", "dev": "development"}
_NAMED: Final = 3  # how many near names a message gives: enough to choose from, short enough to read
_SHOWN: Final = 20  # how many omitted resources a violation lists
_READY_AGAIN_S: Final = (
    5.0  # when to ask again: what is missing is looked for every second, and read again with a pause
)
MOST_RESOURCES: Final = 256  # of one call
_UNLISTED: Final[Mapping[str, Mapping[str, Json]]] = MappingProxyType({})


def spoken(environment: str) -> str:
    """The environment as a sentence says it."""
    return _SPOKEN.get(environment, environment)


def unknown(asked: str, absent: Absent) -> Refusal:
    """No such tool, operation, or method on that path."""
    code = CODES["tool.unknown"]
    near_keys = absent.near[:_NAMED]
    hint = f"Call {_either(near_keys)} instead, or list what exists with GET /-/tools." if near_keys else code.hint
    detail = f"{asked} is not a known operation"
    if absent.methods:
        detail = f"{asked} is not a known operation; the path takes {', '.join(absent.methods)}"
    return Refusal(code, detail, Recovery(code.action, hint, near_keys), stage="tool")


def disallowed(operation: Operation, bundle: Bundle) -> Refusal:
    """Known, here or elsewhere, and not allowed here."""
    code = CODES["tool.disallowed"]
    equivalent = bundle.catalog.equivalent(operation)
    recovery = written_way(operation, code.code) or (
        Recovery(
            code.action, f"Call `{equivalent.key}` at {equivalent.method} {equivalent.path} instead.", (equivalent.key,)
        )
        if equivalent
        else Recovery(code.action, code.hint)
    )
    detail = f"`{operation.key}` cannot be used in {spoken(bundle.environment)}"
    return Refusal(code, detail, recovery, stage="environment", operation=operation)


def not_ready(operation: Operation, situation: Situation) -> Refusal | None:
    """What the tool needs is not there now: its credential, or what is known of the resources its calls name."""
    if not situation.unready and not operation.awaits:
        return None
    why = situation.unready.get(operation.tool)
    if why is None and operation.awaits:
        why = _awaited(operation, situation)
    if why is None:
        return None
    code = CODES["environment.not_ready"]
    recovery = written_way(operation, code.code) or Recovery(code.action, code.hint)
    return Refusal(
        code,
        f"`{operation.key}` is not ready: {why}",
        recovery._replace(retry_after_s=_READY_AGAIN_S),
        stage="environment",
        operation=operation,
    )


def resources_of(valid: ValidCall, facts: Facts, bundle: Bundle) -> tuple[Resource, ...] | Refusal:
    """What a call is about: the resources its arguments name, each once, with their attributes; else the tool itself.

    Refused with the first that the catalogue of this environment does not hold.
    """
    fitting = valid.fitting
    if fitting is None or facts.situation.catalogues:  # live ones may be others at the next call
        return _looked_up(valid, facts, bundle)
    if fitting.about is not None and fitting.about[0] is bundle.resources:
        return fitting.about[1]
    found = _looked_up(valid, facts, bundle)
    if not isinstance(found, Refusal) and len(found) == 1:
        fitting.about = bundle.resources, found
    return found


def _looked_up(valid: ValidCall, facts: Facts, bundle: Bundle) -> tuple[Resource, ...] | Refusal:
    operation = valid.operation
    found: tuple[Resource, ...] = ()
    for place in operation.resources:
        named = _named(place, valid, facts, bundle)
        if isinstance(named, Refusal):
            return named
        found = _each_once(found, named) if found else named
    return found or _itself(operation.tool)


def _each_once(*several: tuple[Resource, ...]) -> tuple[Resource, ...]:
    return tuple({(each.type, each.id): each for those in several for each in those}.values())


def _named(place: ResourceAt, valid: ValidCall, facts: Facts, bundle: Bundle) -> tuple[Resource, ...] | Refusal:
    """The resources that stand at one place of the arguments, each once."""
    kind, ids = place.type, place.at.ids(valid.arguments)
    if len(ids) > MOST_RESOURCES:
        return _too_many(valid.operation, place, len(ids))
    if place.catalogue is None:
        return tuple([Resource(kind, name) for name in ids])
    catalogue = catalogue_of(place.catalogue, kind, facts, bundle)
    found, known = [], catalogue.attributes
    for name in ids:
        attributes = known.get(name)
        if attributes is None:
            return _not_found(valid.operation, place, name, catalogue, bundle)
        found.append(new(Resource, (kind, name, attributes)))
    return tuple(found)


@lru_cache(maxsize=256)
def _itself(tool: str) -> tuple[Resource, ...]:
    return (Resource("Tool", tool),)


def omitted_resource(valid: ValidCall, facts: Facts, bundle: Bundle) -> Refusal | None:
    """The first kind of resource of which the arguments leave one out that they must cover."""
    for cover in valid.operation.covers:
        catalogue = catalogue_of(cover.catalogue, cover.type, facts, bundle)
        omitted = cover.omitted(valid.arguments, catalogue)
        if omitted:
            return _omitted(valid.operation, cover, omitted, bundle)
    return None


def catalogue_of(tool: str, kind: str, facts: Facts, bundle: Bundle) -> ResourceCatalogue:
    """Return what is known of the resources of a type: as it was last read, or as its file lists them.

    SECURITY: what is not known is empty, so that nothing is found in it.
    """
    for known in (facts.situation.catalogues, bundle.resources):
        if tool in known and kind in known[tool]:
            return known[tool][kind]
    return ResourceCatalogue(kind, _UNLISTED)


def written_way(operation: Operation, code: str) -> Recovery | None:
    """The recovery the operator wrote for this code of this operation."""
    way = operation.recovery.get(code)
    if way is None:
        return None
    default = CODES[code]
    hint = way.hint or (f"Use {_either(way.use)}." if way.use else default.hint)
    return Recovery(default.action, hint, way.use)


def _awaited(operation: Operation, situation: Situation) -> str | None:
    for tool, kind in operation.awaits:
        if kind not in situation.catalogues.get(tool, _UNLISTED):
            return situation.unready.get(tool) or f"the list of {kind} of `{tool}` has not been read yet"
    return None


def _too_many(operation: Operation, resource: ResourceAt, count: int) -> Refusal:
    """SECURITY: each resource is judged for itself, so a call names only so many."""
    code = CODES["arguments.too_large"]
    message = f"names {count} resources; a call may name {MOST_RESOURCES}"
    return Refusal(
        code,
        f"the call {message}",
        written_way(operation, code.code) or Recovery(code.action, "Split the work into several calls."),
        stage="resources",
        violations=(Violation(resource.at.pointer, "resource", message, MOST_RESOURCES),),
        operation=operation,
    )


def _not_found(
    operation: Operation, resource: ResourceAt, name: str, catalogue: ResourceCatalogue, bundle: Bundle
) -> Refusal:
    code, kind = CODES["environment.resource_not_found"], resource.type
    nearest = near(name, catalogue.attributes, _NAMED)
    hint = f"Use {_either(nearest)}, which exists here." if nearest else code.hint
    suggestion = nearest[0] if nearest else None
    return Refusal(
        code,
        f"{kind} `{shortened(name)}` does not exist in {spoken(bundle.environment)}",
        written_way(operation, code.code) or Recovery(code.action, hint),
        stage="resources",
        violations=(Violation(resource.at.pointer, "resource", f"no {kind} has this name", nearest, suggestion),),
        operation=operation,
        title=f"{kind}NotFound",
    )


def _omitted(operation: Operation, cover: Cover, omitted: tuple[str, ...], bundle: Bundle) -> Refusal:
    code, kind = CODES["environment.resource_omitted"], cover.type
    listed, place = _listed(omitted), cover.at.pointer
    fitting = f" whose {_conditions(cover)}" if cover.where else ""
    return Refusal(
        code,
        f"the call leaves out {kind} {listed}; in {spoken(bundle.environment)} "
        f"`{operation.key}` must cover every {kind}{fitting}",
        written_way(operation, code.code)
        or Recovery(code.action, f"Include {listed} at `{place}`, then send it again."),
        stage="resources",
        violations=(Violation(place, "covers", f"{kind} {listed} must be named here", omitted[:_SHOWN]),),
        operation=operation,
        title=f"{kind}Omitted",
    )


def _conditions(cover: Cover) -> str:
    return " and ".join(
        f"`{key}` is {' or '.join(echo(value) for value in values)}" for key, values in cover.where.items()
    )


def _listed(names: tuple[str, ...]) -> str:
    """A few names, and how many more there are."""
    more = len(names) - _NAMED
    shown = [f"`{shortened(name)}`" for name in names[:_NAMED]]
    if more > 0:
        return f"{', '.join(shown)} and {more:,} more"
    return " and ".join(shown) if len(shown) < _NAMED else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _either(names: tuple[str, ...]) -> str:
    quoted = [f"`{shortened(name)}`" for name in names]  # SECURITY: an upstream chooses the names of a live catalogue
    return " or ".join(quoted) if len(quoted) < _NAMED else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
