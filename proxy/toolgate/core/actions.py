"""What a policy calls an operation: its action, the groups it is in, what it is done to, and its arguments.

RULE: pure names and kinds. What a statement is checked against at load and what it is told at a call are both made
from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from toolgate.core.bodies import BODY
from toolgate.core.catalog import Operation, ResourceAt
from toolgate.core.expressions import EVERY
from toolgate.core.kinds import Describer, Fields, Kind, Variants
from toolgate.core.model import Effect

EFFECTS: Final[tuple[Effect, ...]] = ("read", "write", "destructive")
TOOL: Final = "Tool"  # the resource of a call that is about nothing else
PRINCIPAL: Final = "Agent"
ROLE: Final = "Role"
ACTION: Final = "Action"
RESERVED_TYPES: Final = frozenset({PRINCIPAL, ROLE, ACTION, TOOL})
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def groups(operation: Operation) -> tuple[str, ...]:
    """Return the groups an operation's action is in: its effect, and its tool."""
    return operation.effect, operation.tool


def quoted(text: str) -> str:
    """Write a text as a Cedar string."""
    return '"' + "".join(_ESCAPES.get(each) or _plain(each) for each in text) + '"'


def uid(type_name: str, entity_id: str) -> str:
    """Write an entity's name as a policy does: `Action::"metrics.removeMetric"`."""
    return f"{type_name}::{quoted(entity_id)}"


def resource_types(operation: Operation, arguments: Callable[[], Kind] | None = None) -> tuple[str, ...]:
    """Return the types of what a call may be about; the tool itself where the arguments may name nothing else.

    `arguments` gives their kind, for who has it already.
    """
    if not operation.resources:
        return (TOOL,)
    types = tuple(dict.fromkeys(each.type for each in operation.resources))
    kind = arguments_kind(operation) if arguments is None else arguments()
    is_named = any(_is_surely_there(each, kind) for each in operation.resources)
    return types if is_named else (*types, TOOL)


def arguments_kind(operation: Operation, describers: dict[int, Describer] | None = None) -> Kind:
    """Describe the arguments as they are judged: what a policy sees of a file is its size, digest, name and type.

    `describers` shares what is known of a document's definitions between its operations.
    """
    signature = operation.signature
    if not signature.bodies:
        schema = signature.schema()
        return Describer(schema.get("$defs", {})).describe(schema)
    judges = [body.judge for body in signature.bodies.values()]
    bodies = [judge.schema["properties"][BODY] for judge in judges]
    shared = {} if describers is None else describers
    defs = judges[0].defs
    root = {**judges[0].schema, "properties": {**judges[0].schema["properties"], BODY: {"anyOf": bodies}}}
    return shared.setdefault(id(defs), Describer(defs)).describe(root)


def _is_surely_there(resource: ResourceAt, kind: Kind) -> bool:
    for token in resource.at.tokens:
        member = kind.members.get(token) if isinstance(kind, Fields) and token != EVERY else None
        if member is None or not member.required:
            return False
        kind = member.kind
    return not isinstance(kind, Variants)


def _plain(character: str) -> str:
    return character if character.isprintable() else f"\\u{{{ord(character):x}}}"
