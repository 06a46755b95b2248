"""Cedar itself: sets of statements, the entities of a request, and one evaluation (CEDAR.md §0, §6).

RULE: the only module that evaluates. Whatever Cedar does that is not a clear answer becomes an error, never an answer;
a bundle without statements does not import it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import cedarpy
import orjson
from cedarpy import Entities, PolicySet, pst

from toolgate.core.model import Json

Judge: TypeAlias = Callable[[dict[str, Json], PolicySet, Entities], str]


class Failure(NamedTuple):
    """A statement that could not be evaluated, and why; never with a value."""

    statement: str
    why: str


class Verdict(NamedTuple):
    """What Cedar says. `allows` is one condition of several: whoever asks holds the reasons against it."""

    allows: bool
    reasons: frozenset[str] = frozenset()
    failures: tuple[Failure, ...] = ()


_NO_ENTITIES: Final = Entities.from_json_str("[]")
UNCLEAR: Final = Verdict(allows=False, failures=(Failure("", "the evaluation gave no clear answer"),))
_FAILED: Final = re.compile(r"error while evaluating policy `([^`]*)`: (.*)", re.DOTALL).fullmatch
_MISSING: Final = re.compile(r".*does not have the (attribute|tag) `(.*)`", re.DOTALL).fullmatch
_FUNCTION: Final = re.compile(r"error while evaluating `(\w+)` extension function", re.ASCII).match


def set_of(templates: Iterable[pst.Template]) -> PolicySet:
    """Build a set whose reasons and errors carry the templates' own ids."""
    return PolicySet.from_pst(pst.PolicySet({}, {each.id: each for each in templates}, ()))


def entities_of(known: Json) -> Entities | None:
    """Build entities from Cedar's JSON; None where Cedar does not take them. SECURITY: nothing in them but of our making."""
    try:
        return Entities.from_json_str(orjson.dumps(known).decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 (SECURITY: fail closed, also when the engine panics, which is no Exception)
        return None


def judge(request: dict[str, Json], statements: PolicySet, entities: Entities | None) -> Verdict:
    """Evaluate. Never raises for what is asked: no clear answer is a failure of no statement in particular.

    `request` names principal, action and resource as {type, id}: as texts they would be parsed, which costs more than
    the evaluation. SECURITY: nothing in its context that is not of our making.
    """
    if entities is None:
        return UNCLEAR
    try:
        return _read(orjson.loads(_JUDGE(request, statements, entities)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 (SECURITY: fail closed, also when the engine panics, which is no Exception)
        return UNCLEAR


def _read(told: Json) -> Verdict:
    decision, diagnostics = told["decision"], told["diagnostics"]
    failures = tuple(map(_failure, diagnostics["errors"]))
    if decision not in {"Allow", "Deny"}:
        return UNCLEAR
    return Verdict(decision == "Allow", frozenset(diagnostics["reason"]), failures)


def _failure(told: str) -> Failure:
    found = _FAILED(told)
    return Failure(found[1], _retold(found[2])) if found else Failure("", "it could not be evaluated")


def _retold(told: str) -> str:
    """Say Cedar's error in our words. SECURITY: its own may hold values and names of the call."""
    if found := _MISSING(told):
        return f"it reads the {found[1]} `{found[2]}`, which is not there"
    if found := _FUNCTION(told):
        return f"`{found[1]}` cannot take the value it was given"
    if told.startswith("integer overflow"):
        return "its arithmetic leaves the range of 64-bit whole numbers"
    if told.startswith("type error"):
        return "it meets a value of another type than it expects"
    return "it could not be evaluated"


def _publicly(request: dict[str, Json], statements: PolicySet, entities: Entities) -> str:
    result = cedarpy.is_authorized(request, statements, entities)
    said = {"reason": result.diagnostics.reasons, "errors": result.diagnostics.errors}
    return orjson.dumps({"decision": result.decision.value, "diagnostics": said}).decode()


def _fastest() -> Judge:
    """Return the extension's own function: the public one adds copies and objects that nobody here reads.

    It is private, so it is tried once on a request whose answer is known, and left alone when it answers otherwise.
    """
    one = set_of([_PROBE])
    request = {name: {"type": "Probe", "id": ""} for name in ("principal", "action", "resource")}
    try:
        told = orjson.loads(_privately(request, one, _NO_ENTITIES))
        if told["decision"] != "Allow" or told["diagnostics"]["reason"] != [_PROBE.id]:
            return _publicly
    except (AttributeError, TypeError, ValueError, KeyError):
        return _publicly
    return _privately


def _privately(request: dict[str, Json], statements: PolicySet, entities: Entities) -> str:
    inner = entities._inner  # noqa: SLF001 (tried by the probe)
    return cedarpy._internal.is_authorized(request, statements, inner, None, verbose=False)  # noqa: SLF001 (tried by the probe)


_PROBE: Final = pst.Template("probe", "permit", pst.ScopeAny(), pst.ScopeAny(), pst.ScopeAny(), (), {})
_JUDGE: Final = _fastest()
