"""What of a step's answer later steps are held to, and what a decision read of a plan (DESIGN §9).

RULE: of an answer nothing is kept but keyed digests: equality is all that is ever asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import jiter
import orjson

from toolgate.core.canonical import by_value, canonical
from toolgate.core.expressions import EVERY, Expression, Root, parse_expression
from toolgate.core.mask import MaskKey
from toolgate.core.model import Completed, Json, Outcome, Reply
from toolgate.core.plan import PlanFacts

_FAILED_STATUS: Final = 400
_REMEMBERED: Final = 4096
_parsed: Final = lru_cache(maxsize=_REMEMBERED)(parse_expression)
_NOTHING: Final = object()
_DIGEST_BYTES: Final = 8  # enough to tell values apart, too few to hold them


def reads_answer(wanted: Mapping[str, str]) -> bool:
    """Whether the body of a reply must be held whole for its outputs to be read."""
    for text in wanted.values():  # noqa: SIM110 (a generator costs as much as what it asks)
        if _parsed(text).root == "response.body":
            return True
    return False


def is_done(outcome: Outcome) -> bool:
    """Whether a step is done by it: the upstream answered, and below 400."""
    return isinstance(outcome, Completed) and outcome.reply.status < _FAILED_STATUS


def outputs_of(reply: Reply, wanted: Mapping[str, str], key: MaskKey) -> dict[str, str | None]:
    """Each output that a later step reads, as a keyed digest; None where the answer does not hold it."""
    roots: dict[Root, Json] = {}
    told: dict[str, str | None] = {}
    for name, text in wanted.items():
        expression = _parsed(text)
        root = expression.root
        if root not in roots:
            roots[root] = _root_in(reply, root)
        told[name] = _digest(expression, roots[root], key)
    return told


def output_digest(value: Json, key: MaskKey) -> str:
    """What stands in for an output, and for the argument that is held to it."""
    return blake2b(_text(value), key=key.digest, digest_size=_DIGEST_BYTES).hexdigest()


def plan_json(plan: PlanFacts, steps: Iterable[str] | None = None) -> dict[str, Json]:
    """What a decision read of its run's plan: enough, with the plan itself, to decide it again. `steps`: those it read.

    A step that is not told of is one that was never sent.
    """
    known = plan.steps
    sent = [(step, known[step]) for step in (known if steps is None else steps) if step in known]
    return {
        "id": plan.locked.id,
        "digest": plan.locked.digest,
        "steps": {step: each.state for step, each in sent},
        "attempts": {step: each.attempts for step, each in sent if each.attempts != 1},
        "outputs": {step: {**each.outputs} for step, each in sent if each.outputs},
    }


def _root_in(reply: Reply, root: Root) -> Json:
    """What an expression is asked of."""
    return _read(reply) if root == "response.body" else {name.lower(): value for name, value in reply.headers}


def _text(value: Json) -> bytes:
    """The one text of a value."""
    try:
        return orjson.dumps(value if type(value) is str else by_value(value), option=orjson.OPT_SORT_KEYS)
    except TypeError:  # what orjson does not know, such as an integer beyond 64 bit
        return canonical(by_value(value))


def _read(reply: Reply) -> Json:
    """The body as JSON; what is none, or is not held whole, holds no outputs."""
    if not isinstance(reply.body, bytes):
        return _NOTHING
    try:
        return jiter.from_json(reply.body, allow_inf_nan=False)
    except ValueError:
        return _NOTHING


def _digest(expression: Expression, root: Json, key: MaskKey) -> str | None:
    found = expression.values(root) if root is not _NOTHING else ()
    if EVERY in expression.tokens:
        return output_digest(list(found), key) if found else None
    return output_digest(found[0], key) if found else None
