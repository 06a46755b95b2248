"""The kill switch: nothing of what is frozen is looked at, let alone sent (DESIGN §2, §11).

RULE: asked first of all, and enforced in every mode. A tool is asked for by the name it is called by before anything is
matched, and again once the operation is known, whatever way led there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from toolgate.core.codes import CODES
from toolgate.core.model import EVERYTHING, OWN, Asked, Call, Facts, Json, Named, Recovery, Refusal, ValidCall, Wire
from toolgate.core.runs import BY_ITS_AGENT

STAGE: Final = "frozen"
_ANOTHER_RUN: Final = Recovery("fix_arguments", "Leave `Toolgate-Run` out, or open another run (`POST /-/runs`).")


def frozen(call: Call, facts: Facts) -> Refusal | None:
    """Whether everything, this principal, its run or the tool it names is frozen."""
    # SECURITY: a caller that is only called `toolgate` must not be able to stop the gate's own readings.
    is_own = call.principal is OWN
    if facts.run.stopped is not None and not is_own:
        return stopped(facts.run.id, facts.run.stopped)
    if not facts.freezes:
        return None
    for_all = _by(EVERYTHING, "gateway.frozen", "everything", facts)
    whose = None if is_own else _frozen_principal(call, facts) or _frozen_run(call, facts)
    return for_all or whose or _disabled(_tool_of(call.asked), facts)


def disabled(valid: ValidCall, facts: Facts) -> Refusal | None:
    """Whether a tool of this call is frozen, now that its operations are known."""
    if not facts.freezes:
        return None
    tools = dict.fromkeys(each.operation.tool for each in (valid, *valid.also))
    return next((refusal for tool in tools if (refusal := _disabled(tool, facts)) is not None), None)


def _frozen_principal(call: Call, facts: Facts) -> Refusal | None:
    """Frozen, or acting for somebody who is."""
    named = (name for name in (call.principal.id, call.principal.on_behalf_of) if name is not None)
    asked = (_by(f"principal:{name}", "gateway.frozen", f"the principal `{name}`", facts) for name in named)
    return next(filter(None, asked), None)


def _frozen_run(call: Call, facts: Facts) -> Refusal | None:
    above = call.run.above if call.run is not None else ()
    asked = (_by(f"run:{run}", "run.stopped", f"the run `{run}`", facts) for run in (facts.run.id, *above))
    return next(filter(None, asked), None)


def _disabled(tool: str, facts: Facts) -> Refusal | None:
    return _by(f"tool:{tool}", "tool.disabled", f"the tool `{tool}`", facts)


def _tool_of(asked: Asked) -> str:
    """The tool a call names plainly; of another name (`tool__operationId`) it is known once it is found."""
    match asked:
        case Wire():
            return asked.path[1:].partition("/")[0]
        case Named():
            return asked.operation.partition(".")[0]


def _by(key: str, code: str, what: str, facts: Facts) -> Refusal | None:
    """The refusal by one freeze; the key and the reason are what the decision read."""
    freeze = facts.freezes.get(key)
    if freeze is None:
        return None
    why = f": {_line(freeze.why)}" if freeze.why else ""
    return _refusal(code, f"{what} is frozen{why}", {"freeze": {"key": key, "why": freeze.why}})


def stopped(run: str, why: str) -> Refusal:
    """What every call is told of a run that is over."""
    refusal = _refusal("run.stopped", f"the run `{run}` takes no more calls: {_line(why)}", {"stopped": why})
    return refusal._replace(recovery=_ANOTHER_RUN) if why == BY_ITS_AGENT else refusal


def _line(text: str) -> str:
    return " ".join(text.split())


def _refusal(name: str, detail: str, read: Mapping[str, Json]) -> Refusal:
    code = CODES[name]
    return Refusal(code, detail, Recovery(code.action, code.hint), stage=STAGE, read=read)
