"""What of a step's answer later steps are held to, and what a decision read of a plan (DESIGN §9).

RULE: of an answer nothing is kept but keyed digests: equality is all that is ever asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

import jiter
import orjson

from toolgate.core.canonical import by_value, canonical
from toolgate.core.expressions import EVERY, NOTHING, Expression, parse_expression
from toolgate.core.mask import MaskKey
from toolgate.core.model import Completed, Json, Outcome, Reply
from toolgate.core.plan import PlanFacts

_FAILED_STATUS: Final = 400
_DIGEST_BYTES: Final = 8  # enough to tell values apart, too few to hold them


Reads: TypeAlias = tuple[tuple[str, Expression], ...]


class Wanted(NamedTuple):
    """The outputs of a step that later steps read, by name."""

    of_body: Reads  # for these a reply is held whole
    of_headers: Reads


def wanted_of(outputs: Mapping[str, str]) -> Wanted | None:
    """Compile what later steps read; None where they read nothing."""
    reads = [(name, parse_expression(text)) for name, text in outputs.items()]
    of_body = tuple(each for each in reads if each[1].root == "response.body")
    of_headers = tuple(each for each in reads if each[1].root == "response.header")
    return Wanted(of_body, of_headers) if reads else None


def is_done(outcome: Outcome) -> bool:
    """Whether a step is done by it: the upstream answered, and below 400."""
    return isinstance(outcome, Completed) and outcome.reply.status < _FAILED_STATUS


def outputs_of(reply: Reply, wanted: Wanted, key: MaskKey) -> dict[str, str | None]:
    """Each output that a later step reads, as a keyed digest; None where the answer does not hold it."""
    told: dict[str, str | None] = {}
    if wanted.of_body:
        body = _read(reply)
        for name, expression in wanted.of_body:
            told[name] = _digest(expression, body, key)
    if wanted.of_headers:
        headers = {name.lower(): value for name, value in reply.headers}
        for name, expression in wanted.of_headers:
            told[name] = _digest(expression, headers, key)
    return told


def output_digest(value: Json, key: MaskKey) -> str:
    """What stands in for an output, and for the argument that is held to it."""
    return blake2b(_text(value), key=key.digest, digest_size=_DIGEST_BYTES).hexdigest()


def plan_json(plan: PlanFacts, steps: Iterable[str] | None = None) -> dict[str, Json]:
    """What a decision read of its run's plan: enough, with the plan itself, to decide it again. `steps`: those it read.

    A step that is not told of is one that was never sent.
    """
    known, locked = plan.steps, plan.locked
    states: dict[str, Json] = {}
    attempts: dict[str, Json] = {}
    outputs: dict[str, Json] = {}
    for step in known if steps is None else steps:
        if step not in known:
            continue
        states[step], tried, said = known[step]
        if tried != 1:
            attempts[step] = tried
        if said:
            outputs[step] = {**said}
    return {"id": locked.id, "digest": locked.digest, "steps": states, "attempts": attempts, "outputs": outputs}


def _text(value: Json) -> bytes:
    """The one text of a value."""
    try:
        return orjson.dumps(value if type(value) is str else by_value(value), option=orjson.OPT_SORT_KEYS)
    except TypeError:  # what orjson does not know, such as an integer beyond 64 bit
        return canonical(by_value(value))


def _read(reply: Reply) -> Json:
    """The body as JSON; what is none, or is not held whole, holds no outputs."""
    if not isinstance(reply.body, bytes):
        return NOTHING
    try:
        return jiter.from_json(reply.body, allow_inf_nan=False)
    except ValueError:
        return NOTHING


def _digest(expression: Expression, root: Json, key: MaskKey) -> str | None:
    if root is NOTHING:
        return None
    if EVERY in expression.tokens:
        every = expression.values(root)
        return output_digest(list(every), key) if every else None
    found = expression.value(root)
    return None if found is NOTHING else output_digest(found, key)
