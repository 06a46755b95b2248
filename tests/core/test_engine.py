"""Check and decide: what no golden case of the worked example shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.policies import permit_all

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.explanation import STAGES, explain
from toolgate.core.model import (
    Call,
    Facts,
    Named,
    Permit,
    Principal,
    Refusal,
    Situation,
    ValidCall,
    Wire,
)
from toolgate.load.bundle import Sources, load

TOOL = """\
tool: box
openapi: openapi.yaml
forward_headers: [Accept-Language, X-Trace]
environments:
  prod:
    upstream: "http://127.0.0.1:9"
    allow: [get*, rename, health, softLock, login]
"""

OPENAPI = """\
openapi: 3.0.3
info: {title: box, version: "1"}
paths:
  /files/{id}:
    get:
      operationId: getFile
      parameters:
        - {name: id, in: path, required: true, schema: {type: string}}
        - {name: X-Trace, in: header, schema: {type: string, maxLength: 8}}
      responses: {"200": {description: ok}}
  /things:
    post:
      operationId: getThings
      requestBody: {content: {application/json: {schema: {type: object}}}}
      responses: {"200": {description: ok}}
  /logins:
    post:
      operationId: login
      requestBody:
        content: {application/json: {schema: {type: object, properties: {password: {type: string, format: password}}}}}
      responses: {"200": {description: ok}}
  /files/recent:
    get: {operationId: recent, responses: {"200": {description: ok}}}
  /files/health:
    get: {operationId: health, responses: {"200": {description: ok}}}
  "/files/{id}#rename":
    put:
      operationId: rename
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      requestBody: &body
        required: true
        content:
          application/json:
            schema: {type: object, required: [name], properties: {name: {type: string}}}
      responses: {"200": {description: ok}}
  "/locks#soft":
    post: {operationId: softLock, parameters: [{name: X-How, in: header, schema: {type: string}}], responses: {"200": {description: ok}}}
  "/locks#hard":
    post: {operationId: hardLock, parameters: [{name: X-How, in: header, required: true, schema: {enum: [hard]}}], responses: {"200": {description: ok}}}
  "/files/{id}#share":
    put:
      operationId: share
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, required: [link], properties: {link: {type: object}}}
      responses: {"200": {description: ok}}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("box")
    (folder / "box").mkdir()
    (folder / "box" / "tool.yaml").write_text(TOOL)
    (folder / "box" / "openapi.yaml").write_text(OPENAPI)
    return load(Sources(folder, permit_all(tmp_path_factory.mktemp("policies")), "prod", ("prod",)))


def call(asked: Wire | Named) -> Call:
    return Call("c1", 0, Principal("agent"), asked)


def put(body: bytes) -> Call:
    return call(Wire("PUT", "/box/files/7", headers={"content-type": "application/json"}, body=body))


def test_a_request_that_means_two_operations_needs_both_allowed(box):
    """SECURITY: keys that differ only by `#…` are one request; the denied twin is not reached through the allowed one."""
    checked = engine.check(put(b'{"name":"a","link":{}}'), Facts(), box)

    assert isinstance(checked, Refusal)
    assert [checked.code.code, checked.operation.key] == ["tool.disallowed", "box.share"]


def test_a_request_that_means_only_the_allowed_operation_is_that_one(box):
    """Of operations on one path the arguments tell which is meant."""
    checked = engine.check(put(b'{"name":"a"}'), Facts(), box)

    assert checked.operation.key == "box.rename"


def test_a_request_that_means_none_of_them_is_told_by_the_allowed_one(box):
    """When nothing fits, the agent learns what the operation it may use would take."""
    checked = engine.check(put(b"{}"), Facts(), box)

    assert [checked.code.code, checked.operation.key] == ["arguments.invalid", "box.rename"]


def test_headers_of_the_agent_travel_only_where_the_tool_says_so(box):
    """C07: the allow-list of forwarded headers is the toolspec's; a declared parameter is judged, not forwarded."""
    headers = {"accept-language": "de", "x-trace": "t1", "x-other": "no", "cookie": "no"}

    checked = engine.check(call(Wire("GET", "/box/files/7", headers=headers)), Facts(), box)

    assert dict(checked.request.headers) == {"X-Trace": "t1", "accept-language": "de"}
    assert checked.arguments["X-Trace"] == "t1"


def test_an_explanation_names_the_stage_that_refused_and_those_not_reached(box):
    """Reasons come out of the evaluation: what stood before it passed, what stands after was not asked."""
    explanation = explain(call(Named("box.share", {})), Facts(), box)

    assert [(stage.stage, stage.result) for stage in explanation.stages] == [
        ("frozen", "passed"),
        ("tool", "passed"),
        ("environment", "refused"),
        *((stage, "not reached") for stage in STAGES[3:]),
    ]


def test_an_explanation_of_a_permit_passed_every_stage(box):
    """Explaining decides as calling does."""
    explanation = explain(call(Named("box.getFile", {"id": "7"})), Facts(), box)

    assert isinstance(explanation.decision, Permit)
    assert {stage.result for stage in explanation.stages} == {"passed"}


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "judged"),
    [
        ("box.getFile", {"id": "recent"}, "tool.disallowed", "box.recent"),
        ("box.getFile", {"id": "health"}, "arguments.invalid", "box.getFile"),
        ("box.rename", {"id": "7", "body": {"name": "a", "link": {}}}, "tool.disallowed", "box.share"),
        ("box.softLock", {"X-How": "hard"}, "tool.disallowed", "box.hardLock"),
    ],
)
def test_a_call_by_name_means_the_named_operation_on_the_wire_too(box, operation, arguments, code, judged):
    """SECURITY: arguments cannot turn an allowed operation's request into another operation's."""
    checked = engine.check(call(Named(operation, arguments)), Facts(), box)

    assert [checked.code.code, checked.operation.key] == [code, judged]


def test_a_call_by_name_is_not_refused_for_a_twin_it_does_not_satisfy(box):
    """Only what the request really means counts."""
    checked = engine.check(call(Named("box.rename", {"id": "7", "body": {"name": "a"}})), Facts(), box)

    assert checked.operation.key == "box.rename"


def test_an_unknown_name_is_shown_short_and_on_one_line(box):
    """A name is the caller's text: what the answer and the journal quote of it is bounded and disarmed."""
    checked = engine.check(call(Named("box.\n" + "x" * 100_000, {})), Facts(), box)

    assert checked.code.code == "tool.unknown"
    assert len(checked.detail) < 120
    assert "\n" not in checked.detail


def test_the_same_bad_request_is_refused_again_alike(box):
    """A storm of retries is answered from memory, with the very same refusal."""
    first, second, other = (
        engine.check(call(Wire("POST", "/box/things", query)), Facts(), box) for query in ("x=1", "x=1", "y=1")
    )

    assert second is first
    assert [each.violations[0].path for each in (first, other)] == ["/x", "/y"]


@pytest.mark.parametrize("trace", ["a header beyond its length", "fits"])
def test_what_headers_decide_is_never_answered_from_memory(box, trace):
    """The memory's key is all that the decision read; an operation that reads headers is judged each time."""
    engine.check(call(Wire("GET", "/box/files/9", headers={"x-trace": "much too long for it"})), Facts(), box)

    checked = engine.check(call(Wire("GET", "/box/files/9", headers={"x-trace": trace})), Facts(), box)

    assert isinstance(checked, Refusal) == (trace != "fits")


def things(content: bytes, **headers: str) -> Call:
    told = {"content-type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    return call(Wire("POST", "/box/things", headers=told, body=content))


def test_the_same_good_request_is_judged_once(box):
    """Agents poll: what fitted fits again, each time as a call of its own."""
    first, again = things(b'{"a":1}'), things(b'{"a":1}')

    checked, repeated = (engine.check(each, Facts(), box) for each in (first, again))

    assert (checked.request, checked.operation) == (repeated.request, repeated.operation)
    assert repeated.arguments is checked.arguments
    assert repeated.call is again


def test_what_is_remembered_does_not_depend_on_what_is_forwarded(box):
    """Headers that are passed on unread are those of the call, not of the one that was remembered."""
    told = [
        engine.check(things(b'{"b":1}', accept_language=each), Facts(), box).request.headers for each in ("de", "en")
    ]

    assert ["de", "en"] == [dict(each)["accept-language"] for each in told]


def test_readiness_is_asked_of_a_remembered_request_too(box):
    """What depends on facts is never remembered."""
    engine.check(things(b'{"c":1}'), Facts(), box)

    checked = engine.check(things(b'{"c":1}'), Facts(situation=Situation(unready={"box": "no credential"})), box)

    assert checked.code.code == "environment.not_ready"


def test_a_secret_is_not_remembered(box):
    """SECURITY: arguments that may hold a secret are gone when their call is."""
    asked = Wire("POST", "/box/logins", headers={"content-type": "application/json"}, body=b'{"password":"hunter2"}')
    checked = engine.check(call(asked), Facts(), box)

    assert isinstance(checked, ValidCall)
    assert box.catalog.judgements.get(asked) is None


def test_twins_are_judged_each_time(box):
    """SECURITY: which of several operations a request means is never remembered as one of them."""
    wire = put(b'{"name":"a"}').asked
    engine.check(call(wire), Facts(), box)

    assert box.catalog.judgements.get(wire) is None
