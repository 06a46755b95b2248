"""A gate with everything on whose calls are steps of plans, each of which a person has approved.

RULE: a step is sent once, so every measurement gets runs and plans of its own, proposed, granted and locked over HTTP
before its time begins; the pass-through is asked the same with headers as long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from bench import everything
from bench.everything import Issuer
from bench.workload import TOOL, Case, body, request

_STEPS: Final = 40  # of a plan
_CALLS_PER_S: Final = 14_000  # more than either side answers
_AT_ONCE: Final = 96  # runs: three times the connections, so what a step waits for has ended long before
_ANSWERED: Final = "item-0"  # what the upstream answers as the first item's name
_RULES: Final = "required_for: {effects: [read]}\napprove: [lead]\n"
_ASKS: Final = """\
@id("queries-need-a-lead")
@approval("lead")
@reason("queries are costly")
forbid (principal, action == Action::"bench.query0", resource);
"""


@dataclass(slots=True)
class Planned:
    """Writes the gate, and opens the runs that are called in."""

    issuer: Issuer
    _admin: dict[int, int] = field(default_factory=dict)  # port of the agents' door → of the operators'
    _open: dict[int, list[str]] = field(default_factory=dict)  # tokens of the runs of the last measurement

    def write_gate(self, folder: Path, *, operations: int, upstream: int, ports: Sequence[int]) -> Path:
        settings = everything.write_gate(
            folder, operations=operations, upstream=upstream, ports=ports, issuer=self.issuer
        )
        (folder / "policies" / "plans.yaml").write_text(_RULES)
        (folder / "policies" / "approvals.cedar").write_text(_ASKS)
        self._admin[ports[0]] = ports[1]
        return settings

    def cases(self, _operations: int, port: int) -> Sequence[Case]:
        headers = (f"Authorization: Bearer {self.issuer.token()}", "Toolgate-Run: " + 200 * "x", "Toolgate-Step: s00")
        path = f"/v1/resource0/{_ANSWERED}?limit=20&cursor={_ANSWERED}"
        get = request("GET", path, port, headers=headers)
        post = request("POST", "/v1/resource0/query", port, body(lines=1), headers)
        return (
            Case("planned: GET, bound to an answer", [get], 200, 1.5),
            Case("planned, approved: POST 200 B", [post], 200, 1.5),
        )

    def renewed(self, case: Case, port: int, seconds: float) -> Case:
        """The case as calls of steps that nobody has sent yet: enough of them for so long."""
        document = _chain(_READ if "GET" in case.name else _QUERY)
        count = int(seconds * _CALLS_PER_S) // _STEPS + 1
        with closing(_Desk(port, self._admin[port], self.issuer)) as desk:
            for token in self._open.pop(port, ()):
                desk.end(token)
            tokens = self._open[port] = [desk.begin(document) for _ in range(count)]
        return Case(case.name, list(_steps(case.requests[0], tokens)), case.status, case.at_most)


class _Desk:
    """The agent and the person who agrees, each on a connection of its own."""

    def __init__(self, agents: int, operators: int, issuer: Issuer) -> None:
        self._agent = HTTPConnection("127.0.0.1", agents, timeout=30)
        self._lead = HTTPConnection("127.0.0.1", operators, timeout=30)
        self._agents_token = issuer.token()
        self._leads_token = issuer.token("lead-1", ("lead", "approver"))

    def begin(self, document: Mapping[str, Any]) -> str:
        """Open a run, and lock a plan in it that a lead has agreed to; the run's token."""
        token = str(self._ask("/-/runs")["token"])
        asked = self._ask("/-/plans", document, token)["recovery"]["approval"]
        _answer(self._lead, f"/-/approvals/{asked}/grant", None, {"Authorization": f"Bearer {self._leads_token}"})
        if "plan" not in (locked := self._ask("/-/plans", document, token)):
            raise RuntimeError(f"the plan was not locked: {locked}")
        return token

    def end(self, token: str) -> None:
        self._ask("/-/run/finish", {"incomplete": True}, token)

    def close(self) -> None:
        self._agent.close()
        self._lead.close()

    def _ask(self, path: str, content: Any = None, run: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._agents_token}"}
        return _answer(self._agent, path, content, headers if run is None else {**headers, "Toolgate-Run": run})


def _answer(connection: HTTPConnection, path: str, content: Any, headers: Mapping[str, str]) -> Any:
    typed = {} if content is None else {"Content-Type": "application/json"}
    connection.request("POST", path, None if content is None else json.dumps(content), {**headers, **typed})
    return json.loads(connection.getresponse().read() or b"{}")


_READ: Final[Mapping[str, Any]] = {
    "operationId": f"{TOOL}.read0",
    "arguments": {"id": _ANSWERED, "limit": 20, "cursor": _ANSWERED},
    "outputs": {"name": "$response.body#/items/0/name"},
}
_QUERY: Final[Mapping[str, Any]] = {"operationId": f"{TOOL}.query0", "arguments": {"body": json.loads(body(lines=1))}}


def _chain(step: Mapping[str, Any]) -> dict[str, Any]:
    """So many steps, each after the one before, and where it answers something held to that answer."""
    steps: list[dict[str, Any]] = []
    for number in range(_STEPS):
        named = {**step, "stepId": f"s{number:02}"}
        if steps:
            before = steps[-1]["stepId"]
            named["dependsOn"] = [before]
            if "outputs" in step:
                named["arguments"] = {**step["arguments"], "cursor": f"$steps.{before}.outputs.name"}
        steps.append(named)
    return {"goal": "measure", "steps": steps}


def _steps(call: bytes, tokens: Sequence[str]) -> Iterator[bytes]:
    """So many runs at a time, each step by step to its end: the first step of every one, then the second of every one."""
    for first in range(0, len(tokens), _AT_ONCE):
        for number in range(_STEPS):
            for token in tokens[first : first + _AT_ONCE]:
                yield call.replace(200 * b"x", token.encode()).replace(b"Step: s00", b"Step: s%02d" % number)
