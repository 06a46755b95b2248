"""A document becomes whole: split files are brought in, every reference is local, nothing outside is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolgate.core.bundle import BundleError
from toolgate.load.documents import BUNDLED, Document, load_document, pointed
from toolgate.load.files import Folder


def load(root: Path, files: dict[str, object], name: str = "a/openapi.yaml") -> Document:
    for path, value in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return load_document(Folder(root, "toolspecs"), root / name)


def problems(root: Path, files: dict[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(BundleError) as caught:
        load(root, files)
    return [(each.path, each.code) for each in caught.value.problems]


def with_paths(**paths: object) -> dict[str, object]:
    return {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "paths": paths}


@pytest.mark.parametrize(
    ("head", "version"),
    [
        ({"openapi": "3.0.4"}, "3.0"),
        ({"openapi": "3.1.1"}, "3.1"),
        ({"openapi": "3.2.0"}, "3.2"),
        ({"swagger": "2.0"}, "2.0"),
        ({"swagger": 2.0}, "2.0"),
    ],
)
def test_every_version_is_told_from_its_head(tmp_path: Path, head: dict[str, object], version: str) -> None:
    """OpenAPI 3.0, 3.1, 3.2 and Swagger 2.0, the last also with its version unquoted."""
    assert version == load(tmp_path, {"a/openapi.yaml": {**head, "paths": {}}}).version


@pytest.mark.parametrize("head", [{}, {"openapi": "4.0.0"}, {"swagger": "1.2"}, {"openapi": 3}, {"openapi": None}])
def test_another_version_is_a_problem(tmp_path: Path, head: dict[str, object]) -> None:
    """Told with what is read."""
    assert [("toolspecs/a/openapi.yaml", "document.version")] == problems(tmp_path, {"a/openapi.yaml": head})


def test_split_files_become_one_document(tmp_path: Path) -> None:
    """Relative references, back and forth, across folders, to whole files and into them, recursive ones too."""
    document = load(
        tmp_path,
        {
            "a/openapi.yaml": with_paths(**{"/x": {"$ref": "./paths/x.yaml"}, "/y": {"$ref": "paths/all.json#/~1y"}})
            | {"components": {"schemas": {"Own": {"type": "string"}}}},
            "a/paths/x.yaml": {"get": {"parameters": [{"$ref": "../../common/p%20q.yaml#/P"}]}},
            "a/paths/all.json": {"/y": {"get": {"x": {"$ref": "../openapi.yaml#/components/schemas/Own"}}}},
            "common/p q.yaml": {
                "P": {"name": "n", "in": "query", "schema": {"$ref": "#/S"}},
                "S": {"items": {"$ref": "#/S"}},
            },
        },
    )
    item = document.resolve(document.value["paths"]["/x"])
    parameter = document.resolve(item["get"]["parameters"][0])
    schema = document.resolve(parameter["schema"])
    assert ("n", schema) == (parameter["name"], document.resolve(schema["items"]))
    assert "#/components/schemas/Own" == document.resolve(document.value["paths"]["/y"])["get"]["x"]["$ref"]
    assert {"a/paths/x.yaml", "a/paths/all.json", "common/p q.yaml"} == set(document.value[BUNDLED])


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("http://evil.example/x.yaml", "reference.remote"),
        ("https://evil.example/x.yaml#/a", "reference.remote"),
        ("file:///etc/passwd", "reference.remote"),
        ("//evil.example/x", "reference.remote"),
        ("/etc/passwd", "reference.remote"),
        ("../../secret.yaml", "file.outside"),
        ("../a/../../secret.yaml", "file.outside"),
        ("%2e%2e/%2e%2e/secret.yaml", "file.outside"),
        ("link.yaml", "file.outside"),
        ("missing.yaml#/x", "file.unreadable"),
        ("a%00b.yaml", "file.unreadable"),
        ("loop.yaml", "file.unreadable"),
        (".", "file.unreadable"),
    ],
)
def test_a_reference_never_leaves_the_folder(tmp_path: Path, reference: str, code: str) -> None:
    """No URL is fetched, and neither `..` nor a symbolic link reaches a file outside the toolspecs folder."""
    root = tmp_path / "toolspecs"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret.yaml").write_text("a: 1")
    (root / "a" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (root / "a" / "loop.yaml").symlink_to("loop.yaml")
    found = problems(root, {"a/openapi.yaml": with_paths(**{"/x": {"$ref": reference}})})
    assert [("toolspecs/a/openapi.yaml", code)] == found


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    """A mounted ConfigMap reaches its files through links of its own."""
    (tmp_path / "a" / "..2026").mkdir(parents=True)
    (tmp_path / "a" / "..2026" / "openapi.yaml").write_text(json.dumps(with_paths()))
    (tmp_path / "a" / "..data").symlink_to("..2026")
    (tmp_path / "a" / "openapi.yaml").symlink_to("..data/openapi.yaml")
    assert "3.1" == load(tmp_path, {}).version


def test_examples_go_and_names_stay(tmp_path: Path) -> None:
    """`example` and `examples` are dropped as keywords and kept as names of properties; literal data is not read."""
    schema = {
        "type": "object",
        "example": {"$ref": "http://evil.example"},
        "properties": {
            "example": {"type": "string", "example": "x"},
            "examples": {},
            "default": {"$ref": "#/x"},
            "$ref": {},
        },
        "default": {"$ref": "http://evil.example"},
        "enum": [{"$ref": "http://evil.example"}],
        "x-data": {"$ref": "http://evil.example"},
    }
    document = load(
        tmp_path, {"a/openapi.yaml": with_paths() | {"components": {"schemas": {"S": schema}, "examples": {}}}}
    )
    kept = document.value["components"]["schemas"]["S"]
    assert {"example": {"type": "string"}, "examples": {}, "default": {"$ref": "#/x"}, "$ref": {}} == kept["properties"]
    assert "example" not in kept
    assert "examples" not in document.value["components"]
    assert {"$ref": "http://evil.example"} == kept["default"]


def test_every_problem_of_a_split_document_is_told(tmp_path: Path) -> None:
    """One bad reference does not hide another."""
    found = problems(
        tmp_path,
        {
            "a/openapi.yaml": with_paths(**{"/x": {"$ref": "x.yaml"}, "/y": {"$ref": "http://e/"}}),
            "a/x.yaml": {"get": {"$ref": "gone.yaml"}},
        },
    )
    assert [("toolspecs/a/openapi.yaml", "reference.remote"), ("toolspecs/a/x.yaml", "file.unreadable")] == found


def test_deep_documents_are_refused(tmp_path: Path) -> None:
    """Depth is bounded in JSON too."""
    deep = '{"openapi": "3.1.0", "a": ' + '{"a": ' * 700 + "1" + "}" * 700 + "}"
    assert [("toolspecs/a/openapi.yaml", "document.too_deep")] == problems(tmp_path, {"a/openapi.yaml": deep})


def test_references_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    """A path item that is only a reference to itself is no path item; nothing hangs."""
    document = load(
        tmp_path, {"a/openapi.yaml": with_paths(**{"/x": {"$ref": "#/paths/~1y"}, "/y": {"$ref": "#/paths/~1x"}})}
    )
    assert document.resolve(document.value["paths"]["/x"]) is None


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("#", {"a": [{"b/c": 1}]}),
        ("#/a/0/b~1c", 1),
        ("#/a/0/b%2Fc", None),
        ("#/a/1", None),
        ("#/a/x", None),
        ("x", None),
        ("#/a/0/b~1c/d", None),
    ],
)
def test_pointers_are_followed_or_lead_nowhere(reference: str, value: object) -> None:
    """No exception for any reference."""
    assert value == pointed({"a": [{"b/c": 1}]}, reference)
