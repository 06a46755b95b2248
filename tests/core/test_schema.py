"""Judges and responses: compiled once, asked cheaply, and honest about what they do not judge."""

from __future__ import annotations

import orjson
import pytest
from tests.signing import body, posted, signature

from toolgate.core.responses import Responses
from toolgate.core.signature import Rejected
from toolgate.core.suggest import Vocabulary, near, shortened
from toolgate.load.schemas import Schemas

PET = {
    "type": "object",
    "required": ["id", "secret"],
    "properties": {"id": {"type": "integer"}, "secret": {"type": "string", "writeOnly": True}},
}
LEAF = {"type": "object", "additionalProperties": False, "properties": {"line": {"type": "integer"}}}


def responses(declared: object) -> Responses:
    return Schemas({}, "3.0").responses({"responses": declared})


def test_an_answer_is_judged_by_its_exact_status_then_its_range_then_the_default() -> None:
    """`404` beats `4XX` beats `default`, and only JSON with a schema is judged."""

    def content(kind: str) -> object:
        return {"content": {"application/json": {"schema": {"type": kind}}}}

    made = responses({"404": content("string"), "4XX": content("integer"), "default": content("object")})
    for status, answer in ((404, b'"x"'), (400, b"1"), (500, b"{}")):
        assert made.declared_json(status, "application/json; charset=utf-8")
        assert () == made.violations(status, "application/json", answer)
        assert ("", "type") == (made.violations(status, "application/json", b"[]")[0].path, "type")
    assert not made.declared_json(404, "text/html")
    assert not made.declared_json(404, "")
    assert not responses({"200": {"description": "nothing"}}).declared_json(200, "application/json")


def test_what_is_write_only_does_not_come_back() -> None:
    """The mirror of readOnly: a write-only field is not required of an answer, and is a violation in one."""
    made = responses({"200": {"content": {"application/json": {"schema": PET}}}})
    assert () == made.violations(200, "application/json", b'{"id":1}')
    assert "/secret" == made.violations(200, "application/json", b'{"id":1,"secret":"x"}')[0].path


def test_an_answers_secrets_are_named_and_not_shown() -> None:
    """L10: what differs from the contract is journaled, so a value marked as a password is not quoted in it."""
    schema = {"type": "object", "properties": {"token": {"type": "string", "format": "password", "maxLength": 3}}}
    made = responses({"200": {"content": {"application/json": {"schema": {"allOf": [schema]}}}}})
    (wrong,) = made.violations(200, "application/json", b'{"token":"hunter2"}')
    assert ("/token", "the value is longer than 3 characters") == (wrong.path, wrong.message)


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_an_answer_cannot_stop_the_gate_either(keyword: str) -> None:
    """What an upstream sends is explained in bounded time too."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/One"}}}
    made = Schemas({**unions(keyword), "openapi": "3.1.0"}, "3.1").responses(
        {"responses": {"200": {"content": content}}}
    )
    wrong = made.violations(200, "application/json", b'{"next":' * 60 + b'{"v":[]}' + b"}" * 60)
    assert len(wrong) > 0


def test_an_unreadable_answer_is_a_violation() -> None:
    """What is declared as JSON and is none does not fit."""
    made = responses({"200": {"content": {"application/vnd.x+json": {"schema": {}}}}})
    assert ["json"] == [each.keyword for each in made.violations(200, "application/vnd.x+json", b"<html>")]
    assert () == made.violations(200, "application/vnd.x+json", b"1")


def test_swagger_answers_are_judged_by_what_is_produced() -> None:
    """Swagger 2.0 has one schema for every media type it produces."""
    made = Schemas({"produces": ["application/json"]}, "2.0").responses({"responses": {"200": {"schema": PET}}})
    assert ["required"] == [each.keyword for each in made.violations(200, "application/json", b"{}")][:1]


def test_the_nearest_word_comes_first() -> None:
    """Misspellings find their word; strangers find nothing."""
    words = ["queryCluster", "listMetrics", "removeMetric", "removeMetrics"]
    assert ("queryCluster",) == near("qeuryCluster", words, 1)
    assert ("removeMetric", "removeMetrics") == near("removeMetirc", words, 2)
    assert () == near("zzz", words)
    assert ("queryCluster",) == near("QUERYCLUSTER", words, 1)
    assert () == near("", words)
    assert ("a" * 5,) == near("a" * 4, ["a" * 5])
    many = Vocabulary([*(f"list{i}Things" for i in range(10_000)), "queryCluster"])
    assert ("queryCluster",) == many.near("queryCIuster", 1)


def test_a_callers_text_is_shortened_and_disarmed() -> None:
    """What a message quotes is one line of at most 64 characters, without control or bidirectional characters."""
    assert 64 == len(shortened("x" * 1000))
    assert "a\\u000ab\\u202e'" == shortened("a\nb\u202e`")


def unions(keyword: str) -> dict[str, object]:
    """Two kinds of node, each of which may hold either: every level doubles the ways to read a value."""
    either = {keyword: [{"$ref": "#/components/schemas/One"}, {"$ref": "#/components/schemas/Other"}]}

    def node(kind: str) -> dict[str, object]:
        return {"type": "object", "properties": {"v": {"type": kind}, "next": either}, "additionalProperties": False}

    return {"components": {"schemas": {"One": node("integer"), "Other": node("string")}}}


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
@pytest.mark.parametrize("levels", [2, 5, 60])
def test_alternatives_within_alternatives_are_explained_in_bounded_time(keyword: str, levels: int) -> None:
    """A call cannot stop the gate: explaining sixty levels of two alternatives naively would take for ever."""
    document = unions(keyword)
    reference = {"$ref": "#/components/schemas/One"}
    made = signature(body(reference), document={**document, "openapi": "3.1.0"}, version="3.1")
    value: object = {"v": []}
    for _ in range(levels):
        value = {"next": value}
    outcome = posted(made, orjson.dumps(value))
    assert isinstance(outcome, Rejected)
    assert "arguments.invalid" == outcome.code
    assert all(each.path.startswith("/body/next") or each.keyword == "schema" for each in outcome.violations)
    assert len(outcome.violations) > 0


def test_each_place_names_its_own_fields() -> None:
    """What is known of one place, at any depth, is never told of another; asked again, the answer is the same."""
    node = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"to": {"$ref": "#/components/schemas/Node"}, "name": {"type": "string"}, "at": LEAF},
    }
    made = signature(body({"$ref": "#/components/schemas/Node"}), document={"components": {"schemas": {"Node": node}}})
    for _ in range(2):
        for place, text in (("", b'{"nam":1}'), ("/to/to", b'{"to":{"to":{"nam":1}}}')):
            outcome = posted(made, text)
            assert isinstance(outcome, Rejected)
            assert (f"/body{place}/nam", ["at", "name", "to"]) == told(outcome)
        outcome = posted(made, b'{"to":{"at":{"nam":1}}}')
        assert isinstance(outcome, Rejected)
        assert ("/body/to/at/nam", ["line"]) == told(outcome)


def told(outcome: Rejected) -> tuple[str, object]:
    """Return where the first name is that was not expected, and which were."""
    return next((each.path, each.expected) for each in outcome.violations if each.keyword == "unknown")
