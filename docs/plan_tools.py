"""The tools that a model plans with, in the shapes of the models' makers: `examples/plan_tools/*.json`.

RULE: the plan's schema is the one that judges proposals; nothing of it is typed again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from toolgate.core.planform import PLAN_SCHEMA

FOLDER: Final = Path(__file__).resolve().parent.parent / "examples" / "plan_tools"
_NOTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}
_END: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "incomplete": {"type": "boolean", "description": "Close the run although steps of its plan are not done."}
    },
    "additionalProperties": False,
}
TOOLS: Final[tuple[tuple[str, str, Mapping[str, Any]], ...]] = (
    (
        "propose_plan",
        (
            "Propose the plan of your task before you call anything else: the steps, what each waits for, and which "
            "answers go into which arguments. It is checked whole. If it is refused, fix everything that `violations` names, "
            "each at its place, and propose it again. Once it is locked, each tool call is one of its steps: call the steps "
            "that are `ready`, with the arguments that the plan has."
        ),
        PLAN_SCHEMA,
    ),
    (
        "revise_plan",
        (
            "Replace the locked plan by another one, whole. To drop steps that nothing needs, or to say more exactly what is "
            "sent, is free; to add or change steps is allowed a few times only. Keep the steps that were called as they are."
        ),
        PLAN_SCHEMA,
    ),
    (
        "show_run",
        (
            "Show how far you are: each step of the plan and whether it is ready, waiting, running, done or failed, and what "
            "is left of your budgets."
        ),
        _NOTHING,
    ),
    (
        "finish_run",
        "Close the task when every step is done. Otherwise the answer names what is left.",
        _END,
    ),
)


def files() -> dict[Path, str]:
    """Each file as it should be."""
    return {
        FOLDER / f"{shape}.json": json.dumps({"tools": [make(*tool) for tool in TOOLS]}, indent=2) + "\n"
        for shape, make in (("anthropic", _anthropic), ("mcp", _mcp), ("openai", _openai))
    }


def _openai(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def _anthropic(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description, "input_schema": schema}


def _mcp(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": schema}
