"""The operations of a document: each has an id and a model's name of its own."""

from __future__ import annotations

import pytest

from toolgate.load.documents import Document, Version
from toolgate.load.openapi import MAX_NAME, description_of, names_of, operations_of, server_url


def document(paths: dict[str, object], version: Version = "3.1", **more: object) -> Document:
    return Document({"paths": paths, **more}, version, "openapi.yaml")


def ids(paths: dict[str, object]) -> list[str]:
    return [each.id for each in operations_of(document(paths)).declared]


def test_the_vendors_id_stands_where_it_is_the_only_one() -> None:
    """An id that is missing, empty, repeated or unprintable gives way to method and path, for every operation that has it."""
    paths = {
        "/a": {"get": {"operationId": "repos/get"}, "post": {"operationId": "twice"}},
        "/b/{id}.json": {"get": {"operationId": "twice"}, "put": {}, "patch": {"operationId": ""}},
        "/c-d/": {"get": {"operationId": "a\u202eb"}, "head": {"operationId": 3}},
    }
    expected = ["repos/get", "post_a", "get_b_id_json", "put_b_id_json", "patch_b_id_json", "get_c_d", "head_c_d"]
    assert expected == ids(paths)
    assert [
        ("/paths/~1a/post/operationId", "`twice` occurs more than once, so this operation is named `post_a`"),
        (
            "/paths/~1b~1{id}.json/get/operationId",
            "`twice` occurs more than once, so this operation is named `get_b_id_json`",
        ),
    ] == [(each.pointer, each.message) for each in operations_of(document(paths)).notes]


def test_made_ids_never_meet() -> None:
    """Two paths that read alike, or read like a vendor's id, get a digest each."""
    found = ids(
        {"/a/{b}": {"get": {}}, "/a/b": {"get": {}}, "/x": {"post": {"operationId": "get_y"}}, "/y": {"get": {}}}
    )
    assert len(found) == len(set(found)) == 4
    assert "get_y" == found[2]
    assert all(each.startswith(("get_a_b_", "get_y")) for each in found)


def test_ids_do_not_follow_the_order_of_the_document() -> None:
    """A vendor who sorts the file anew renames nothing."""
    paths: dict[str, object] = {"/a/{b}": {"get": {}}, "/a/b": {"get": {}}, "/c": {"get": {"operationId": "x"}}}
    assert sorted(ids(paths)) == sorted(ids(dict(reversed(paths.items()))))


def test_names_fit_every_model_and_are_unique() -> None:
    """`tool__id` in 64 characters of `[A-Za-z0-9_-]`, with a digest where it is long or not alone."""
    names = names_of([("t", "a/b"), ("t", "a.b"), ("t", "c"), ("t", "x" * 100), ("t", "x" * 101)])
    assert "t__c" == names["t", "c"]
    assert len(names) == len(set(names.values()))
    assert max(map(len, names.values())) == MAX_NAME
    assert names["t", "a/b"].startswith("t__a_b_")
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_x") for name in names.values())


def test_what_cannot_be_called_is_noted() -> None:
    """TRACE, paths no request could mean, path items that are none: told, and not among the operations."""
    found = operations_of(
        document(
            {
                "/a": {"trace": {}, "get": {}},
                "/b//c": {"get": {}},
                "/d": 3,
                "x-own": {},
                "/e": {"get": 1, "summary": "s"},
            }
        )
    )
    assert ["get_a"] == [each.id for each in found.declared]
    assert ["/paths/~1a/trace", "/paths/~1b~1~1c", "/paths/~1d"] == [note.pointer for note in found.notes]


def test_3_2_brings_query_and_methods_of_its_own() -> None:
    """`query:` and `additionalOperations`, in 3.2 only; CONNECT and TRACE are never sent."""
    item = {"query": {"operationId": "q"}, "additionalOperations": {"COPY": {"operationId": "c"}, "CONNECT": {}}}
    new = operations_of(document({"/a": item}, "3.2"))
    assert [("q", "QUERY", "read"), ("c", "COPY", "write")] == [
        (each.id, each.method, each.effect) for each in new.declared
    ]
    assert ["/paths/~1a/additionalOperations/CONNECT"] == [note.pointer for note in new.notes]
    assert [] == ids({"/a": item})


@pytest.mark.parametrize(
    ("method", "effect"),
    [
        ("get", "read"),
        ("head", "read"),
        ("options", "read"),
        ("delete", "destructive"),
        ("post", "write"),
        ("put", "write"),
        ("patch", "write"),
    ],
)
def test_the_method_gives_the_effect_until_somebody_says_otherwise(method: str, effect: str) -> None:
    """GET, HEAD and OPTIONS read, DELETE destroys, all others write."""
    assert [effect] == [each.effect for each in operations_of(document({"/a": {method: {}}})).declared]


def test_descriptions_are_short_and_visible() -> None:
    """Summary and description, 1,024 characters, nothing an eye does not see: they are read by a model."""
    operation = {"summary": " Sum. ", "description": "Des\u202ec.\r\x00 More\nlines" + "x" * 2000}
    text = description_of(operation)
    assert text.startswith("Sum.\n\nDes c.  More\nlinesxxx")
    assert 1024 == len(text)
    assert "Same." == description_of({"summary": "Same.", "description": "Same."})
    assert "" == description_of({"summary": 3})


@pytest.mark.parametrize(
    ("version", "more", "url"),
    [
        ("3.1", {"servers": [{"url": "https://{region}.a.example/v1/", "variables": {"region": {"default": "eu"}}}]}, "https://eu.a.example/v1"),
        ("3.1", {"servers": [{"url": "/v1"}]}, None),
        ("3.1", {"servers": [{"url": "https://{a}.example"}]}, None),
        ("3.1", {}, None),
        ("3.1", {"servers": 3}, None),
        ("2.0", {"host": "a.example", "basePath": "/v1", "schemes": ["http", "https"]}, "https://a.example/v1"),
        ("2.0", {"host": "a.example", "schemes": ["http"]}, "http://a.example"),
        ("2.0", {"basePath": "/v1"}, None),
    ],
)  # fmt: skip
def test_the_documents_own_server_is_used_where_it_is_absolute(
    version: Version, more: dict[str, object], url: str | None
) -> None:
    """Variables take their defaults; a relative server needs `upstream:`."""
    assert url == server_url(document({}, version, **more))
