"""A gate remembers what it judged, ruled and told; one that sees every call for the first time answers the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Catalog
from toolgate.core.events import asked_json, judged_json
from toolgate.core.journal import total
from toolgate.core.loop import call_digest
from toolgate.core.mask import Masked, mask, mask_key, patterns
from toolgate.core.model import (
    EVERYTHING,
    Call,
    Facts,
    Freeze,
    Named,
    Permit,
    Principal,
    Refusal,
    Refused,
    ResourceCatalogue,
    RunFacts,
    Situation,
    Wire,
)
from toolgate.core.policies import Policies
from toolgate.listeners.problem import disclosed, render
from toolgate.listeners.retelling import Retelling
from toolgate.load.bundle import Sources, load

TOOL = """\
tool: t
openapi: openapi.yaml
forward_headers: [X-Trace]
environments:
  prod:
    upstream: "http://127.0.0.1:9"
    allow: [read, put, login, odd, one, two]
    resources: {Thing: {file: things.yaml}}
operations:
  put: {resources: [{type: Thing, at: "$args.id"}]}
"""
OPENAPI = """\
openapi: 3.1.0
info: {title: t, version: "1"}
paths:
  /things/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get:
      operationId: read
      parameters: [{name: n, in: query, schema: {type: integer}}, {name: b, in: query, schema: {type: boolean}}]
      responses: &ok {"200": {description: ok}}
    put:
      operationId: put
      requestBody:
        content:
          application/json: {schema: &body {type: object, properties: {n: {type: number}, s: {type: array, items: {type: string}}}}}
          application/x-www-form-urlencoded: {schema: *body}
      responses: *ok
    delete: {operationId: drop, responses: *ok}
  /login:
    post:
      operationId: login
      requestBody:
        content: {application/json: {schema: {type: object, properties: {n: {type: number}, key: {type: string, format: password}}}}}
      responses: *ok
  /odd:
    get:
      operationId: odd
      parameters: [{name: X-N, in: header, schema: {type: integer}}, {name: c, in: cookie, schema: {type: string}}]
      responses: *ok
  /twin#one: {post: {operationId: one, requestBody: {content: {application/json: {schema: *body}}}, responses: *ok}}
  /twin#two: {post: {operationId: two, requestBody: {content: {application/json: {schema: {type: object, required: [s]}}}}, responses: *ok}}
"""
RULES = """\
@id("all") permit (principal in Role::"in", action, resource);
@id("ann") permit (principal == Agent::"ann", action == Action::"t.read", resource);
@id("low") forbid (principal, action == Action::"t.put", resource is Thing) when { resource.tier == "high" };
@id("tag") forbid (principal, action == Action::"t.put", resource) when { principal.hasTag("team") && principal.getTag("team") == "x" };
@id("much") forbid (principal, action == Action::"t.put", resource)
  when { context.args has body && context.args.body has n && context.args.body.n.greaterThan(decimal("1.0")) };
@id("run") forbid (principal, action == Action::"t.read", resource) when { context.run.calls > 2 && context.args has n };
@mode("audit") @id("later") forbid (principal, action == Action::"t.login", resource) when { context.run.refusals > 0 };
"""
THINGS = "- {id: a, tier: high}\n- {id: b, tier: low}\n- {id: '1', tier: low}\n"
BOX = mask_key(b"k" * 32)
CALLERS = (
    Principal("ann", ("in",)), Principal("ann", ()), Principal("eve", ("in",), {"team": "x"}), Principal("eve", ("in",), {"team": "y"}),
    Principal("bob", ()),
)  # fmt: skip
LIVE = MappingProxyType({"t": {"Thing": ResourceCatalogue("Thing", {"a": {"tier": "low"}, "z": {"tier": "high"}})}})
SITUATIONS = (Situation(unready={"t": "no credential"}), Situation(LIVE))
RUNS = (RunFacts("r"), RunFacts("r", calls=3), RunFacts("r", calls=4), RunFacts("r", calls=3, refusals=1))
BODIES = (b"", b"{}", b'{"n":1}', b'{"n":1.0}', b'{"n":2}', b'{"n":true}', b'{"n":-0.0}', b'{"s":["x"]}', b'{"s":[]}', b"n=1",
          b'{"n":1,"n":1}', b'{"key":"secret"}', b'{ "n": 1 }', b'{"s":["' + b"x" * 1100 + b'"]}')  # fmt: skip
TYPES = ("application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain")
PLAIN = {"content-type": "application/json", "x-trace": "1", "x-n": "1", "cookie": "c=1"}
HEADERS: tuple[dict[str, str], ...] = (
    {}, *(PLAIN | {"content-type": each} for each in TYPES), PLAIN | {"x-trace": "2"}, PLAIN | {"x-n": "2"}, PLAIN | {"x-n": "x"},
    PLAIN | {"cookie": "c=2"}, PLAIN | {"content-encoding": "identity"}, PLAIN | {"content-encoding": "gzip"},
)  # fmt: skip
LINES = (
    *(("GET", f"/t/things/{name}") for name in ("a", "1", "%61")), ("DELETE", "/t/things/a"), ("HEAD", "/t/things/a"),
    *(("PUT", f"/t/things/{name}") for name in ("a", "b", "z")), ("POST", "/t/login"), ("GET", "/t/odd"), ("POST", "/t/twin"),
    ("GET", "/t/none"), ("GET", "/u/x"),
)  # fmt: skip
QUERIES = ("", "n=1", "n=1&b=true", "b=true&n=1", "n=x", "n=1.0")
NAMED = tuple(
    Named(name, arguments)
    for name in ("t.read", "t.put", "t.drop", "nope")
    for arguments in ({"id": "a"}, {"id": "1", "n": 1}, {})
)
FACTS = (
    *(Facts(run=run) for run in RUNS),
    *(Facts(run=RUNS[0], situation=each) for each in SITUATIONS),
    Facts(run=RUNS[0], freezes={EVERYTHING: Freeze("ann", "why", 0)}),
)
Asking: TypeAlias = tuple[Principal, Wire | Named, Facts]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    home = tmp_path_factory.mktemp("remembered")
    for name, text in {
        "t/tool.yaml": TOOL,
        "t/openapi.yaml": OPENAPI,
        "t/things.yaml": THINGS,
        "p/all.cedar": RULES,
    }.items():
        (home / "tools" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "tools" / name).write_text(text)
    (home / "tools" / "p").rename(home / "policies")
    return load(Sources(home / "tools", home / "policies", "prod", ("prod",)))


def forgetful(bundle: Bundle) -> Bundle:
    """The same bundle, with nothing remembered."""
    policies = Policies(bundle.policies.statements.values(), len(bundle.catalog.operations), bundle.shapes)
    return replace(
        bundle, catalog=Catalog(bundle.catalog.operations.values(), bundle.catalog.elsewhere), policies=policies
    )


def masked(arguments: Any, where: tuple[str, ...]) -> Masked:
    return mask(arguments, patterns(where), BOX, bytes)


def told(call: Call, facts: Facts, bundle: Bundle, retelling: Retelling | None) -> list[object]:
    """All that follows from a call: what is decided, sent, written and answered."""
    checked = engine.check(call, facts, bundle)
    decision = checked if isinstance(checked, Refusal) else engine.decide(checked, facts, bundle)
    found: list[object] = []
    if not isinstance(checked, Refusal):
        plain = [(each.operation.key, each.arguments, each.request) for each in (checked, *checked.also)]
        found += [repr(plain), total(judged_json(checked, masked)), call_digest(checked)]
    if isinstance(decision, Permit):
        return [*found, decision.statements, decision.shadow, decision.read, decision.asks]
    for disclosure in ("explain", "hide"):
        said = disclosed(decision, disclosure, call.principal, bundle)  # type: ignore[arg-type]
        answered = Refused(said)
        found.append(
            render(answered, call.id, bundle)
            if retelling is None
            else retelling.render(answered, call.id, bundle, bodiless=False)
        )
    shown = asked_json(call, decision) if isinstance(checked, Refusal) else None
    operation = decision.operation.key if decision.operation else None
    return [*found, repr(decision._replace(operation=None)), operation, shown]


def alike(line: tuple[str, str]) -> Iterator[Asking]:
    """A call, and others that differ from it in one thing each."""
    for body in (b"", b'{"n":1}', b"n=1"):
        first = Wire(*line, "n=1" if line[0] == "GET" else "", PLAIN, body)
        wires = (
            *(first._replace(body=each) for each in BODIES),
            *(first._replace(headers=each) for each in HEADERS),
            *(first._replace(query=each) for each in QUERIES),
        )
        yield from ((CALLERS[0], wire, FACTS[0]) for wire in wires)
        yield from ((who, first, FACTS[0]) for who in CALLERS)
        yield from ((CALLERS[2], first, facts) for facts in FACTS)


def test_what_is_remembered_is_what_would_be_found_anew(bundle: Bundle) -> None:
    """INVARIANT: no call gets what another one was told, however alike they are, and none changes what others share."""
    asked = [each for line in LINES for each in alike(line)]
    asked += [(who, each, facts) for each in NAMED for who in CALLERS[:3] for facts in FACTS[:2]]
    calls = [(Call("call-1", 7, who, each), facts) for who, each, facts in asked]
    anew = [told(*each, forgetful(bundle), None) for each in calls]
    kept, retelling = forgetful(bundle), Retelling()

    for order in (1, -1, 1):  # as each follows another, and each is followed by another
        for call, expected in zip(calls[::order], anew[::order], strict=True):
            assert expected == told(*call, kept, retelling)
