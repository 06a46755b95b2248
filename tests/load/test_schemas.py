"""Dialects: what each version of OpenAPI means, and what is said of what cannot be enforced."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.signing import arguments, body, parameter, posted, query, refused, signature

from toolgate.core.model import Wire
from toolgate.core.signature import Decoded
from toolgate.load.notes import Note
from toolgate.load.schemas import Schemas


def fits(schema: Any, value: Any, version: str = "3.0", **more: Any) -> bool:
    """Whether a JSON body of one value is accepted by a schema."""
    return isinstance(posted(signature(body(schema), version=version, **more), orjson.dumps(value)), Decoded)


VERDICTS = [
    ("3.0", {"type": "string", "nullable": True}, None, True),
    ("3.0", {"type": "string", "enum": ["a"], "nullable": True}, None, True),
    ("3.0", {"nullable": True, "allOf": [{"type": "string"}]}, None, True),
    ("3.0", {"type": "string"}, None, False),
    ("3.1", {"type": ["string", "null"]}, None, True),
    ("3.0", {"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, False),
    ("3.0", {"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 2, True),
    ("3.0", {"type": "integer", "maximum": 9, "exclusiveMaximum": False}, 9, True),
    ("3.1", {"exclusiveMinimum": 1}, 1, False),
    ("3.1", {"const": "a"}, "b", False),
    ("3.1", {"prefixItems": [{"type": "string"}], "items": False}, ["a", 1], False),
    ("3.1", {"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, False),
    ("3.1", {"patternProperties": {"^x-": {"type": "integer"}}}, {"x-a": "s"}, False),
    ("3.1", {"dependentRequired": {"a": ["b"]}}, {"a": 1}, False),
    ("3.1", {"type": "object", "unevaluatedProperties": False, "allOf": [{"properties": {"a": {}}}]}, {"b": 1}, False),
    ("3.0", {"type": "integer", "format": "int32"}, 2**31, False),
    ("3.0", {"type": "integer", "format": "int32"}, -(2**31), True),
    ("3.0", {"type": "integer", "format": "int64"}, 2**63, False),
    ("3.0", {"type": "integer", "format": "uint32"}, -1, False),
    ("3.0", {"type": "integer", "format": "int32", "maximum": 5}, 6, False),
    ("3.0", {"type": "number", "format": "float"}, 1e39, False),
    ("3.0", {"type": "string", "format": "int64"}, "9223372036854775808", False),
    ("3.0", {"type": "string", "format": "int64"}, "9223372036854775807", True),
    ("3.0", {"type": "string", "format": "byte"}, "aGk=", True),
    ("3.0", {"type": "string", "format": "byte"}, "a*", False),
    ("3.0", {"type": "string", "format": "uuid"}, "x", False),
    ("3.0", {"type": "string", "format": "date"}, "2026-02-30", False),
    ("3.0", {"type": "string", "format": "ipv4"}, "1.2.3", False),
    ("3.0", {"type": "string", "format": "made-up"}, "x", True),
    ("3.0", {"type": "integer"}, 1.0, True),
    ("3.0", {"type": "integer"}, 1.5, False),
    ("3.0", {"type": "integer"}, True, False),
    ("3.0", {"type": "integer"}, "1", False),
    ("3.0", {"pattern": r"^\d+$"}, "１２３", False),
    ("3.0", {"pattern": r"^\w+$"}, "аdmin", False),
    ("3.0", {"pattern": "^ok$"}, "ok\n", False),
    ("3.0", {"pattern": r"^[\w-\.]+$"}, "a-b.c", True),
    ("3.0", {"pattern": r"\Aab\Z"}, "ab", True),
    ("3.0", {"pattern": r"^(?=a)a.c$"}, "abc", True),
    ("3.0", {"pattern": r"^(?!x).*$"}, "xyz", False),
    ("3.0", {"pattern": r"^(?!x).*$"}, "y" * 2000, False),
    ("3.0", {"uniqueItems": True}, [1, 1], False),
    ("3.0", {"pattern": "ok"}, "evil ok evil", True),  # a pattern is searched for: JSON Schema says so (F03)
]


@pytest.mark.parametrize(("version", "schema", "value", "verdict"), VERDICTS)
def test_each_dialect_means_what_its_version_says(version: str, schema: Any, value: Any, verdict: bool) -> None:
    """Keywords are lowered to JSON Schema 2020-12 with the meaning they have where they stand."""
    assert verdict == fits(schema, value, version)


@pytest.mark.parametrize(
    ("schema", "value", "verdict"),
    [
        ({"uniqueItems": True}, [{"i": at} for at in range(50_000)], True),
        ({"uniqueItems": True}, [{"i": at % 49_999} for at in range(50_000)], False),
        ({"uniqueItems": True}, [[at] for at in range(50_000)], True),
        ({"enum": list(range(50_000))}, 49_999, True),
        ({"enum": [{"i": at} for at in range(50_000)]}, {"i": -1}, False),
        ({"items": {"anyOf": [{"const": at} for at in range(50)]}}, [50] * 10_000, False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {f"k{at}": at for at in range(50_000)}, True),
    ],
)
def test_wide_values_and_schemas_are_judged_at_once(schema: Any, value: Any, verdict: bool) -> None:
    """F14, E13, O07: no keyword compares everything with everything; the largest bodies take milliseconds."""
    assert verdict == fits(schema, value, "3.1")


def test_backtracking_is_bounded() -> None:
    """A pattern that explodes in other engines is refused quickly (SAFETY F12)."""
    assert not fits({"pattern": "^(a+)+$"}, "a" * 40 + "!")
    assert not fits({"pattern": r"^(a+)+\1(?=$)$"}, "a" * 900 + "!")


def test_siblings_of_a_reference_count_from_3_1_on() -> None:
    """3.0 ignores what stands beside `$ref`; 3.1 does not."""
    document = {"components": {"schemas": {"S": {"type": "string"}}}}
    schema = {"$ref": "#/components/schemas/S", "maxLength": 1}
    assert fits(schema, "abc", "3.0", document=document)
    assert not fits(schema, "abc", "3.1", document=document)


READ_ONLY = {
    "type": "object",
    "required": ["id", "name"],
    "properties": {"id": {"$ref": "#/components/schemas/Id"}, "name": {"type": "string"}},
}


def test_read_only_fields_are_neither_required_nor_accepted_in_a_request() -> None:
    """Read-only holds through references and allOf (SAFETY F17)."""
    document = {"components": {"schemas": {"Id": {"type": "string", "readOnly": True}, "Base": READ_ONLY}}}
    for schema in (READ_ONLY, {"allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id"]}]}):
        made = signature(body(schema), document=document)
        if schema is READ_ONLY:
            assert {"body": {"name": "x"}} == arguments(posted(made, b'{"name":"x"}'))
        assert ("/body/id", "forbidden") in refused(posted(made, b'{"name":"x","id":"1"}'))


CLOSED = [
    ({"properties": {"a": {}}}, {"b": 1}, False),
    ({"properties": {"a": {"properties": {"b": {}}}}}, {"a": {"c": 1}}, False),
    ({"type": "array", "items": {"properties": {"a": {}}}}, [{"b": 1}], False),
    ({"properties": {"a": {}}, "additionalProperties": True}, {"b": 1}, True),
    ({"type": "object"}, {"b": 1}, True),
    ({"allOf": [{"$ref": "#/components/schemas/A"}, {"properties": {"b": {}}}]}, {"a": 1, "b": 2}, True),
    ({"allOf": [{"$ref": "#/components/schemas/A"}, {"properties": {"b": {}}}]}, {"a": 1, "c": 2}, False),
    ({"$ref": "#/components/schemas/A"}, {"c": 2}, False),
    ({"oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "string"}]}, {"c": 2}, False),
    ({"properties": {"t": {}}, "oneOf": [{"required": ["a"], "properties": {"a": {}}}]}, {"t": 1, "a": 1}, True),
    (
        {"properties": {"t": {}}, "oneOf": [{"required": ["a"], "properties": {"a": {}}}]},
        {"t": 1, "a": 1, "z": 1},
        False,
    ),
]


@pytest.mark.parametrize(("schema", "value", "verdict"), CLOSED)
def test_closed_bodies_take_no_fields_beyond_those_named(schema: Any, value: Any, verdict: bool) -> None:
    """`closed_bodies` closes every object that names its fields, as a whole where it is composed (SAFETY F05)."""
    document = {"components": {"schemas": {"A": {"properties": {"a": {}}}}}}
    assert verdict == fits(schema, value, "3.0", document=document, closed_bodies=True)
    assert fits(schema, value, "3.0", document=document)


def swagger(*parameters: dict[str, Any], **more: Any) -> Any:
    return signature(
        {"parameters": list(parameters), **more}, version="2.0", template="/x/{p}" if more.pop("path", 0) else "/x"
    )


COLLECTIONS = [
    ("csv", "p=1,2"),
    ("ssv", "p=1%202"),
    ("tsv", "p=1%092"),
    ("pipes", "p=1%7C2"),
    ("multi", "p=1&p=2"),
    (None, "p=1,2"),
]


@pytest.mark.parametrize(("collection", "raw"), COLLECTIONS)
def test_swagger_collections_are_read_as_declared(collection: str | None, raw: str) -> None:
    """Every collectionFormat reads and writes its own separator."""
    declared = {"name": "p", "in": "query", "type": "array", "items": {"type": "integer"}}
    made = swagger({**declared, **({"collectionFormat": collection} if collection else {})})
    outcome = query(made, raw)
    assert isinstance(outcome, Decoded)
    assert ({"p": [1, 2]}, f"/x?{raw}") == (outcome.arguments, outcome.request.target)


def test_swagger_bodies_and_forms() -> None:
    """`in: body` is a JSON body; `in: formData` is a form, multipart where it has a file."""
    made = swagger({"name": "b", "in": "body", "required": True, "schema": {"type": "object"}}, consumes=["*/*"])
    assert {"body": {}} == arguments(posted(made, b"{}"))
    form = swagger({"name": "n", "in": "formData", "type": "integer", "required": True})
    assert {"body": {"n": 3}} == arguments(posted(form, b"n=3", "application/x-www-form-urlencoded"))
    upload = swagger({"name": "f", "in": "formData", "type": "file", "required": True})
    assert ["multipart/form-data"] == list(upload.bodies)


def notes(schema: Any, version: Any = "3.0", **document: Any) -> list[Note]:
    schemas = Schemas(document, version)
    schemas.signature("post", "/x", {}, body(schema))
    schemas.compile()
    return list(schemas.notes)


AT = "#/paths/~1x/post/requestBody/content/application~1json/schema"
NOTED = [
    ({"tpye": "string"}, f"{AT}/tpye", "not understood"),
    ({"maxLength": "5"}, f"{AT}/maxLength", "not understood"),
    ({"type": "strnig"}, f"{AT}/type", "not understood"),
    ({"format": "made-up"}, f"{AT}/format", "not understood"),
    ({"pattern": "("}, f"{AT}/pattern", "not understood"),
    ({"pattern": "^(?=a)"}, f"{AT}/pattern", "only reported"),
    ({"oneOf": [{}], "discriminator": {"propertyName": "x"}}, f"{AT}/discriminator", "only reported"),
    ({"properties": {"a/b": {"tpye": "x"}}}, f"{AT}/properties/a~1b/tpye", "not understood"),
    ({"allOf": {}}, f"{AT}/allOf", "not understood"),
    ({"properties": {"a": "string"}}, f"{AT}/properties/a", "not understood"),
]


@pytest.mark.parametrize(("schema", "pointer", "status"), NOTED)
def test_what_is_not_enforced_is_noted_with_its_place(schema: Any, pointer: str, status: str) -> None:
    """A typing error in a vendor's document weakens nothing silently (SAFETY F06)."""
    assert [(pointer, status)] == [(note.pointer, note.status) for note in notes(schema)]


@pytest.mark.parametrize("reference", ["file:///etc/passwd", "../../secret.yaml#/x", "#/nowhere", "#x", "#", 5])
def test_references_that_lead_out_are_problems(reference: Any) -> None:
    """A reference that is not local, or leads nowhere, is a problem of the document (SAFETY F09, F11)."""
    schemas = Schemas({}, "3.0")
    schemas.signature("post", "/x", {}, body({"properties": {"a": {"$ref": reference}}}))
    schemas.compile()
    assert [f"{AT}/properties/a"] == [pointer for pointer, _ in schemas.problems]


def test_a_remote_reference_opens_no_socket() -> None:
    """Nobody knocks at the address a document names (SAFETY F08)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reference = f"http://127.0.0.1:{server.getsockname()[1]}/schema"
        schemas = Schemas({}, "3.1")
        schemas.signature("post", "/x", {}, body({"$ref": reference, "$schema": reference, "$id": reference}))
        schemas.compile()
        assert 1 == len(schemas.problems)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_references_that_turn_in_circles_are_judged_or_reported() -> None:
    """A parameter that refers to itself is a problem; a schema that does is just recursive."""
    document = {"components": {"parameters": {"P": {"$ref": "#/components/parameters/P"}}}}
    schemas = Schemas(document, "3.0")
    schemas.signature("get", "/x", {}, {"parameters": [{"$ref": "#/components/parameters/P"}]})
    assert 1 == len(schemas.problems)
    loop = {
        "components": {"schemas": {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}}}
    }
    looped = Schemas(loop, "3.1")
    looped.signature("post", "/x", {}, body({"$ref": "#/components/schemas/A"}))
    looped.compile()


def test_the_operations_own_parameters_beat_the_path_items() -> None:
    """A parameter is identified by its name and location."""
    schemas = Schemas({}, "3.0")
    item = {"parameters": [parameter("n", "query", {"type": "string"}), parameter("m", "query", {"type": "string"})]}
    made = schemas.signature("get", "/x", item, {"parameters": [parameter("n", "query", {"type": "integer"})]})
    schemas.compile()
    assert {"n": 1, "m": "1"} == arguments(query(made, "n=1&m=1"))


def test_a_query_declared_whole_is_an_object_of_its_fields() -> None:
    """OpenAPI 3.2's `in: querystring` as a form."""
    whole = {
        "name": "q",
        "in": "querystring",
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
            }
        },
    }
    made = signature({"parameters": [whole]}, version="3.2")
    assert {"q": {"a": 1, "b": "x"}} == arguments(query(made, "a=1&b=x"))


def test_an_undeclared_path_parameter_is_any_text() -> None:
    """A template's parameter that nobody describes still holds one safe segment."""
    schemas = Schemas({}, "3.0")
    made = schemas.signature("get", "/x/{id}", {}, {})
    schemas.compile()
    assert {"id": "5"} == arguments(made.decode(Wire("GET", "", ""), ["5"]))
    assert ["only reported"] == [note.status for note in schemas.notes]


DOCUMENTS = {
    "alertmanager-swagger2.yaml": 9,
    "box.json": 296,
    "github.json": 1223,
    "kubernetes-swagger2.json": 826,
    "petstore.yaml": 19,
    "prometheus-3.1.yaml": 49,
}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@pytest.mark.parametrize(("name", "count"), sorted(DOCUMENTS.items()))
def test_every_operation_of_a_vendors_document_compiles(specs: Path, name: str, count: int) -> None:
    """Each operation has a signature, a schema that stands alone, and answers' judges; nothing is a problem."""
    text = (specs / name).read_bytes()
    document = orjson.loads(text) if name.endswith(".json") else yaml.load(text, yaml.CSafeLoader)
    schemas = Schemas(document, str(document.get("swagger") or document["openapi"])[:3])  # type: ignore[arg-type]
    made = [
        schemas.signature(method, path, item, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]
    schemas.compile()
    assert (count, []) == (len(made), list(schemas.problems))
    for each in made[:: max(1, count // 50)]:
        assert "object" == each.schema()["type"]


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Cookie", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Expect"),
        *("Keep-Alive", "Content-Encoding", "HTTP2-Settings", "Proxy-Authorization", "Proxy-Connection", "Forwarded"),
        *("Via", "X-Real-IP", "X-Forwarded-For", "X-HTTP-Method-Override", "X-Original-URL", "Toolgate-Reason"),
        *("X_HTTP_METHOD_OVERRIDE", "X_Real_IP", "x_forwarded_host", "toolgate_reason", "Authorization", "Accept"),
    ],
)
def test_a_header_that_is_the_gates_own_is_never_a_parameter(name: str) -> None:
    """SECURITY: framing, routing and identity are not an operation's to send, however a document spells them."""
    schemas = Schemas({}, "3.0")
    declared = {"parameters": [parameter(name, "header", {"type": "string"})]}
    made = schemas.signature("get", "/x", {}, declared)
    schemas.compile()
    assert () == made.parameters
    assert [("/" + name, "unknown")] == refused(made.accept({name: "1"}))
