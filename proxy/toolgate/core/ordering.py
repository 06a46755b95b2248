"""What is wrong with how the steps of a proposed plan wait for each other, bind each other's outputs, and end in time.

RULE: linear in steps and dependencies; what comes before what is one set of bits for each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from toolgate.core.canonical import canonical
from toolgate.core.model import Violation
from toolgate.core.pinned import Bound, bound
from toolgate.core.plan import Attempted, Ordering, Step
from toolgate.core.proposal import Draft, Graph, Proposal
from toolgate.core.suggest import Vocabulary
from toolgate.core.wiretext import echo, pointer

_NAMED: Final = 3


def repeated(proposal: Proposal) -> Iterator[Violation]:
    """Two steps with one id."""
    graph = proposal.graph
    for at, draft in enumerate(graph.drafts):
        first = graph.position[draft.id]
        if first != at:
            message = f"`{draft.id}` is the stepId of step {graph.drafts[first].at} already"
            yield Violation(
                draft.place("stepId"), "unique", message, code="plan.repeated", hint="Give it another stepId."
            )


def dangling(proposal: Proposal) -> Iterator[Violation]:
    """A dependency on a step that is not there."""
    graph = proposal.graph
    for draft in graph.drafts:
        for index, each in enumerate(draft.depends_on):
            if each not in graph.ids:
                path = pointer(draft.place("dependsOn"), index)
                yield _no_step(path, each, graph, "plan.dependency", "Name a stepId of this plan, or leave it out.")


def cycles(proposal: Proposal) -> Iterator[Violation]:
    """Steps that wait for each other; each cycle is told once, at its first step."""
    graph = proposal.graph
    ordered, seen = set(graph.order), set[int]()
    for start in range(len(graph.drafts)):
        if start in ordered or start in seen:
            continue
        way = _walk(graph, start, ordered, seen)
        if way:
            first = graph.drafts[min(way)]
            names = [f"`{graph.drafts[at].id}`" for at in way[:_NAMED]] + (["…"] if len(way) > _NAMED else [])
            message = (
                f"step {names[0]} waits for itself"
                if len(way) == 1
                else f"steps {', '.join(names)} wait for each other"
            )
            hint = "Take one of these dependencies out."
            yield Violation(first.place("dependsOn"), "acyclic", message, code="plan.cycle", hint=hint)


def unbound(proposal: Proposal) -> Iterator[Violation]:
    """An expression that names no output of an earlier step."""
    graph = proposal.graph
    for at, draft in enumerate(graph.drafts):
        for mark in draft.marks:
            read = bound(mark.value)
            if mark.kind == "expression" and read is not None:
                path = draft.place("arguments") + mark.path
                yield from _unbound(read, path, at, proposal)


def disordered(proposal: Proposal) -> Iterator[Violation]:
    """An order of the operator's that is broken."""
    graph, rules = proposal.graph, proposal.bundle.plans
    if not rules.order or not graph.is_sound:
        return
    by_operation: dict[str, list[int]] = {}
    for at, draft in enumerate(graph.drafts):
        if draft.operation is not None:
            by_operation.setdefault(draft.operation.key, []).append(at)
    for rule in rules.order:
        earlier = [at for key in rule.after for at in by_operation.get(key, ())]
        bits = sum(1 << at for at in set(earlier))
        for at in by_operation.get(rule.operation, ()):
            left = bits & ~graph.before[at] & ~(1 << at)
            if left:
                yield _disordered(rule, graph.drafts[at], [graph.drafts[each] for each in earlier if left >> each & 1])


def overdue(proposal: Proposal) -> Iterator[Violation]:
    """A step that is given longer than its operation has, or steps that together outlast the plan."""
    graph, most_ms = proposal.graph, proposal.bundle.plans.expires_s * 1000
    ends = [0] * len(graph.drafts)
    for at in graph.order:
        draft = graph.drafts[at]
        timeout = draft.document.get("timeout")
        yield from _too_long(draft, timeout)
        ends[at] = max((ends[need] for need in graph.needs[at]), default=0) + (timeout or 0)
        if ends[at] > most_ms >= ends[at] - (timeout or 0):
            message = f"the steps up to this one may take {ends[at]} ms, and a plan holds for {most_ms} ms"
            yield Violation(
                draft.place("timeout"), "maximum", message, most_ms, code="plan.timeout", hint="Plan less at a time."
            )


def changed_after_sending(proposal: Proposal) -> Iterator[Violation]:
    """A step that was sent is what it was, under the id it had."""
    former = proposal.now.former
    if former is None:
        return
    steps = {step.id: step for step in former.locked.plan.steps}
    for draft in proposal.graph.drafts:
        tried = former.steps.get(draft.id)
        if draft.lost or tried is None or (tried.state is None and not tried.attempts):
            continue
        was = steps.get(draft.id)
        if was is None or not _is_as_it_was(draft, was, tried):
            message = f"step `{draft.id}` was sent already" + (
                ", and is another one now" if was else " in an earlier plan"
            )
            hint = "Keep it as it was, or give the new step another stepId."
            yield Violation(draft.place("stepId"), "sent", message, code="plan.sent", hint=hint)


def _walk(graph: Graph, start: int, ordered: set[int], seen: set[int]) -> list[int]:
    """Follow what waits until a step comes again; the cycle that was found, if it is a new one."""
    way: dict[int, None] = {}
    at: int | None = start
    while at is not None and at not in seen:
        seen.add(at)
        way[at] = None
        at = next((need for need in graph.needs[at] if need not in ordered), None)
    passed = list(way)
    return passed[passed.index(at) :] if at in way else []


def _unbound(read: Bound, path: str, at: int, proposal: Proposal) -> Iterator[Violation]:
    graph = proposal.graph
    if read.step not in graph.ids:
        yield _no_step(path, read.step, graph, "plan.binding", "Name a stepId of this plan.")
        return
    source = graph.position.get(read.step)
    if source is None:  # it has no form, and was told so
        return
    outputs = graph.drafts[source].outputs
    if read.output not in outputs and "outputs" not in graph.drafts[source].lost:
        meant = Vocabulary(outputs).near(read.output, 1)
        aid = f"; did you mean `{meant[0]}`?" if meant else ""
        message = f"step `{read.step}` has no output {echo(read.output)}{aid}"
        hint = f"Add `{read.output}` to the `outputs` of step `{read.step}`."
        yield Violation(path, "binding", message, sorted(outputs), meant[0] if meant else None, "plan.binding", hint)
    if graph.is_sound and not graph.before[at] >> source & 1:
        message = f"step `{read.step}` need not be done by then: `{graph.drafts[at].id}` does not wait for it"
        hint = f"Add `{read.step}` to the `dependsOn` of step `{graph.drafts[at].id}`."
        yield Violation(path, "binding", message, code="plan.binding", hint=hint)
    yield from _forgotten(read, path, proposal)


def _forgotten(read: Bound, path: str, proposal: Proposal) -> Iterator[Violation]:
    """An answer that was given before anybody asked for that part of it."""
    former = proposal.now.former
    tried = former.steps.get(read.step) if former else None
    if tried is not None and tried.state == "done" and tried.outputs.get(read.output) is None:
        message = f"step `{read.step}` is done, and of its answer no `{read.output}` was kept"
        hint = "Leave it out, or write a constraint."
        yield Violation(path, "binding", message, code="plan.binding", hint=hint)


def _no_step(path: str, named: str, graph: Graph, code: str, hint: str) -> Violation:
    meant = graph.vocabulary.near(named, 1)
    aid = f"; did you mean `{meant[0]}`?" if meant else ""
    return Violation(
        path, "step", f"the plan has no step {echo(named)}{aid}", None, meant[0] if meant else None, code, hint
    )


def _disordered(rule: Ordering, draft: Draft, earlier: Sequence[Draft]) -> Violation:
    named = [f"`{each.id}`" for each in earlier[:_NAMED]]
    more = f" and {len(earlier) - _NAMED} more" if len(earlier) > _NAMED else ""
    reason = f"{rule.reason}: " if rule.reason else ""
    message = f"{reason}step `{draft.id}` must come after {', '.join(named)}{more}"
    hint = f"Add {', '.join(named)} to the `dependsOn` of step `{draft.id}`."
    return Violation(
        draft.place("dependsOn"), "order", message, [each.id for each in earlier[:20]], code="plan.order", hint=hint
    )


def _too_long(draft: Draft, timeout: int | None) -> Iterator[Violation]:
    if timeout is None or draft.operation is None:
        return
    most = int(draft.operation.limits.timeout_s * 1000)
    if timeout > most:
        message = f"{timeout} ms is more than the {most} ms a call of `{draft.operation.key}` may take"
        hint = f"Write {most} or less, or leave it out."
        yield Violation(draft.place("timeout"), "maximum", message, most, code="plan.timeout", hint=hint)


def _is_as_it_was(draft: Draft, was: Step, tried: Attempted) -> bool:
    """What was sent is not rewritten; of a step that is to be tried again, how it is tried may be."""
    now = draft.document
    if draft.operation is None or draft.operation.key != was.operation:
        return False
    if canonical(draft.arguments) != canonical(dict(was.arguments)):
        return False
    if tried.state == "failed":
        return True
    return set(draft.depends_on) == set(was.depends_on) and now.get("attempts", was.attempts) == was.attempts
