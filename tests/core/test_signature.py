"""Signatures: what is said when arguments do not fit, what is filled in, and what may be shown."""

from __future__ import annotations

from typing import Any

import pytest
from tests.signing import arguments, body, parameter, posted, query, refused, signature

from toolgate.core.model import Violation, Wire
from toolgate.core.signature import Decoded, Rejected

METRIC = {
    "type": "object",
    "required": ["metric"],
    "additionalProperties": False,
    "properties": {
        "metric": {"type": "string", "enum": ["cpu", "memory"]},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        "secret": {"type": "string", "format": "password", "maxLength": 3},
        "id": {"type": "string", "readOnly": True},
        "when": {"type": "string", "format": "date-time"},
        "code": {"type": "string", "pattern": "^[a-z]+$"},
        "step": {"type": "number", "multipleOf": 0.01},
        "choice": {
            "oneOf": [
                {"type": "integer"},
                {
                    "type": "object",
                    "required": ["kind"],
                    "properties": {"kind": {"enum": ["a"]}, "n": {"type": "integer"}},
                },
            ]
        },
    },
}
SAID = [
    (b"{}", Violation("/body/metric", "required", "`metric` is missing")),
    (
        b'{"metric":"cpuu"}',
        Violation(
            "/body/metric",
            "enum",
            "`cpuu` is not one of the allowed values; did you mean `cpu`?",
            ["cpu", "memory"],
            "cpu",
        ),
    ),
    (b'{"metric":"cpu","limit":500}', Violation("/body/limit", "maximum", "`500` is more than 100", 100)),
    (b'{"metric":"cpu","limit":"5"}', Violation("/body/limit", "type", "`5` must be a whole number", ["integer"])),
    (b'{"metric":"cpu","limit":true}', Violation("/body/limit", "type", "`true` must be a whole number", ["integer"])),
    (
        b'{"metric":"cpu","secret":"hunter2"}',
        Violation("/body/secret", "maxLength", "the value is longer than 3 characters", 3),
    ),
    (
        b'{"metric":"cpu","id":"x"}',
        Violation(
            "/body/id", "forbidden", "this field is not accepted here (it is read-only or excluded); leave it out"
        ),
    ),
    (
        b'{"metric":"cpu","when":"today"}',
        Violation("/body/when", "format", "`today` is not in the format `date-time`", "date-time"),
    ),
    (
        b'{"metric":"cpu","code":"A\\n`B"}',
        Violation("/body/code", "pattern", "`A\\u000a'B` does not match the pattern `^[a-z]+$`", "^[a-z]+$"),
    ),
    (
        b'{"metric":"cpu","choice":{"kind":"a","n":"x"}}',
        Violation("/body/choice/n", "type", "`x` must be a whole number", ["integer"]),
    ),
    (
        b'{"metric":"cpu","choice":"x"}',
        Violation("/body/choice", "type", "`x` must be a whole number or an object", ["integer", "object"]),
    ),
    (
        b'{"metric":"cpu","limti":1}',
        Violation(
            "/body/limti",
            "unknown",
            "`limti` is not a field of `/body`; did you mean `limit`?",
            ["choice", "code", "limit", "metric", "secret", "step", "when"],
            "limit",
        ),
    ),
]


@pytest.mark.parametrize(("content", "violation"), SAID)
def test_a_violation_says_where_what_and_what_to_do(content: bytes, violation: Violation) -> None:
    """Each violation is one lower-case sentence with the caller's text in backticks, and never a secret."""
    outcome = posted(signature(body(METRIC)), content)
    assert Rejected("arguments.invalid", f"`{violation.path}`: {violation.message}", (violation,)) == outcome


def test_everything_wrong_is_said_at_once() -> None:
    """Names, path, query and body are judged together; the detail names the first and counts the rest."""
    made = signature({"parameters": [parameter("limit", "query", {"type": "integer"})], **body(METRIC)})
    wire = Wire("POST", "", "limt=1&limit=x", {"content-type": "application/json"}, b'{"limit":0}')
    outcome = made.decode(wire, [])
    assert isinstance(outcome, Rejected)
    assert {"/limt", "/limit", "/body/limit", "/body/metric"} == {each.path for each in outcome.violations}
    assert outcome.detail.endswith("(and 3 more)")


def test_multiples_are_exact() -> None:
    """19.99 is a multiple of 0.01 (SAFETY F15)."""
    made = signature(body(METRIC))
    assert 19.99 == arguments(posted(made, b'{"metric":"cpu","step":19.99}'))["body"]["step"]
    assert [("/body/step", "multipleOf")] == refused(posted(made, b'{"metric":"cpu","step":19.995}'))


def test_at_most_twenty_violations_are_said() -> None:
    """A thousand wrong elements are twenty violations."""
    made = signature(body({"type": "array", "items": {"type": "string"}}))
    assert 20 == len(refused(posted(made, b"[" + b"1," * 999 + b"1]")))


@pytest.mark.parametrize("spoiled", [0, 150_000])
def test_a_large_wrong_body_is_explained_at_a_bounded_cost(spoiled: int) -> None:
    """Only so much of a value is explained; where nothing of that is wrong, the answer says so."""
    made = signature(body({"type": "array", "items": {"type": "string"}}))
    elements = [b'"a"'] * 150_001
    elements[spoiled] = b"1"
    outcome = posted(made, b"[" + b",".join(elements) + b"]")
    assert [("/body/0", "type") if spoiled == 0 else ("", "schema")] == refused(outcome)


def test_a_large_value_is_not_accused_of_what_was_left_out() -> None:
    """What is cut off for explaining is not reported as missing."""
    schema = {"type": "object", "required": ["z"], "properties": {"list": {"minItems": 2000}, "n": {"type": "integer"}}}
    listed = b'{"n":"x","list":[' + b",".join([b"1"] * 3000) + b'],"z":1}'
    assert [("/body/n", "type")] == refused(posted(signature(body(schema)), listed))


def test_defaults_are_filled_in_judged_and_sent() -> None:
    """The arguments after defaults are what policies see and what the upstream gets (SAFETY F18)."""
    made = signature(
        {
            "parameters": [
                parameter("page", "query", {"type": "integer", "default": 1}),
                parameter("dry", "query", {"type": "boolean", "default": True}),
                parameter("wrong", "query", {"type": "integer", "default": "x"}),
                parameter("X-V", "header", {"type": "string", "default": "2"}),
            ]
        }
    )
    outcome = query(made, "dry=false")
    assert isinstance(outcome, Decoded)
    assert {"dry": False, "page": 1, "X-V": "2"} == outcome.arguments
    assert ("/x?page=1&dry=false", (("X-V", "2"),)) == (outcome.request.target, outcome.request.headers)
    assert outcome == made.accept({"dry": False})


def test_the_query_of_a_path_key_is_always_sent() -> None:
    """`/responses?beta=true` keeps its own query, which is no parameter."""
    made = signature({"parameters": [parameter("n", "query", {"type": "integer"})]}, template="/r/compact?beta=true#x")
    outcome = query(made, "n=1&beta=true")
    assert isinstance(outcome, Decoded)
    assert ({"n": 1}, "/r/compact?beta=true&n=1") == (outcome.arguments, outcome.request.target)
    assert outcome == made.accept({"n": 1})
    assert isinstance(query(made, "n=1"), Rejected)


def test_an_api_key_in_the_query_is_the_gates_own() -> None:
    """A security scheme's query key from the agent is dropped, not refused and not sent."""
    document = {"components": {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}}}
    outcome = query(signature({}, document=document), "api_key=agent")
    assert isinstance(outcome, Decoded)
    assert ({}, "/x") == (outcome.arguments, outcome.request.target)


def test_undeclared_headers_are_not_sent() -> None:
    """Only what is declared and what the body needs goes up."""
    made = signature(body({}))
    wire = Wire("POST", "", "", {"content-type": "application/json", "authorization": "x", "x-evil": "y"}, b"1")
    outcome = made.decode(wire, [])
    assert isinstance(outcome, Decoded)
    assert (("content-type", "application/json"),) == outcome.request.headers


def test_masks_point_at_every_secret() -> None:
    """Passwords, write-only and marked places are masked, through references, arrays, maps and alternatives."""
    document = {
        "components": {
            "schemas": {
                "Account": {
                    "type": "object",
                    "properties": {
                        "pin": {"type": "string", "writeOnly": True},
                        "next": {"$ref": "#/components/schemas/Node"},
                    },
                },
                "Node": {
                    "type": "object",
                    "properties": {
                        "key": {"type": "string", "format": "password"},
                        "child": {"$ref": "#/components/schemas/Node"},
                    },
                },
            }
        }
    }
    schema = {
        "type": "object",
        "properties": {
            "accounts": {"type": "array", "items": {"$ref": "#/components/schemas/Account"}},
            "env": {"type": "object", "additionalProperties": {"type": "string", "x-toolgate-mask": True}},
            "either": {"oneOf": [{"type": "integer"}, {"type": "string", "format": "password"}]},
            "plain": {"type": "string"},
        },
    }
    made = signature(
        {"parameters": [parameter("token", "query", {"type": "string", "format": "password"})], **body(schema)},
        document=document,
    )
    assert (
        "/body/accounts/*/next/child",
        "/body/accounts/*/next/key",
        "/body/accounts/*/pin",
        "/body/either",
        "/body/env/*",
        "/token",
    ) == made.masks


@pytest.mark.parametrize("secret", ["hunter2", {"a": "hunter2"}, ["hunter2"]])
def test_a_secret_is_never_echoed(secret: Any) -> None:
    """Whatever is wrong at or below a masked place, its value is not in the answer."""
    schema = {"type": "object", "properties": {"s": {"type": "integer", "x-toolgate-mask": True}}}
    made = signature(
        {"parameters": [parameter("t", "query", {"type": "integer", "x-toolgate-mask": True})], **body(schema)}
    )
    assert "hunter2" not in repr(made.accept({"t": "hunter2", "body": {"s": secret}}))


SECRET = {"type": "string", "x-toolgate-mask": True}


@pytest.mark.parametrize(
    ("path", "raw", "headers", "content"),
    [
        ("hunter2%5C", "", {}, b""),
        ("hunter2%252f", "", {}, b""),
        ("a", "t=%ffhunter2", {}, b""),
        ("a", "list=hunter2,1,hunter2,2", {}, b""),
        ("a", "", {"cookie": "hunter2"}, b""),
        ("a", "", {}, b'{"hunter2":1,"hunter2":2}'),
        ("a", "", {}, b'{"Hunter2":1,"hunter2":2}'),
        ("a", "", {}, b"hunter2"),
    ],
)
def test_what_cannot_be_read_is_not_quoted_where_there_are_secrets(
    path: str, raw: str, headers: dict[str, str], content: bytes
) -> None:
    """L10: a refusal's words are journaled too, and text that could not be read may be part of a secret."""
    flat = {"type": "object", "properties": {"hunter2": {"type": "integer"}}}
    declared = [
        parameter("id", "path", SECRET), parameter("t", "query", SECRET), parameter("c", "cookie", SECRET),
        parameter("list", "query", flat, explode=False),
    ]  # fmt: skip
    made = signature({"parameters": declared, **body({"type": "object"})}, template="/x/{id}")
    outcome = made.decode(Wire("POST", "", raw, {"content-type": "application/json", **headers}, content), [path])
    assert isinstance(outcome, Rejected)
    assert "hunter2" not in repr(outcome).lower()


def test_the_shown_schema_stands_alone() -> None:
    """The arguments' schema has its definitions inside, leaves out what is read-only, and shows files as base64."""
    document = {
        "components": {
            "schemas": {
                "Tree": {
                    "type": "object",
                    "description": "a tree",
                    "properties": {
                        "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
                        "id": {"type": "string", "readOnly": True},
                    },
                },
                "Unused": {"type": "string"},
            }
        }
    }
    made = signature(
        {
            "parameters": [
                parameter("n", "query", {"type": "integer", "nullable": True, "exclusiveMinimum": True, "minimum": 0})
            ],
            **body({"$ref": "#/components/schemas/Tree"}),
        },
        document=document,
    )
    assert {
        "type": "object",
        "properties": {
            "n": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "body": {"$ref": "#/$defs/Tree"},
        },
        "required": ["body"],
        "additionalProperties": False,
        "$defs": {
            "Tree": {
                "type": "object",
                "description": "a tree",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            }
        },
    } == made.schema()
    upload = signature(
        body({"type": "object", "properties": {"f": {"type": "string", "format": "binary"}}}, "multipart/form-data")
    )
    assert "$base64" in repr(upload.schema())
    both = {"application/json": {"schema": {"type": "object"}}, "application/x+json": {"schema": {"type": "object"}}}
    twice = signature({"requestBody": {"required": True, "content": both}})
    assert {"type": "object"} == twice.schema()["properties"]["body"]
    assert made.schema() is made.schema()


def test_a_recursive_schema_judges_any_depth() -> None:
    """A definition that contains itself is judged as deep as the value goes."""
    tree = {"type": "object", "properties": {"c": {"type": "array", "items": {"$ref": "#/components/schemas/T"}}}}
    made = signature(body({"$ref": "#/components/schemas/T"}), document={"components": {"schemas": {"T": tree}}})
    assert {"body": {"c": [{"c": []}]}} == arguments(posted(made, b'{"c":[{"c":[]}]}'))
    assert [("/body/c/0/c/0", "type")] == refused(posted(made, b'{"c":[{"c":[1]}]}'))


def test_unknown_arguments_by_name_are_refused_with_the_nearest() -> None:
    """A call by name is held to the declared names."""
    outcome = signature({"parameters": [parameter("cluster", "query", {"type": "string"})]}).accept({"clustre": "eu"})
    assert isinstance(outcome, Rejected)
    assert "`/clustre`: `clustre` is not a field of the arguments; did you mean `cluster`?" == outcome.detail
