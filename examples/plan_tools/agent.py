"""An agent's side of plans: the tools that its model is given, and what is done with a call of one of them.

    tools = Tools("http://127.0.0.1:8400")
    definitions = tools.definitions("anthropic")        # or openai, mcp: give them to the model
    text = tools.execute(name, arguments)               # what the model is told

RULE: nothing is decided here. What the gate says is handed to the model as it is, refusals and hints included.
Run as a program, it executes a transcript: one function call a line, as JSON, on standard input.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TIMEOUT_S = 60


class Tools:
    """The tools of one task: those of the gate, and those to plan with. Each task is a run of its own."""

    def __init__(self, gate: str) -> None:
        self._gate = gate
        self._token: str | None = None
        self._token = self._ask("POST", "/-/runs")["token"]
        self._plan: str | None = None

    def definitions(self, shape: str) -> list[Any]:
        """What the model may call, in the shape of `openai`, `anthropic` or `mcp`."""
        planning = json.loads(Path(__file__).with_name(f"{shape}.json").read_text(encoding="utf-8"))
        return [*planning["tools"], *self._ask("GET", f"/-/tools?format={shape}")["tools"]]

    def execute(self, name: str, arguments: Any) -> str:
        """Do what the model calls, and return what it is told."""
        match name:
            case "propose_plan":
                told = self._ask("POST", "/-/plans", arguments)
                self._plan = told.get("plan", self._plan)
            case "revise_plan":
                told = self._ask("PUT", f"/-/plans/{self._plan}", arguments)
            case "show_run":
                told = self._ask("GET", "/-/run")
            case "finish_run":
                told = self._ask("POST", "/-/run/finish", arguments or None)
            case _:
                told = self._ask("POST", "/-/call", {"name": name, "arguments": arguments})
        return json.dumps(told)

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._token is not None:
            headers["Toolgate-Run"] = self._token
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._gate}{path}", content, headers, method=method)  # noqa: S310 - the gate's own URL
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
                return json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as refused:
            return json.loads(refused.read() or b"{}")


def gist(told: Mapping[str, Any]) -> str:
    """What a reader wants to know of an answer."""
    if "code" in told:
        problems = "".join(f"\n    {each['path']}: {each['message']}" for each in told["violations"])
        return f"{told['code']}: {told['recovery']['hint']}{problems}"
    if "steps" in told:
        return "  ".join(f"{step['stepId']}: {step['state']}" for step in told["steps"])
    return ", ".join(told)


def main(gate: str) -> None:
    tools = Tools(gate)
    for line in filter(str.strip, sys.stdin):
        call = json.loads(line)
        told = json.loads(tools.execute(call["name"], call["arguments"]))
        print(f"{call['name']}\n  {gist(told)}")


if __name__ == "__main__":
    main(sys.argv[1])
