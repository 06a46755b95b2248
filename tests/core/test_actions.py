"""What a policy calls an operation, and what a call of it may be about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.actions import arguments_kind, groups, quoted, resource_types, uid
from toolgate.core.catalog import Operation
from toolgate.core.kinds import Field, Fields, Variants
from toolgate.load.bundle import Sources, load

TEXT = {"type": "string"}
Make = Callable[..., Operation]


@pytest.fixture
def operation(tmp_path: Path) -> Make:
    """Load one operation from what a document and a toolspec say of it."""

    def make(declared: dict[str, Any], rules: str = "{}") -> Operation:
        folder = tmp_path / "toolspecs" / "shop"
        folder.mkdir(parents=True)
        paths = {"/things": {"post": {"operationId": "act", "responses": {"200": {"description": "ok"}}, **declared}}}
        (folder / "a.json").write_text(
            json.dumps({"openapi": "3.1.0", "info": {"title": "S", "version": "1"}, "paths": paths})
        )
        (folder / "tool.yaml").write_text(
            f'tool: shop\nopenapi: a.json\nenvironments: {{prod: {{upstream: "http://a", allow: ["*"]}}}}\n'
            f"operations: {{act: {rules}}}\n"
        )
        return load(Sources(folder.parent, None, "prod", ("prod",))).catalog.operations["shop.act"]

    return make


def json_body(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def test_an_action_is_in_its_effect_and_its_tool(operation: Make) -> None:
    """The effect that the toolspec says, whatever the method."""
    assert ("destructive", "shop") == groups(operation({}, "{effect: destructive}"))


@given(st.text())
def test_a_name_is_written_so_that_cedar_reads_it_back(text: str) -> None:
    """Whatever characters an operation's id has."""
    if any(0xD800 <= ord(each) <= 0xDFFF for each in text):
        return
    policy = (
        f"permit (principal, action == {uid('Action', text)}, resource) when {{ {quoted(text)} == {quoted(text)} }};"
    )
    ((_, template),) = cedarpy.policies_to_pst(policy).static_policies.items()

    assert isinstance(template.action, cedarpy.pst.ActionEq)
    assert text == template.action.entity.id


RESOURCE = "{resources: [{type: Thing, at: %s}]}"
THING = {"type": "object", "properties": {"id": TEXT, "other": TEXT, "ids": {"type": "array", "items": TEXT}},
         "required": ["id", "ids"]}  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "at", "expected"),
    [
        (json_body(THING), "$args.body.id", ("Thing",)),
        (json_body(THING), "$args.body.other", ("Thing", "Tool")),
        (json_body(THING), "$args#/body/ids/*", ("Thing", "Tool")),
        (json_body(THING, required=False), "$args.body.id", ("Thing", "Tool")),
    ],
)
def test_a_call_is_about_the_tool_where_nothing_else_is_surely_named(
    operation: Make, declared: dict[str, Any], at: str, expected: tuple[str, ...]
) -> None:
    """An argument that may be absent, an empty list: such a call names no resource."""
    assert expected == resource_types(operation(declared, RESOURCE % json.dumps(at)))


def test_an_operation_without_a_mapping_is_about_its_tool(operation: Make) -> None:
    """There is always something that a statement can be about."""
    assert ("Tool",) == resource_types(operation({}))


def test_the_arguments_of_several_media_types_are_one_or_the_other(operation: Make) -> None:
    """A policy sees what is judged: JSON's members, or what is known of a file."""
    content = {
        "application/json": {"schema": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}},
        "text/plain": {"schema": TEXT},
    }
    kind = arguments_kind(operation({"requestBody": {"content": content}}))

    told = Variants({"string": "text", "object": Fields({"a": Field("text", required=True)})})
    assert Fields({"body": Field(told, required=False)}) == kind


def test_a_file_is_its_size_digest_name_and_type(operation: Make) -> None:
    """The bytes themselves are never looked into."""
    content = {
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
        }
    }
    kind = arguments_kind(operation({"requestBody": {"required": True, "content": content}}))

    described = Fields(
        {
            "size": Field("long", required=True),
            "sha256": Field("text", required=True),
            "content_type": Field("text", required=False),
            "filename": Field("text", required=False),
        }
    )
    assert Fields({"body": Field(Fields({"file": Field(described, required=False)}), required=True)}) == kind
