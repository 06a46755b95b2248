"""What the agent may believe about the world here: which operations, which resources (DESIGN §8).

RULE: each function answers one line of `check` or `decide`: a Refusal, or None when there is nothing against the call.
"""

from __future__ import annotations

from typing import Final

import orjson

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Absent, Operation, ResourceAt
from toolgate.core.codes import CODES
from toolgate.core.model import Recovery, Refusal, ValidCall, Violation
from toolgate.core.suggest import near, shortened

_SPOKEN: Final = {"prod": "production", "dev": "development"}
_NAMED: Final = 3  # how many near names a message gives: enough to choose from, short enough to read


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


def missing_resource(valid: ValidCall, bundle: Bundle) -> Refusal | None:
    """The first resource the arguments name that the catalogue of this environment does not hold."""
    catalogues = bundle.resources.get(valid.operation.tool)
    if not catalogues:
        return None
    for resource in valid.operation.resources:
        catalogue = catalogues.get(resource.type)
        if catalogue is None:
            continue
        for value in resource.at.values(valid.arguments):
            name = value if isinstance(value, str) else orjson.dumps(value).decode()
            if name not in catalogue:
                return _not_found(valid.operation, resource, name, bundle)
    return None


def written_way(operation: Operation, code: str) -> Recovery | None:
    """The recovery the operator wrote for this code of this operation."""
    way = operation.recovery.get(code)
    if way is None:
        return None
    default = CODES[code]
    hint = way.hint or (f"Use {_either(way.use)}." if way.use else default.hint)
    return Recovery(default.action, hint, way.use)


def _not_found(operation: Operation, resource: ResourceAt, name: str, bundle: Bundle) -> Refusal:
    code, kind = CODES["environment.resource_not_found"], resource.type
    nearest = near(name, bundle.resources[operation.tool][kind].attributes, _NAMED)
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


def _either(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join(quoted) if len(quoted) < _NAMED else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
