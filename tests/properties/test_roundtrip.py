"""What was judged is what is sent: every style reads back what it wrote, and no bytes are too odd for a typed answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.signing import parameter, refused, signature

from toolgate.core.model import UpstreamRequest, Wire
from toolgate.core.signature import Decoded, Rejected, Signature

STYLES = (
    *(("path", style, explode) for style in ("simple", "label", "matrix") for explode in (True, False)),
    *(("query", style, explode) for style in ("form", "spaceDelimited", "pipeDelimited") for explode in (True, False)),
    ("query", "deepObject", True),
    ("header", "simple", True),
    ("header", "simple", False),
    ("cookie", "form", True),
    ("cookie", "form", False),
)
SCALARS: dict[str, tuple[dict[str, Any], st.SearchStrategy[Any]]] = {
    "string": ({"type": "string"}, st.text(max_size=12)),
    "word": ({"type": "string"}, st.text("abcXYZ019-_.~", min_size=1, max_size=8)),
    "integer": ({"type": "integer"}, st.integers(-(2**63), 2**64 - 1)),
    "number": ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    "boolean": ({"type": "boolean"}, st.booleans()),
    "nullable": ({"type": "integer", "nullable": True}, st.none() | st.integers(-9, 9)),
    "union": (
        {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]},
        st.text(max_size=6) | st.integers(-99, 99) | st.booleans(),
    ),
}


@st.composite
def described(draw: st.DrawFn, *, depth: int) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """Draw a schema, and what values fit it."""
    kind = draw(st.sampled_from(["scalar", "scalar", "array", "object"] if depth else ["scalar"]))
    if kind == "array":
        schema, values = draw(described(depth=depth - 1))
        return {"type": "array", "items": schema}, st.lists(values, max_size=3)
    if kind == "object":
        fields = draw(
            st.dictionaries(st.sampled_from(["a", "b", "long name", "é"]), described(depth=depth - 1), max_size=3)
        )
        schema = {"type": "object", "properties": {name: each for name, (each, _) in fields.items()}}
        return schema, st.fixed_dictionaries({}, optional={name: values for name, (_, values) in fields.items()})
    return SCALARS[draw(st.sampled_from(sorted(SCALARS)))]


@st.composite
def calls(draw: st.DrawFn) -> tuple[Signature, dict[str, Any]]:
    """Draw a signature of a few parameters, and arguments that fit their schemas."""
    chosen = draw(st.lists(st.sampled_from(STYLES), min_size=1, max_size=3))
    parameters, values, path = [], {}, "/x"
    for index, (location, style, explode) in enumerate(chosen):
        name = f"p{index}"
        schema, fitting = draw(described(depth=3 if style == "deepObject" else 1))
        parameters.append(parameter(name, location, schema, style=style, explode=explode))
        values[name] = draw(fitting)
        if location == "path":
            path += f"/{{{name}}}"
    return signature({"parameters": parameters}, template=path, method="get"), values


@st.composite
def plain_calls(draw: st.DrawFn) -> tuple[Signature, str, list[str]]:
    """Draw a signature of scalars, and a query and path values with hardly anything that must be quoted."""
    parameters, path, segments, pairs = [], "/x", [], []
    texts = st.from_regex(r"[a-c0-9._~:/@,-]{0,4}", fullmatch=True) | st.sampled_from(
        ["null", "true", "1.10", "-0", "7"]
    )
    for index in range(draw(st.integers(1, 4))):
        name, is_path = f"p{index}", draw(st.booleans())
        schema, _ = SCALARS[draw(st.sampled_from(sorted(SCALARS)))]
        parameters.append(parameter(name, "path" if is_path else "query", schema))
        if is_path:
            path += f"/{{{name}}}"
            segments.append(draw(texts))
        else:
            pairs.append(f"{name}={draw(texts)}")
    pairs += draw(st.lists(st.sampled_from(["p0=1", "p3=a", "q=1", "p1", "p1=a=b", ""]), max_size=1))
    return (
        signature({"parameters": parameters}, template=path, method="get"),
        "&".join(draw(st.permutations(pairs))),
        segments,
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain_calls())
def test_what_is_sent_as_it_came_is_what_would_be_written(call: tuple[Signature, str, list[str]]) -> None:
    """A request whose characters are needlessly encoded, so that it must be read and written, says the same as a plain one."""
    made, query, segments = call
    encoded = re.sub(r"(?<=[=])([A-Za-z0-9])|\b(p)(?=\d=)", lambda found: f"%{ord(found[0]):02X}", query)
    disguised = [re.sub(r"[A-Za-z0-9]", lambda found: f"%{ord(found[0]):02X}", each, count=1) for each in segments]

    assert made.decode(Wire("GET", "", encoded), disguised) == made.decode(Wire("GET", "", query), segments)


def as_wire(request: UpstreamRequest) -> Wire:
    """Return what a gate behind this one would see."""
    path, _, query = request.target.partition("?")
    return Wire(
        request.method, path, query, {name.lower(): text for name, text in request.headers}, request.body or b""
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(calls())
def test_what_is_written_reads_back_as_what_was_judged(call: tuple[Signature, dict[str, Any]]) -> None:
    """An accepted arguments object decodes from its own request to itself, and to the same bytes again."""
    made, values = call
    outcome = made.accept(values)
    if isinstance(outcome, Rejected):
        # Values that fit their schema are refused only because their style cannot hold them.
        assert {each.keyword for each in outcome.violations} == {"style"}, outcome
        return
    wire = as_wire(outcome.request)
    assert made.decode(wire, wire.path.split("/")[2:]) == outcome


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    calls(),
    st.text(st.characters(max_codepoint=0x7F), max_size=60)
    | st.from_regex(r"([ap]\d?(\[[a-z0-9]*\]){0,3}=[^&]{0,4}&?){0,5}", fullmatch=True),
    st.lists(st.text(max_size=8), min_size=3, max_size=3),
    st.dictionaries(
        st.sampled_from(["p0", "p1", "p2", "cookie", "content-type", "content-encoding"]), st.text(max_size=20)
    ),
    st.binary(max_size=40),
)
def test_any_wire_gets_a_typed_answer(
    call: tuple[Signature, dict[str, Any]], raw: str, segments: list[str], headers: dict[str, str], content: bytes
) -> None:
    """No query, path, header or body makes decoding raise; what it accepts, it reads back from what it sends."""
    made, _ = call
    count = sum(1 for each in made.parameters if each.location == "path")
    outcome = made.decode(Wire("GET", "", raw, headers, content), segments[:count])
    assert isinstance(outcome, (Decoded, Rejected))
    if isinstance(outcome, Decoded):
        wire = as_wire(outcome.request)
        assert made.decode(wire, wire.path.split("/")[2:]) == outcome


PROPERTIES = {
    "name": {"type": "string"},
    "count": {"type": "integer"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "deep": {
        "type": "object",
        "properties": {"list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "number"}}}}},
        "additionalProperties": {"type": "string"},
    },
    "json": {"type": "object"},
}
FORM = {"type": "object", "properties": PROPERTIES}
BODIES = {
    "application/json": {"schema": {}},
    "application/x-www-form-urlencoded": {
        "schema": FORM,
        "encoding": {"deep": {"style": "deepObject", "explode": True}},
    },
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {**PROPERTIES, "file": {"type": "string", "format": "binary"}},
        }
    },
    "text/plain": {"schema": {"type": "string"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}


@pytest.fixture(scope="module")
def sender() -> Signature:
    return signature({"requestBody": {"content": BODIES}})


MULTIPART = st.lists(
    st.sampled_from(
        [
            b"--b",
            b"--b--",
            b"\r\n",
            b"\r\n\r\n",
            b'Content-Disposition: form-data; name="name"',
            b'; filename="f"',
            b"\xff",
            b"x",
            b"--",
        ]
    ),
    max_size=14,
).map(b"".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*BODIES, "multipart/form-data; boundary=b", "application/json; charset=utf-16", "x", ""]),
    st.binary(max_size=60)
    | MULTIPART
    | st.from_regex(rb'[\[\]{}",:0-9eE.+a-z\\-]{0,30}', fullmatch=True)
    | st.from_regex(rb"((name|count|tags|deep(\[[a-z0-9]*\]){1,3}|json)=[^&]{0,4}&?){0,5}", fullmatch=True),
)
def test_any_body_gets_a_typed_answer(sender: Signature, content_type: str, content: bytes) -> None:
    """No body makes decoding raise; what it accepts, it reads back from the bytes it sends."""
    outcome = sender.decode(Wire("POST", "", "", {"content-type": content_type}, content), [])
    assert isinstance(outcome, (Decoded, Rejected))
    if isinstance(outcome, Decoded):
        again = sender.decode(as_wire(outcome.request), [])
        assert again == outcome


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
SHALLOW = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(max_size=4), LEAVES, max_size=3)
NAMED = st.dictionaries(st.sampled_from([*PROPERTIES, "file", "$base64", "filename", "zz"]), SHALLOW, max_size=4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["body", "body", "x"]), SHALLOW | NAMED, max_size=2))
def test_any_arguments_object_gets_a_typed_answer(sender: Signature, values: dict[str, Any]) -> None:
    """No arguments object makes a call by name raise, and what is accepted decodes from its own request to itself."""
    outcome = sender.accept(values)
    assert isinstance(outcome, (Decoded, Rejected))
    if isinstance(outcome, Decoded):
        assert sender.decode(as_wire(outcome.request), []) == outcome


def test_every_segment_of_the_template_survives() -> None:
    """The path that is sent has exactly the template's segments, whatever the value."""
    made = signature({"parameters": [parameter("id", "path", {"type": "string"})]}, template="/users/{id}/orders")
    for value in ("1", "a;b", "a?x=1", "a#b", "50%", "%zz", "a b", "é"):
        outcome = made.accept({"id": value})
        assert isinstance(outcome, Decoded)
        assert re.fullmatch(r"/users/[A-Za-z0-9\-._~%]+/orders", outcome.request.target)


@pytest.mark.parametrize(
    "value", ["", ".", "..", "..\\", "1/../../admin", "%2e%2e", "%2E%2E", "a%2fb", "%252e", "a\nb"]
)
def test_what_would_be_another_path_is_refused_by_name_too(value: str) -> None:
    """B04, B15: what the wire gate refuses as percent-encoded twice cannot be written by naming it either."""
    made = signature({"parameters": [parameter("id", "path", {"type": "string"})]}, template="/users/{id}/orders")
    assert [("/id", "style")] == refused(made.accept({"id": value}))
