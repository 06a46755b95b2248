"""A gateway over a small real bundle, with everything outside it in lists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from tests.support.policies import permit_all

from toolgate.core.bundle import Bundle
from toolgate.core.mask import Masked, mask, mask_key, patterns
from toolgate.core.model import Call, Event, Json, Named, Principal, Said
from toolgate.exchange import World
from toolgate.gateway import Gateway
from toolgate.load.bundle import Sources, load
from toolgate.testing.fakes import FakeClock, FakeLedger, FakeMeter, FakeUpstream

TOOL = """\
tool: shop
openapi: openapi.yaml
environments:
  dev: {upstream: "http://127.0.0.1:9", allow: ["*"]}
  prod:
    upstream: "http://127.0.0.1:9"
    allow: [getItem, putItem, strictItem, signIn, share]
    resources: {Account: {file: accounts.yaml}}
operations:
  strictItem: {validate_responses: refuse, max_response: 64B}
  signIn: {resources: [{type: Account, at: "$args.body.account"}]}
"""

OPENAPI = """\
openapi: 3.1.0
info: {title: shop, version: "1"}
paths:
  /items/{id}:
    get: &get
      operationId: getItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: &answers
        "200":
          description: ok
          content: {application/json: {schema: {type: object, required: [id], properties: {id: {type: string}}}}}
    put:
      operationId: putItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      requestBody:
        required: true
        content:
          application/json: {schema: {type: object}}
          application/x-www-form-urlencoded: {schema: {type: object, additionalProperties: {type: integer}}}
          "*/*": {}
      responses: {"200": {description: ok}}
    delete:
      operationId: deleteItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {"204": {description: gone}}
  /strict/{id}:
    get:
      operationId: strictItem
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: *answers
  /sign-in:
    post:
      operationId: signIn
      parameters:
        - {name: X-Attempt, in: header, schema: {type: integer}}
        - {name: seen, in: cookie, schema: {type: boolean}}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [account, password]
              properties: {account: {type: string}, password: {type: string, format: password}}
      responses: {"200": {description: ok}}
  /shared/{link}:
    get:
      operationId: share
      parameters:
        - {name: link, in: path, required: true, schema: {type: string, format: password}}
        - {name: n, in: query, schema: {type: integer}}
      responses: {"200": {description: ok}}
"""

ACCOUNTS = "- {id: ann}\n"
MASK_KEY = mask_key(b"k" * 32)


def with_mask(arguments: Mapping[str, Json], pointers: tuple[str, ...]) -> Masked:
    """Masking as the running gate does it, with a key the tests know."""
    return mask(arguments, patterns(pointers), MASK_KEY, os.urandom)


@dataclass
class Outside:
    """A gateway and all that it touched."""

    bundle: Bundle
    ledger: FakeLedger = field(default_factory=FakeLedger)
    upstream: FakeUpstream = field(default_factory=FakeUpstream)
    meter: FakeMeter = field(default_factory=FakeMeter)
    clock: FakeClock = field(default_factory=FakeClock)
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = count(1)
        world = World(
            ledger=self.ledger,
            upstream=self.upstream,
            meter=self.meter,
            mask=with_mask,
            now_ms=self.clock.now_ms,
            monotonic_s=self.clock.monotonic_s,
            new_id=lambda _: f"call-{next(ids)}",
            call_timeout_s=10.0,
            tell=self.told.append,
        )
        self.gateway = Gateway(world, self.bundle)

    def call(self, operation: str = "shop.getItem", **arguments: object) -> Call:
        return self.gateway.new_call(Principal("agent"), Named(operation, arguments or {"id": "a1"}), Said("to see"))

    def journal(self) -> list[str]:
        """What was written, in order: kind, then what it says of the call."""
        return [_told(event.kind, event.data) for event in self.ledger.events]


def _told(kind: str, data: object) -> str:
    assert isinstance(data, dict)
    said = data.get("decision") or data.get("outcome")
    return " ".join(str(part) for part in (kind, said, data.get("code")) if part)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("shop")
    (folder / "shop").mkdir()
    (folder / "shop" / "tool.yaml").write_text(TOOL)
    (folder / "shop" / "openapi.yaml").write_text(OPENAPI)
    (folder / "shop" / "accounts.yaml").write_text(ACCOUNTS)
    return load(Sources(folder, permit_all(tmp_path_factory.mktemp("policies")), "prod", ("dev", "prod")))


@pytest.fixture
def outside(shop: Bundle) -> Outside:
    return Outside(shop)
