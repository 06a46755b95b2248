"""What ships for tests of yours: plans as values, a whole gate in the test's process, and the runner of `toolgate test`.

    from toolgate.testing import Gate, ms, read_plan

RULE: nothing here decides: tests are held against the engine that serves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from toolgate.testing.agents import Agent, Answer
    from toolgate.testing.apis import Apis, SentCall
    from toolgate.testing.fakes import FakeClock
    from toolgate.testing.gate import Gate
    from toolgate.testing.plans import Plan, Step, Steps, ms, read_plan
    from toolgate.testing.records import Record

__all__ = [
    "Agent",
    "Answer",
    "Apis",
    "FakeClock",
    "Gate",
    "Plan",
    "Record",
    "SentCall",
    "Step",
    "Steps",
    "ms",
    "read_plan",
]

_HOMES: Final = {
    "Agent": "agents",
    "Answer": "agents",
    "Apis": "apis",
    "FakeClock": "fakes",
    "Gate": "gate",
    "Plan": "plans",
    "Record": "records",
    "SentCall": "apis",
    "Step": "plans",
    "Steps": "plans",
    "ms": "plans",
    "read_plan": "plans",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: `toolgate test` needs none of it, and a gate is a lot to import."""
    if name not in _HOMES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
