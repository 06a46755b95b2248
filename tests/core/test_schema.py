"""Judges and responses: compiled once, asked cheaply, and honest about what they do not judge."""

from __future__ import annotations

from toolgate.core.responses import Responses
from toolgate.core.suggest import Vocabulary, near, shortened
from toolgate.load.schemas import Schemas

PET = {
    "type": "object",
    "required": ["id", "secret"],
    "properties": {"id": {"type": "integer"}, "secret": {"type": "string", "writeOnly": True}},
}


def responses(declared: object) -> Responses:
    return Schemas({}, "3.0").responses({"responses": declared})


def test_an_answer_is_judged_by_its_exact_status_then_its_range_then_the_default() -> None:
    """`404` beats `4XX` beats `default`, and only JSON with a schema is judged."""

    def content(kind: str) -> object:
        return {"content": {"application/json": {"schema": {"type": kind}}}}

    made = responses({"404": content("string"), "4XX": content("integer"), "default": content("object")})
    for status, body in ((404, b'"x"'), (400, b"1"), (500, b"{}")):
        assert made.declared_json(status, "application/json; charset=utf-8")
        assert () == made.violations(status, "application/json", body)
        assert ("", "type") == (made.violations(status, "application/json", b"[]")[0].path, "type")
    assert not made.declared_json(404, "text/html")
    assert not made.declared_json(404, "")
    assert not responses({"200": {"description": "nothing"}}).declared_json(200, "application/json")


def test_what_is_write_only_does_not_come_back() -> None:
    """The mirror of readOnly: a write-only field is not required of an answer, and is a violation in one."""
    made = responses({"200": {"content": {"application/json": {"schema": PET}}}})
    assert () == made.violations(200, "application/json", b'{"id":1}')
    assert "/secret" == made.violations(200, "application/json", b'{"id":1,"secret":"x"}')[0].path


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
