"""A gate with everything on: tokens of an issuer, a statement for each operation, catalogued resources,
run facts, budgets.

RULE: what is asked is what the bare gate is asked, with a token; what differs is what the gate must find out about it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bench.budgets import write_policies
from bench.workload import TOOL, Case, body, document, request, spread, write_folders

_CURSOR = "000042"  # counted up where no two requests are to be alike
_GROUPS = """\
@id("clerks-write")
permit (principal in Role::"clerk", action in Action::"write", resource);
@id("nothing-is-destroyed")
forbid (principal, action in Action::"destructive", resource);
@id("closed-items-are-closed")
@reason("The item is closed")
@hint("Read another item.")
forbid (principal, action in Action::"read", resource is Item)
when { resource.state == "closed" };
@id("enough-is-enough")
forbid (principal, action in Action::"read", resource)
when { context.run.by_operation["bench.create0"] >= 1000000 };
@id("only-staff")
forbid (principal, action in Action::"read", resource)
unless { principal.hasTag("staff") && principal.getTag("staff") == "true" };
"""
_SPEC = """\
tool: {tool}
openapi: openapi.json
environments:
  prod:
    upstream: "http://127.0.0.1:{upstream}"
    allow: ["*"]
    resources:
      Item: {{file: items.yaml}}
      Customer: {{file: customers.yaml}}
operations:
  "read*": {{resources: [{{type: Item, at: "$args.id"}}]}}
  "query*": {{effect: read, resources: [{{type: Customer, at: "$args.body.customer"}}]}}
  "*": {{cost: {{usd: 0.000001}}}}
"""
_IDENTITY = """\
identity:
  issuers:
    - name: corp
      issuer: https://id.example.com
      audience: toolgate
      jwks: {file: jwks.json}
      roles: {claim: roles}
"""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A key of our own, and a token signed with it that outlives a run."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def jwks(self) -> str:
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "ES256"}]})

    def token(self, subject: str = "agent-7", roles: Sequence[str] = ("clerk", "reader")) -> str:
        now_s = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000_000
        claims = {
            "iss": "https://id.example.com",
            "aud": "toolgate",
            "sub": subject,
            "iat": now_s,
            "exp": now_s + 3600,
            "roles": list(roles),
            "staff": True,
            "team": "billing",
        }
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "one"})


def write_gate(folder: Path, *, operations: int, upstream: int, ports: Sequence[int], issuer: Issuer) -> Path:
    """Write what a gate with everything on reads; return the settings file."""
    tool = folder / "toolspecs" / TOOL
    settings = write_folders(folder, _IDENTITY, operations=operations, ports=ports)
    (folder / "jwks.json").write_text(issuer.jwks())
    (folder / "policies" / "bench.cedar").write_text(_statements(operations))
    write_policies(folder)
    (tool / "tool.yaml").write_text(_SPEC.format(tool=TOOL, upstream=upstream))
    items = [{"id": f"item-{number}", "state": "open"} for number in range(max(1, operations // 3))]
    (tool / "items.yaml").write_text(json.dumps([*items, {"id": "closed-1", "state": "closed"}]))
    (tool / "customers.yaml").write_text(json.dumps([{"id": "cust-000042", "tier": "standard"}]))
    return settings


def _statements(operations: int) -> str:
    """A statement for each operation, by its name, and those for groups. One in three reads an argument."""
    named = []
    for path in document(operations)["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            head = f'@id("{name}")\npermit (principal in Role::"clerk", action == Action::"{TOOL}.{name}", resource)'
            reads = 'unless { context.args has cursor && context.args.cursor like "*;*" }'
            named.append(f"{head}\n{reads};\n" if name.startswith("read") else f"{head};\n")
    return _GROUPS + "".join(named)


def cases(operations: int, port: int, token: str) -> Sequence[Case]:
    """Every kind of request that policies are asked about, spread over the operations of the document."""
    resources = spread(max(1, operations // 3))
    headers = (f"Authorization: Bearer {token}",)
    gets = [f"/v1/resource{number}/item-{number}?limit=20&cursor=page-{_CURSOR}" for number in resources]
    closed = [f"/v1/resource{number}/closed-1?limit=20&cursor=page-{_CURSOR}" for number in resources]
    read = [request("GET", path, port, headers=headers) for path in gets]
    refused = [request("GET", path, port, headers=headers) for path in closed]
    posts = [
        [request("POST", f"/v1/resource{number}/query", port, body(lines=lines), headers) for number in resources]
        for lines in (1, 52)
    ]
    return (
        Case("everything: GET", read, 200, 1.5),
        Case("everything: POST 200 B", posts[0], 200, 1.5),
        Case("everything: POST 6 kB", posts[1], 200, None),  # its parsing is in the bare gate's figure
        Case("everything: GET, never seen before", read, 200, None, _CURSOR),
        Case("everything: refused by policy", refused, 403, 0.6),
        Case("everything: refused by policy, never seen", refused, 403, None, _CURSOR),
    )
