"""Bodies: each media type read strictly, judged, and written again."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from tests.signing import arguments, body, parameter, posted, refused, signature

from toolgate.core.model import Wire
from toolgate.core.signature import Decoded, Rejected, Signature

MALFORMED = [("", "arguments.malformed")]
WRONG_TYPE = [("", "arguments.media_type")]


@pytest.fixture(scope="module")
def anything() -> Signature:
    return signature(body({}))


@pytest.mark.parametrize(
    "content",
    [
        b'{"amount":1,"amount":1000}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"\\u0061":1,"a":2}',
        '{"é":1,"e\u0301":2}'.encode(),
        b'{"Amount":1,"amount":2}',
        b'{"\\u0041":1,"a":2}',
        b'{"a\\"B":1,"a\\"b":2}',
        '{"straße":1,"STRASSE":2}'.encode(),
        b'{"amount":NaN}',
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b'{"a":[-1e999]}',
        b'{"a":null,"b":1e999}',
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" + b"0" * 400,
        b"9" * 5000,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        b"+ADoAew-",
        b'"\xc0\x80"',
        b'"\xff"',
        b'"\\ud800"',
        b'"a\nb"',
        b"[" * 65 + b"]" * 65,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 5000,
        b"[1,]",
        b"{'a':1}",
        b"01",
        b"  ",
        b"1 2",
        b'{"a":[' * 33 + b"]}" * 33,
        b"// x\n1",
    ],
)
def test_json_with_two_readings_is_malformed(anything: Signature, content: bytes) -> None:
    """Whatever two parsers could read differently is refused before it is judged (SAFETY part E)."""
    assert MALFORMED == refused(posted(anything, content))


@pytest.mark.parametrize(
    ("content", "value", "sent"),
    [
        (b' { "a" : 1 } ', {"a": 1}, b'{"a":1}'),
        (b"18446744073709551615", 2**64 - 1, b"18446744073709551615"),
        (b"-9223372036854775808", -(2**63), b"-9223372036854775808"),
        (b"1.0", 1.0, b"1.0"),
        (b"0.1000000000000000055511151231257827", 0.1, b"0.1"),
        (b'"\\ud83d\\ude00"', "😀", '"😀"'.encode()),
        (b'"a\\u0000b"', "a\x00b", b'"a\\u0000b"'),
        (b'"\\u202egpj"', "\u202egpj", '"\u202egpj"'.encode()),
        (b'{"a":"null","b":null}', {"a": "null", "b": None}, b'{"a":"null","b":null}'),
        (b"[" * 64 + b"]" * 64, None, b"[" * 64 + b"]" * 64),
        (b'{"x":"' + b"[" * 200 + b'\\""}', {"x": "[" * 200 + '"'}, b'{"x":"' + b"[" * 200 + b'\\""}'),
        (b"null", None, b"null"),
    ],
)
def test_json_is_sent_as_it_was_judged(anything: Signature, content: bytes, value: Any, sent: bytes) -> None:
    """The body that goes up is written from the value that was judged, control characters in strings included."""
    outcome = posted(anything, content)
    assert isinstance(outcome, Decoded)
    assert sent == outcome.request.body
    if content[:1] != b"[":
        assert value == outcome.arguments["body"]


def test_keys_that_differ_in_case_may_stand_where_the_schema_declares_both() -> None:
    """A vendor's own twins win; any other collision is still refused."""
    made = signature(body({"type": "object", "properties": {"Amount": {}, "amount": {}}}))
    assert {"body": {"Amount": 1, "amount": 2}} == arguments(posted(made, b'{"Amount":1,"amount":2}'))
    assert MALFORMED == refused(posted(made, b'{"Amount":1,"AMOUNT":2}'))


@pytest.mark.parametrize("content", [b"null", b"[]", b'"x"', b"0"])
def test_another_kind_of_body_is_a_violation(content: bytes) -> None:
    """A scalar or array where an object is declared is refused by its schema (SAFETY E15)."""
    made = signature(body({"type": "object"}))
    assert [("/body", "type")] == refused(posted(made, content))


def test_a_missing_body_is_a_violation_only_where_required() -> None:
    """An empty body is no body."""
    assert [("/body", "required")] == refused(posted(signature(body({})), b""))
    optional = signature({"requestBody": {"content": {"application/json": {"schema": {}}}}})
    assert {} == arguments(posted(optional, b"", None))


def test_a_body_nobody_declared_is_malformed() -> None:
    """An operation without a request body takes none (SAFETY D13)."""
    made = signature({})
    assert MALFORMED == refused(posted(made, b"abc"))
    assert [("/body", "unknown")] == refused(made.accept({"body": 1}))


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/jsonp",
        "application/json-patch+json",
        "application/jsonx",
        "application/json;foo",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json, text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "text/plain",
        "json",
        "*/*",
    ],
)
def test_only_the_declared_media_type_is_taken(anything: Signature, content_type: str | None) -> None:
    """A missing, malformed or undeclared media type is never a way around the schema (SAFETY D01, D03, D12)."""
    assert WRONG_TYPE == refused(posted(anything, b"{}", content_type))


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON ; charset=utf-8", 'application/json;charset="UTF-8"']
)
def test_the_essence_is_compared_without_case_and_parameters(anything: Signature, content_type: str) -> None:
    """Case, spaces and a UTF-8 charset make no difference; what is sent is the plain essence (SAFETY D04)."""
    outcome = posted(anything, b"{}", content_type)
    assert isinstance(outcome, Decoded)
    assert (("content-type", "application/json"),) == outcome.request.headers


@pytest.mark.parametrize("coding", ["gzip", "br", "frob", "gzip, gzip", "identity, gzip"])
def test_content_codings_are_refused(anything: Signature, coding: str) -> None:
    """No request body is decompressed, and none is passed on unread (SAFETY D06, D07)."""
    headers = {"content-type": "application/json", "content-encoding": coding}
    assert WRONG_TYPE == refused(anything.decode(Wire("POST", "", "", headers, b"{}"), []))


def test_ranges_match_concrete_types() -> None:
    """`image/*` takes any image as bytes; `*/*` with a schema takes what its schema can judge: JSON."""
    image = signature(body({"type": "string", "format": "binary"}, "image/*"))
    outcome = posted(image, b"\x89PNG", "image/png")
    assert isinstance(outcome, Decoded)
    assert (b"\x89PNG", (("content-type", "image/png"),)) == (outcome.request.body, outcome.request.headers)
    assert WRONG_TYPE == refused(posted(image, b"x", "text/html"))
    ranged = signature(body({"type": "object"}, "*/*"))
    assert {"body": {}} == arguments(posted(ranged, b"{}", "application/merge-patch+json"))
    assert WRONG_TYPE == refused(posted(ranged, b"a: 1", "application/yaml"))


def test_opaque_bytes_are_judged_by_size_and_digest() -> None:
    """Bytes travel verbatim; policies see what can be known of them."""
    made = signature(body({"type": "string", "format": "binary", "maxLength": 4}, "application/octet-stream"))
    outcome = posted(made, b"\x00\xff", "application/octet-stream")
    assert isinstance(outcome, Decoded)
    digest = hashlib.sha256(b"\x00\xff").hexdigest()
    assert {"body": {"size": 2, "sha256": digest, "content_type": "application/octet-stream"}} == outcome.arguments
    assert b"\x00\xff" == outcome.request.body
    assert [("/body/size", "maximum")] == refused(posted(made, b"12345", "application/octet-stream"))
    named = made.accept({"body": {"$base64": base64.b64encode(b"\x00\xff").decode()}})
    assert named == outcome
    assert [("/body", "style")] == refused(made.accept({"body": {"$base64": "!"}}))


def test_no_bytes_are_no_body_by_name_either() -> None:
    """The wire cannot tell an empty file from none, so policies are not told of one; a required body is missing then."""
    file = body({"type": "string", "format": "binary"}, "application/octet-stream")
    optional = {"requestBody": {**file["requestBody"], "required": False}}
    for empty in ({"$base64": ""}, ""):
        outcome = signature(optional).accept({"body": empty})
        assert isinstance(outcome, Decoded)
        assert ({}, None) == (outcome.arguments, outcome.request.body)
        assert [("/body", "required")] == refused(signature(file).accept({"body": empty}))


def test_a_media_type_nothing_can_judge_is_no_way_around_one_that_is() -> None:
    """XML beside JSON is refused; XML alone passes as bytes (and `check` says so)."""
    both = {"application/json": {"schema": {"type": "object"}}, "application/xml": {"schema": {"type": "object"}}}
    made = signature({"requestBody": {"content": both}})
    assert WRONG_TYPE == refused(posted(made, b"<a/>", "application/xml"))
    alone = signature(body({"type": "object"}, "application/xml"))
    assert {"size", "sha256", "content_type"} == set(arguments(posted(alone, b"<a/>", "application/xml"))["body"])


def test_text_is_one_string() -> None:
    """`text/*` is decoded as UTF-8, judged, and sent verbatim with its charset."""
    made = signature(body({"type": "string", "maxLength": 5}, "text/plain"))
    outcome = posted(made, "héllo".encode(), "text/plain; charset=UTF-8")
    assert isinstance(outcome, Decoded)
    assert ({"body": "héllo"}, "héllo".encode()) == (outcome.arguments, outcome.request.body)
    assert (("content-type", "text/plain; charset=utf-8"),) == outcome.request.headers
    assert [("/body", "maxLength")] == refused(posted(made, b"longer text", "text/plain"))
    assert MALFORMED == refused(posted(made, b"\xff", "text/plain"))


FORM = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "meta": {"type": "object"},
        "deep": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
}
FORM_TYPE = "application/x-www-form-urlencoded"


def test_forms_are_judged_field_by_field_and_written_anew() -> None:
    """Scalars, repeated arrays, JSON objects and deepObjects all become one judged object."""
    made = signature(body(FORM, FORM_TYPE, encoding={"deep": {"style": "deepObject", "explode": True}}))
    outcome = posted(made, b"name=a+b&count=3&tags=x&tags=y&deep[n]=1&meta=%7B%22k%22%3A1%7D", FORM_TYPE)
    assert isinstance(outcome, Decoded)
    value = {"name": "a b", "count": 3, "tags": ["x", "y"], "deep": {"n": 1}, "meta": {"k": 1}}
    assert {"body": value} == outcome.arguments
    assert b"name=a%20b&count=3&tags=x&tags=y&meta=%7B%22k%22:1%7D&deep%5Bn%5D=1" == outcome.request.body
    assert outcome.arguments == arguments(made.accept({"body": value}))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"count=3", ("/body/name", "required")),
        (b"name=a&count=x", ("/body/count", "type")),
        (b"name=a&name=b", ("/body/name", "repeated")),
        (b"name=a&nme=b", ("/body/nme", "unknown")),
        (b"name=%zz", ("", "arguments.malformed")),
        (b"name=\xff", ("", "arguments.malformed")),
        (b"name=a&meta=%7B", ("", "arguments.malformed")),
    ],
)
def test_forms_are_read_strictly(content: bytes, found: tuple[str, str]) -> None:
    """Missing, mistyped, repeated and unknown fields are violations of the body."""
    assert found in refused(posted(signature(body(FORM, FORM_TYPE)), content, FORM_TYPE))


def test_form_fields_follow_their_schema_when_it_is_open() -> None:
    """Where the schema wants undeclared fields, they are kept and judged."""
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    made = signature(body(schema, FORM_TYPE))
    assert {"body": {"a": "x", "b": 2}} == arguments(posted(made, b"a=x&b=2", FORM_TYPE))
    assert [("/body/b", "type")] == refused(posted(made, b"b=x", FORM_TYPE))


UPLOAD = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "maxLength": 8},
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "note": {"type": "string"},
        "count": {"type": "integer"},
        "meta": {"type": "object", "properties": {"k": {"type": "integer"}}},
    },
}
MULTIPART = "multipart/form-data; boundary=XX"


def parts(*each: tuple[str, bytes]) -> bytes:
    """Write a multipart body: header lines and content of each part."""
    written = [b"--XX\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in each]
    return b"".join([*written, b"--XX--\r\n"])


def disposition(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


def test_parts_keep_order_names_types_and_bytes() -> None:
    """A file's bytes arrive as they were sent, between the same neighbours, under a boundary of the gate's own."""
    made = signature(body(UPLOAD, "multipart/form-data"))
    content = parts(
        (disposition("note"), b"hi"),
        (disposition("file", '; filename="a.png"') + "\r\nContent-Type: image/png", b"\x89\r\n\x00--X"),
        (disposition("count"), b"3"),
        (disposition("meta") + "\r\nContent-Type: application/json", b'{"k":1}'),
    )
    outcome = posted(made, content, MULTIPART)
    assert isinstance(outcome, Decoded)
    file = {"size": 7, "sha256": hashlib.sha256(b"\x89\r\n\x00--X").hexdigest(), "content_type": "image/png"}
    assert {"note": "hi", "file": {**file, "filename": "a.png"}, "count": 3, "meta": {"k": 1}} == arguments(outcome)[
        "body"
    ]
    sent, headers = outcome.request.body, dict(outcome.request.headers)
    assert sent is not None
    boundary = headers["content-type"].partition("boundary=")[2]
    assert content.replace(b"--XX", b"--" + boundary.encode()) == sent


def test_every_element_of_a_file_array_is_a_part() -> None:
    """Parts of one name add up to an array, and go up as parts again."""
    made = signature(body(UPLOAD, "multipart/form-data"))
    named = made.accept({"body": {"file": "x", "files": ["one", {"$base64": "dHdv", "filename": "two.bin"}]}})
    assert isinstance(named, Decoded)
    assert [3, 3] == [each["size"] for each in named.arguments["body"]["files"]]
    assert named.request.body is not None
    wire = Wire("POST", "", "", dict(named.request.headers), named.request.body)
    assert named == made.decode(wire, [])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (parts((disposition("file"), b"x" * 9)), ("/body/file/size", "maximum")),
        (parts((disposition("note"), b"x")), ("/body/file", "required")),
        (parts((disposition("file"), b"x"), (disposition("file"), b"y")), ("/body/file", "repeated")),
        (parts((disposition("file"), b"x"), (disposition("fle"), b"y")), ("/body/fle", "unknown")),
        (parts((disposition("file"), b"x"), (disposition("count"), b"1.5")), ("/body/count", "type")),
    ],
)
def test_parts_are_judged(content: bytes, found: tuple[str, str]) -> None:
    """Size, presence, number and names of parts are held to the schema."""
    assert found in refused(posted(signature(body(UPLOAD, "multipart/form-data")), content, MULTIPART))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"preamble\r\n" + parts((disposition("file"), b"x")),
        parts((disposition("file"), b"x")) + b"epilogue",
        parts((disposition("file"), b"x"))[:-4],
        parts((disposition("file") + "\r\nContent-Transfer-Encoding: base64", b"eA==")),
        parts((disposition("file") + "\r\nContent-Type: multipart/mixed; boundary=a", b"--a--")),
        parts((disposition("file", "; filename*=UTF-8''x"), b"x")),
        parts((disposition("file", '; filename="../../etc/passwd"'), b"x")),
        parts((disposition("file", '; filename="a/.."'), b"x")),
        parts((disposition("file", '; filename="/etc/passwd"'), b"x")),
        parts((disposition("file", '; filename="a\\"b"'), b"x")),
        parts((disposition("file") + "\r\n" + disposition("note"), b"x")),
        parts(("Content-Disposition: attachment; name=file", b"x")),
        parts(("X: y", b"x")),
        parts(*[(disposition("files"), b"x")] * 33),
        parts((disposition("file"), b"x")).replace(b"--XX\r\n", b"--XX \r\n", 1),
        parts((disposition("meta"), b'{"k":1,"k":2}')),
    ],
)
def test_multipart_with_two_readings_is_malformed(content: bytes) -> None:
    """Whatever two parsers could split differently is refused (SAFETY D10)."""
    made = signature({"requestBody": {"content": {"multipart/form-data": {"schema": UPLOAD}}}})
    outcome = posted(made, content, MULTIPART) if content else posted(made, b" ", MULTIPART)
    assert MALFORMED == refused(outcome)


@pytest.mark.parametrize(
    "named",
    [
        {"filename": "../../etc/passwd"},
        {"filename": ".."},
        {"filename": "/etc/passwd"},
        {"content_type": "multipart/mixed; boundary=a"},
        {"content_type": " Multipart/Mixed; boundary=a"},
    ],
)
def test_a_part_by_name_is_held_to_the_same_rules(named: dict[str, str]) -> None:
    """What a part may not be over the wire it may not be by name: the request is the same."""
    made = signature({"requestBody": {"content": {"multipart/form-data": {"schema": UPLOAD}}}})
    assert MALFORMED == refused(made.accept({"body": {"file": {"$base64": "eA==", **named}}}))


def test_a_part_in_a_type_that_is_not_declared_is_a_violation() -> None:
    """The encoding object's contentType is enforced."""
    encoding = {"file": {"contentType": "image/png, image/jpeg"}}
    made = signature(body(UPLOAD, "multipart/form-data", encoding=encoding))
    content = parts((disposition("file") + "\r\nContent-Type: text/html", b"x"))
    assert [("/body/file", "contentType")] == refused(posted(made, content, MULTIPART))


def test_names_that_collide_are_prefixed_by_the_later_location() -> None:
    """Path, then query, then header, then cookie; the body has `body` (DESIGN §6)."""
    named = [
        parameter(name, where, {"type": "string"}) for name in ("id", "body") for where in ("path", "query", "header")
    ]
    made = signature({"parameters": named, **body({})}, template="/x/{id}/{body}")
    assert ["id", "path_body", "query_id", "query_body", "header_id", "header_body"] == [p.key for p in made.parameters]


def test_a_call_by_name_finds_the_media_type_that_takes_it() -> None:
    """JSON first; bytes go where bytes are taken."""
    content = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "text/plain": {"schema": {"type": "string"}},
        "application/json": {"schema": {"type": "object"}},
    }
    made = signature({"requestBody": {"content": content}})
    sent = [made.accept({"body": each}) for each in ({}, "hello", {"$base64": "AA=="})]
    types = [each.request.headers[0][1] for each in sent if isinstance(each, Decoded)]
    assert ["application/json", "text/plain; charset=utf-8", "application/octet-stream"] == types


def test_a_body_too_deep_by_name_is_malformed() -> None:
    """A call by name is held to what the wire is held to."""
    made = signature(body({}))
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    for value in (deep, float("inf"), 2**64, "\ud800", {"A": 1, "a": 2}, {"a": object}):
        outcome = made.accept({"body": value})
        assert isinstance(outcome, Rejected)
        assert "arguments.malformed" == outcome.code


@pytest.mark.parametrize("essence", ["*/*", "application/*"])
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"required": ["a"]},
        {"allOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}]},
    ],
)
def test_a_schema_without_a_type_is_no_file(essence: str, schema: dict[str, Any]) -> None:
    """What describes fields is judged as a value even where `type` is left out, as all of Kubernetes' bodies do."""
    made = signature(body(schema, essence))
    assert [("/body/a", "required")] == refused(posted(made, b"{}"))
    assert MALFORMED == refused(posted(made, b"\x00"))
    assert {"body": {"a": 1}} == arguments(posted(made, b'{"a":1}'))


def test_a_required_form_may_have_no_fields() -> None:
    """A form without fields is no bytes at all; its Content-Type says that it is there."""
    made = signature(body({"type": "object", "properties": {"a": {}}}, FORM_TYPE))
    outcome = posted(made, b"", FORM_TYPE)
    assert isinstance(outcome, Decoded)
    assert ({"body": {}}, b"") == (outcome.arguments, outcome.request.body)
    assert outcome == made.accept({"body": {}})
    assert [("/body", "required")] == refused(posted(made, b"", None))
    assert [("/body", "required")] == refused(posted(made, b"", "application/json"))
    assert [("/body/name", "required")] == refused(posted(signature(body(FORM, FORM_TYPE)), b"", FORM_TYPE))


FILE: dict[str, Any] = {"type": "string", "format": "binary"}
REFERENCE: dict[str, Any] = {"type": "object", "properties": {"url": {"type": "string"}}}


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_a_part_that_may_be_a_file_is_one(keyword: str) -> None:
    """A file beside an object among alternatives fits as a file, once, and not as the object too."""
    schema = {"type": "object", "properties": {"f": {keyword: [FILE, REFERENCE]}}}
    outcome = posted(signature(body(schema, "multipart/form-data")), parts((disposition("f"), b"\x00")), MULTIPART)
    assert 1 == arguments(outcome)["body"]["f"]["size"]


def test_one_file_or_several_by_what_was_sent() -> None:
    """Where a file and an array of files are alternatives, one part is a file and several are an array."""
    either = {"anyOf": [FILE, {"type": "array", "items": FILE, "maxItems": 2}]}
    made = signature(body({"type": "object", "properties": {"f": either}}, "multipart/form-data"))
    file = (disposition("f", '; filename="a"'), b"x")
    assert 1 == arguments(posted(made, parts(file), MULTIPART))["body"]["f"]["size"]
    two = posted(made, parts(file, file), MULTIPART)
    assert [1, 1] == [each["size"] for each in arguments(two)["body"]["f"]]
    assert two == made.accept({"body": {"f": [{"$base64": "eA==", "filename": "a"}] * 2}})
    assert "/body/f" in {path for path, _ in refused(posted(made, parts(file, file, file), MULTIPART))}


@pytest.mark.parametrize("media_type", [FORM_TYPE, "multipart/form-data"])
def test_a_field_that_is_required_is_taken_although_it_is_not_declared(media_type: str) -> None:
    """Vendors require fields they forget to describe; without them no call could be right."""
    made = signature(body({"type": "object", "properties": {"a": {}}, "required": ["grant"]}, media_type))
    assert {"body": {"grant": "x"}} == arguments(made.accept({"body": {"grant": "x"}}))
    assert [("/body/grant", "required")] == refused(made.accept({"body": {"a": "x"}}))
