"""Parameters: every location, style and explode, read strictly and written back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.signing import arguments, parameter, query, refused, signature

from toolgate.core.model import Wire
from toolgate.core.signature import Decoded, Rejected

ARRAY = {"type": "array", "items": {"type": "integer"}}
OBJECT = {"type": "object", "properties": {"R": {"type": "integer"}, "G": {"type": "integer"}}}

# OpenAPI 3.1.1 §4.8.12.3: the style examples, for the array 3,4,5 and the object R=100, G=200.
PATHS = [
    ("simple", False, ARRAY, "3,4,5", [3, 4, 5]),
    ("simple", True, ARRAY, "3,4,5", [3, 4, 5]),
    ("simple", False, OBJECT, "R,100,G,200", {"R": 100, "G": 200}),
    ("simple", True, OBJECT, "R=100,G=200", {"R": 100, "G": 200}),
    ("label", False, {"type": "integer"}, ".5", 5),
    ("label", False, ARRAY, ".3,4,5", [3, 4, 5]),
    ("label", True, ARRAY, ".3.4.5", [3, 4, 5]),
    ("label", False, OBJECT, ".R,100,G,200", {"R": 100, "G": 200}),
    ("label", True, OBJECT, ".R=100.G=200", {"R": 100, "G": 200}),
    ("matrix", False, {"type": "integer"}, ";p=5", 5),
    ("matrix", False, ARRAY, ";p=3,4,5", [3, 4, 5]),
    ("matrix", True, ARRAY, ";p=3;p=4;p=5", [3, 4, 5]),
    ("matrix", False, OBJECT, ";p=R,100,G,200", {"R": 100, "G": 200}),
    ("matrix", True, OBJECT, ";R=100;G=200", {"R": 100, "G": 200}),
]
QUERIES = [
    ("form", True, ARRAY, "p=3&p=4&p=5", [3, 4, 5]),
    ("form", False, ARRAY, "p=3,4,5", [3, 4, 5]),
    ("form", True, OBJECT, "R=100&G=200", {"R": 100, "G": 200}),
    ("form", False, OBJECT, "p=R,100,G,200", {"R": 100, "G": 200}),
    ("spaceDelimited", False, ARRAY, "p=3%204%205", [3, 4, 5]),
    ("spaceDelimited", False, OBJECT, "p=R%20100%20G%20200", {"R": 100, "G": 200}),
    ("pipeDelimited", False, ARRAY, "p=3%7C4%7C5", [3, 4, 5]),
    ("pipeDelimited", False, OBJECT, "p=R%7C100%7CG%7C200", {"R": 100, "G": 200}),
    ("deepObject", True, OBJECT, "p%5BR%5D=100&p%5BG%5D=200", {"R": 100, "G": 200}),
]


@pytest.mark.parametrize(("style", "explode", "schema", "text", "value"), PATHS)
def test_path_styles_are_those_of_openapi(style: str, explode: bool, schema: Any, text: str, value: Any) -> None:
    """Every style of a path parameter reads as the specification's examples say, and is written the same."""
    made = signature({"parameters": [parameter("p", "path", schema, style=style, explode=explode)]}, template="/x/{p}")
    outcome = made.decode(Wire("GET", "", ""), [text])
    assert {"p": value} == arguments(outcome)
    assert isinstance(outcome, Decoded)
    assert f"/x/{text}" == outcome.request.target
    assert outcome == made.accept({"p": value})


@pytest.mark.parametrize(("style", "explode", "schema", "text", "value"), QUERIES)
def test_query_styles_are_those_of_openapi(style: str, explode: bool, schema: Any, text: str, value: Any) -> None:
    """Every style of a query parameter reads as the specification's examples say, and is written the same."""
    made = signature({"parameters": [parameter("p", "query", schema, style=style, explode=explode)]})
    outcome = query(made, text)
    assert {"p": value} == arguments(outcome)
    assert isinstance(outcome, Decoded)
    assert f"/x?{text}" == outcome.request.target
    assert outcome == made.accept({"p": value})


@pytest.mark.parametrize("raw", ["p[R]=1", "p%5BR%5D=1", "p%5bR]=1"])
def test_brackets_may_be_encoded_or_not(raw: str) -> None:
    """A deepObject's brackets mean the same percent-encoded; they are sent encoded."""
    made = signature({"parameters": [parameter("p", "query", OBJECT, style="deepObject")]})
    outcome = query(made, raw)
    assert isinstance(outcome, Decoded)
    assert "/x?p%5BR%5D=1" == outcome.request.target


def test_deep_objects_nest_and_hold_arrays() -> None:
    """Nested keys, indices and `[]` read as objects and arrays, and are written with indices."""
    schema = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    }
    made = signature({"parameters": [parameter("p", "query", schema, style="deepObject")]})
    outcome = query(made, "p[items][0][n]=1&p[items][1][n]=2&p[tags][]=a&p[tags][]=b")
    assert {"p": {"items": [{"n": 1}, {"n": 2}], "tags": ["a", "b"]}} == arguments(outcome)
    assert isinstance(outcome, Decoded)
    assert outcome.request.target.endswith("p%5Btags%5D%5B0%5D=a&p%5Btags%5D%5B1%5D=b")


def test_a_deep_array_may_be_given_by_repeating_its_name() -> None:
    """Some clients write `expand=a&expand=b` where a document says deepObject; it is sent with indices."""
    schema = {"type": "array", "items": {"type": "string"}}
    made = signature({"parameters": [parameter("expand", "query", schema, style="deepObject")]})
    for raw in ("expand=a&expand=b", "expand[]=a&expand[]=b", "expand[0]=a&expand[1]=b"):
        outcome = query(made, raw)
        assert isinstance(outcome, Decoded)
        assert "/x?expand%5B0%5D=a&expand%5B1%5D=b" == outcome.request.target


@pytest.mark.parametrize(
    "raw", ["p[a]=1&p[a]=2", "p[a]=1&p[a][b]=2", "p[a][b]=1&p[a]=2", "p" + "[a]" * 40 + "=1", "p[a][]=1&p[a]=2"]
)
def test_deep_objects_that_contradict_themselves_are_malformed(raw: str) -> None:
    """A key that is given twice, or is a value and an object at once, has no one reading."""
    made = signature({"parameters": [parameter("p", "query", {"type": "object"}, style="deepObject")]})
    assert [("", "arguments.malformed")] == refused(query(made, raw))


STRICT = [
    ({"type": "integer"}, "7", 7),
    ({"type": "integer"}, "-7", -7),
    ({"type": "integer"}, "18446744073709551615", 2**64 - 1),
    ({"type": "number"}, "1.50", 1.5),
    ({"type": "number"}, "1e3", 1000.0),
    ({"type": "number"}, "7", 7),
    ({"type": "boolean"}, "true", True),
    ({"type": "string"}, "01", "01"),
    ({"type": "string"}, "true", "true"),
    ({"type": "integer", "nullable": True}, "null", None),
    ({"type": "string"}, "a+b%2Bc", "a b+c"),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5", 5),
    ({"anyOf": [{"type": "string"}, {"type": "number"}]}, "1.10", "1.10"),
    ({"allOf": [{"type": "number"}, {"type": "integer"}]}, "5", 5),
    ({"enum": ["1", "2"]}, "1", "1"),
    ({"enum": [1, 2]}, "1", 1),
    ({}, "5", 5),
    ({}, "x", "x"),
]


@pytest.mark.parametrize(("schema", "text", "value"), STRICT)
def test_texts_are_read_as_their_schema_permits(schema: Any, text: str, value: Any) -> None:
    """Null, boolean, integer, number, string, in that order; where text fits too, `1.10` stays text."""
    made = signature({"parameters": [parameter("p", "query", schema)]})
    decoded = arguments(query(made, f"p={text}"))
    assert {"p": value} == decoded
    assert type(value) is type(decoded["p"]) or isinstance(value, int)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("integer", text) for text in ["01", "+1", "1e3", "1.0", "", " 1", "0x1", "1_0", "%EF%BC%91", "9" * 5000, "-0"]]
    + [("number", text) for text in ["01", ".5", "5.", "+1", "NaN", "Infinity", "1e999", "1,5", ""]]
    + [("boolean", text) for text in ["True", "TRUE", "1", "0", "yes", ""]],
)
def test_numbers_and_booleans_are_read_strictly(kind: str, text: str) -> None:
    """Only JSON's own spelling is a number or a boolean (SAFETY E16)."""
    made = signature({"parameters": [parameter("p", "query", {"type": kind})]})
    assert [("/p", "type")] == refused(query(made, f"p={text}"))


def test_a_name_comes_once() -> None:
    """A parameter that is not an array may not be repeated (SAFETY B18)."""
    made = signature({"parameters": [parameter("x", "query", {"type": "integer"})]})
    assert [("/x", "repeated")] == refused(query(made, "x=1&x=1"))


@pytest.mark.parametrize("raw", ["x=1;x=2", "x[]=1", "x%5b%5d=3", "y=1", "X=1", "x%00=1"])
def test_undeclared_names_are_refused(raw: str) -> None:
    """Every undeclared name is refused by name, however it is spelled (SAFETY B19)."""
    made = signature({"parameters": [parameter("x", "query", {"type": "integer"})]})
    assert isinstance(query(made, raw), Rejected)


def test_undeclared_names_are_dropped_where_the_toolspec_says_so() -> None:
    """`unknown_parameters: drop` sends only what is declared."""
    made = signature({"parameters": [parameter("x", "query", {"type": "integer"})]}, unknown_parameters="drop")
    outcome = query(made, "y=2&x=1&z")
    assert isinstance(outcome, Decoded)
    assert ({"x": 1}, "/x?x=1") == (outcome.arguments, outcome.request.target)


def test_unknown_names_suggest_the_nearest() -> None:
    """A misspelled parameter is answered with the one that was meant."""
    made = signature({"parameters": [parameter("limit", "query", {"type": "integer"})]})
    outcome = query(made, "limt=1")
    assert isinstance(outcome, Rejected)
    [violation] = outcome.violations
    assert ("/limt", "limit") == (violation.path, violation.suggestion)
    assert "`limt` is not a parameter of this operation; did you mean `limit`?" == violation.message


@pytest.mark.parametrize("raw", ["x=%", "x=%zz", "x=%C0%80", "x=%ff", "x=%ED%A0%80", "%=1", "x=é"])
def test_percent_encoding_is_strict(raw: str) -> None:
    """A bad escape, bytes that are not UTF-8, overlong forms and raw non-ASCII are malformed."""
    made = signature({"parameters": [parameter("x", "query", {"type": "string"})]})
    assert [("", "arguments.malformed")] == refused(query(made, raw))


def test_decoding_happens_once() -> None:
    """`%2541` is the text `%41`, here and upstream."""
    made = signature({"parameters": [parameter("x", "query", {"type": "string"})]})
    outcome = query(made, "x=%2541")
    assert isinstance(outcome, Decoded)
    assert ({"x": "%41"}, "/x?x=%2541") == (outcome.arguments, outcome.request.target)


@pytest.mark.parametrize(
    "segment", ["", ".", "..", "%2e%2e", "..%5C", "a%2Fb", "a%00b", "a%0Ab", "%E2%80%AEx", "a%7Fb"]
)
def test_path_values_that_make_another_path_are_refused(segment: str) -> None:
    """Dot segments, slashes, backslashes and control characters never reach a path (SAFETY B15)."""
    made = signature({"parameters": [parameter("id", "path", {"type": "string"})]}, template="/users/{id}/orders")
    assert [("/id", "path")] == refused(made.decode(Wire("GET", "", ""), [segment]))


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a\\b", "1/../../admin", "a\nb", "\u202eb", "a\ud800b"])
def test_path_values_by_name_are_held_to_the_same(value: str) -> None:
    """A call by name cannot smuggle what the wire cannot (SAFETY B16)."""
    made = signature({"parameters": [parameter("id", "path", {"type": "string"})]}, template="/users/{id}/orders")
    assert [("/id", "style")] == refused(made.accept({"id": value}))


def test_other_reserved_characters_are_encoded_again() -> None:
    """`? # ; %` in a path value are data, and are sent as data."""
    made = signature({"parameters": [parameter("id", "path", {"type": "string"})]}, template="/u/{id}")
    outcome = made.decode(Wire("GET", "", ""), ["a%3Fb%23c;d%25e%20f"])
    assert isinstance(outcome, Decoded)
    assert ({"id": "a?b#c;d%e f"}, "/u/a%3Fb%23c%3Bd%25e%20f") == (outcome.arguments, outcome.request.target)


def test_parameters_cannot_add_up_to_a_dot_segment() -> None:
    """Two parameters in one segment, or a literal dot beside one, may not build `..` together."""
    made = signature({"parameters": [parameter("x", "path", {"type": "string"})]}, template="/a/.{x}/b")
    assert [("/x", "path")] == refused(made.decode(Wire("GET", "", ""), ["."]))
    pair = [parameter("base", "path", {"type": "string"}), parameter("head", "path", {"type": "string"})]
    compare = signature({"parameters": pair}, template="/compare/{base}...{head}")
    outcome = compare.decode(Wire("GET", "", ""), ["main", "dev"])
    assert isinstance(outcome, Decoded)
    assert "/compare/main...dev" == outcome.request.target


def test_a_slash_passes_only_where_reserved_characters_are_declared() -> None:
    """`allowReserved` lets a path value hold slashes: sent encoded, in one segment, without dot segments."""
    made = signature(
        {"parameters": [parameter("path", "path", {"type": "string"}, allowReserved=True)]}, template="/c/{path}"
    )
    outcome = made.decode(Wire("GET", "", ""), ["src%2Fmain.py"])
    assert isinstance(outcome, Decoded)
    assert "/c/src%2Fmain.py" == outcome.request.target
    assert [("/path", "path")] == refused(made.decode(Wire("GET", "", ""), ["src%2F..%2Fx"]))


def headed(made: Any, **headers: str) -> Decoded | Rejected:
    return made.decode(Wire("GET", "", "", {name.replace("_", "-"): text for name, text in headers.items()}), [])


def test_headers_are_read_case_insensitively_and_sent_as_the_document_spells_them() -> None:
    """A declared header is an argument; lists may have spaces, which carry no meaning."""
    made = signature({"parameters": [parameter("X-Ids", "header", ARRAY), parameter("X-Opt", "header", {})]})
    outcome = headed(made, x_ids="3, 4 ,5", x_other="dropped")
    assert isinstance(outcome, Decoded)
    assert {"X-Ids": [3, 4, 5]} == outcome.arguments
    assert (("X-Ids", "3,4,5"),) == outcome.request.headers


@pytest.mark.parametrize("value", ["\ud800", "é", "a\r\nb: c", "a\x00", " a", "a\u202e"])
def test_header_values_are_printable_ascii(value: str) -> None:
    """Nothing but printable ASCII is written into a header (SAFETY C10)."""
    made = signature({"parameters": [parameter("X-Req", "header", {"type": "string"})]})
    assert [("/X-Req", "style")] == refused(made.accept({"X-Req": value}))


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Cookie", "X-Forwarded-For", "Expect"])
def test_headers_that_frame_or_route_are_never_parameters(name: str) -> None:
    """A document cannot make the gate forward what frames, routes or impersonates (SAFETY C08)."""
    made = signature({"parameters": [parameter(name, "header", {"type": "string"})]})
    assert () == made.parameters
    outcome = made.decode(Wire("GET", "", "", {name.lower(): "evil"}), [])
    assert isinstance(outcome, Decoded)
    assert () == outcome.request.headers


def test_cookies_are_parameters_too() -> None:
    """Declared cookies are read and sent; undeclared ones are refused."""
    made = signature({"parameters": [parameter("sid", "cookie", {"type": "string"})]})
    outcome = headed(made, cookie="sid=a%20b")
    assert isinstance(outcome, Decoded)
    assert ({"sid": "a b"}, (("cookie", "sid=a%20b"),)) == (outcome.arguments, outcome.request.headers)
    assert [("/other", "unknown")] == refused(headed(made, cookie="sid=a; other=1"))
    assert [("", "arguments.malformed")] == refused(headed(made, cookie="sid"))


def test_json_parameters_hold_json() -> None:
    """A `content` parameter is a JSON text: judged as JSON, sent as JSON."""
    filtered = {
        "name": "filter",
        "in": "query",
        "content": {"application/json": {"schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
    }
    made = signature({"parameters": [filtered]})
    outcome = query(made, "filter=%7B%22a%22%3A1%7D")
    assert isinstance(outcome, Decoded)
    assert ({"filter": {"a": 1}}, "/x?filter=%7B%22a%22:1%7D") == (outcome.arguments, outcome.request.target)
    assert [("/filter/a", "type")] == refused(query(made, "filter=%7B%22a%22%3A%22x%22%7D"))
    assert [("", "arguments.malformed")] == refused(query(made, "filter=%7B%22a%22%3A1,%22a%22%3A2%7D"))


def test_reserved_characters_stand_where_allowed() -> None:
    """`allowReserved` leaves reserved characters as they are, but never one that would end the value."""
    made = signature({"parameters": [parameter("u", "query", {"type": "string"}, allowReserved=True)]})
    outcome = made.accept({"u": "http://h/p?a=b&c#d+e"})
    assert isinstance(outcome, Decoded)
    assert "/x?u=http://h/p?a=b%26c%23d%2Be" == outcome.request.target


def test_an_empty_value_is_allowed_where_declared() -> None:
    """`allowEmptyValue` accepts `p` and `p=` whatever the schema says."""
    made = signature({"parameters": [parameter("p", "query", {"type": "integer"}, allowEmptyValue=True)]})
    assert {"p": ""} == arguments(query(made, "p"))
    assert {"p": ""} == arguments(query(made, "p="))
    assert {"p": 1} == arguments(query(made, "p=1"))


UNWRITABLE = [
    ("form", False, {"type": "array", "items": {"type": "string"}}, ["a,b"]),
    ("form", False, {"type": "array", "items": {"type": "string"}}, [""]),
    ("form", True, {"type": "array", "items": {"type": "string"}}, []),
    ("pipeDelimited", False, {"type": "array", "items": {"type": "string"}}, ["a|b"]),
    ("form", True, {"type": "string", "nullable": True}, "null"),
    ("form", True, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5"),
    ("deepObject", True, {"type": "object"}, {"a": {}}),
    ("deepObject", True, {"type": "object"}, {"a]": 1}),
    ("form", False, {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, [["a"]]),
]


@pytest.mark.parametrize(("style", "explode", "schema", "value"), UNWRITABLE)
def test_what_a_style_cannot_hold_is_refused_not_bent(style: str, explode: bool, schema: Any, value: Any) -> None:
    """A value that would read back as another one is refused, naming its parameter."""
    made = signature({"parameters": [parameter("p", "query", schema, style=style, explode=explode)]})
    assert [("/p", "style")] == refused(made.accept({"p": value}))


def test_an_open_exploded_object_takes_the_names_nobody_declared() -> None:
    """Only an object that says it wants other fields takes undeclared query names."""
    open_schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    made = signature(
        {"parameters": [parameter("f", "query", open_schema), parameter("q", "query", {"type": "string"})]}
    )
    assert {"f": {"a": 1, "b": 2}, "q": "x"} == arguments(query(made, "a=1&b=2&q=x"))
    closed = signature({"parameters": [parameter("f", "query", OBJECT)]})
    assert [("/B", "unknown")] == refused(query(closed, "R=1&B=2"))


def test_too_many_fields_are_not_counted_one_by_one() -> None:
    """A query or form of thousands of fields is malformed before any is looked at (SAFETY E13)."""
    made = signature({"parameters": []})
    assert [("", "arguments.malformed")] == refused(query(made, "a&" * 5000))
    assert 20 == len(refused(query(made, "&".join(f"a{i}=1" for i in range(100)))))
