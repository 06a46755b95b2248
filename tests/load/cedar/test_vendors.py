"""The vendors' documents as policies see them: every operation, every argument, and statements over all of them."""

from __future__ import annotations

import json
from pathlib import Path

import cedarpy
import pytest

from toolgate.core.actions import arguments_kind
from toolgate.core.bundle import Bundle
from toolgate.core.kinds import Describer, Fields, Kind, Many, Variants
from toolgate.load.bundle import Sources, load
from toolgate.load.cedar.reference import as_text, notes_of, schema_of
from toolgate.load.policies import CedarFile, judge

from .conftest import standing_of, told

# Operations, and how many of them are described to the last member (the rest recurse, or say nothing of a value).
COUNTS = {
    "alertmanager-swagger2.yaml": (9, 9),
    "box.json": (296, 293),
    "github.json": (1223, 1223),
    "kubernetes-swagger2.json": (826, 823),
    "openai.yaml": (288, 278),
    "petstore.yaml": (19, 19),
    "prometheus-3.1.yaml": (49, 49),
    "stripe.yaml": (468, 468),
}


def bundle_of(tmp_path: Path, document: Path) -> Bundle:
    folder = tmp_path / "toolspecs" / "vendor"
    folder.mkdir(parents=True)
    (folder / document.name).write_bytes(document.read_bytes())
    spec = f'tool: vendor\nopenapi: {document.name}\nenvironments: {{prod: {{upstream: "http://a", allow: ["*"]}}}}\n'
    (folder / "tool.yaml").write_text(spec)
    return load(Sources(folder.parent, None, "prod", ("prod",)))


def is_whole(kind: Kind) -> bool:
    match kind:
        case Fields(members):
            return all(is_whole(member.kind) for member in members.values())
        case Variants(by):
            return all(map(is_whole, by.values()))
        case Many(of):
            return is_whole(of)
        case _:
            return kind != "opaque"


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_no_operation_and_no_argument_is_lost(tmp_path: Path, specs: Path, name: str, counts: tuple[int, int]) -> None:
    """Cedar takes the schema of the whole document, as JSON and as it is printed, and both are the same."""
    bundle = bundle_of(tmp_path, specs / name)
    operations = bundle.catalog.operations
    describers: dict[int, Describer] = {}
    kinds = {key: arguments_kind(operation, describers) for key, operation in operations.items()}
    schema = schema_of(bundle)
    actions = schema[""]["actions"]
    parsed = [
        str(cedarpy.Schema.from_json_str(json.dumps(schema))),
        str(cedarpy.Schema.from_str(as_text(schema, notes_of(bundle)))),
    ]

    assert counts == (len(operations), sum(map(is_whole, kinds.values())))
    assert operations.keys() == {key for key, action in actions.items() if action}
    assert parsed[0].replace("__cedar::", "") == parsed[1].replace("__cedar::", "")
    for key, operation in operations.items():
        shown = actions[key]["appliesTo"]["context"]["attributes"]["args"]["attributes"]
        assert {each.key for each in operation.signature.parameters} <= shown.keys()
        assert ("body" in shown) == bool(operation.signature.bodies)


def test_what_is_known_of_a_document_changes_no_description(tmp_path: Path, specs: Path) -> None:
    """Statements are checked and calls are told by kinds that were described in another order."""
    bundle = bundle_of(tmp_path, specs / "openai.yaml")
    operations = list(bundle.catalog.operations.values())
    forwards: dict[int, Describer] = {}
    backwards: dict[int, Describer] = {}
    first = [arguments_kind(each, forwards) for each in operations]
    second = [arguments_kind(each, backwards) for each in reversed(operations)]

    assert first == list(reversed(second))
    assert first[::20] == [arguments_kind(each) for each in operations[::20]]


def test_a_statement_over_a_group_is_told_once(tmp_path: Path, specs: Path) -> None:
    """Of hundreds of operations: for how many, one of them by name, and what to do."""
    bundle = bundle_of(tmp_path, specs / "github.json")

    def judged(text: str) -> list[str]:
        return told(judge([CedarFile("a.cedar", "a.cedar", text.encode())], standing_of(bundle)).problems)

    group = 'forbid (principal, action in Action::"%s", resource) when { %s };'
    assert [
        (
            "1:77 policy.unknown: for 215 of 397 operations of `write`, such as `vendor.apps/create-from-manifest`: "
            "there is no `context.args.owner`; narrow the action, or write `context.args has owner && …` before it"
        )
    ] == judged(group % ("write", 'context.args.owner == "x"'))
    assert [] == judged(group % ("write", 'context.args has owner && context.args.owner == "x"'))
    assert [
        (
            "1:86 policy.type: for 1 of 397 operations of `write` (`vendor.markdown/render-raw`): `context.args.body` is "
            'text and has nothing below it; narrow the action, or write `action != Action::"vendor.markdown/render-raw" '
            "&& …` before it"
        )
    ] == judged(group % ("write", 'context.args has body.name && context.args.body.name == "x"'))
    guarded = (
        'action != Action::"vendor.markdown/render-raw" && context.args has body.name && context.args.body.name == "x"'
    )
    assert [] == judged(group % ("write", guarded))
