"""`toolgate schema`: the JSON Schemas of our YAML files and the Cedar schema of policies, for editors and for review.

RULE: a schema is made from the models that judge the file, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from toolgate.cli import console
from toolgate.cli.command import Command
from toolgate.cli.options import load_settings, settings_options
from toolgate.core.suggest import near
from toolgate.settings.sources import sources_of

if TYPE_CHECKING:
    from pathlib import Path

    from toolgate.core.bundle import Bundle
    from toolgate.settings import Settings

_ROOT: Final = "https://toolgate.dev/schemas/v1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_BARE_ID: Final = {"type": "string", "description": "The principal's id; short for `{id: …}`."}
_EXAMPLES: Final = (
    "toolgate schema",
    "toolgate schema toolspec > toolspec.schema.json",
    "toolgate schema cedar --action metrics.removeMetric",
)


@click.command("schema", cls=Command, examples=_EXAMPLES)
@settings_options
@click.option("--action", "actions", multiple=True, metavar="OPERATION", help="Of `cedar`: only this; may be repeated.")
@click.argument(
    "file", required=False, type=click.Choice(["budgets", "cases", "cedar", "plan", "plans", "toolgate", "toolspec"])
)
def command(
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    actions: tuple[str, ...],
    file: str | None,
) -> None:
    """Print the schema of a file.

    `toolgate` is toolgate.yaml, `toolspec` is a tool.yaml, `budgets` is budgets.yaml, `plans` is plans.yaml, `cases` is
    a file of test cases, `plan` is a plan as an agent proposes it: JSON Schema.
    `cedar` is what policies may read: the Cedar schema of the operations an environment allows, made from their
    documents. Without FILE, list them.
    """
    if actions and file != "cedar":
        raise click.UsageError("`--action` goes with `cedar`")
    if file == "cedar":
        _print_cedar(load_settings(config, assignments, environment=environment).settings, actions)
    elif file is not None:
        console.emit(published(file))
    elif console.wants_json():
        console.emit({"schemas": [{"name": name, "file": path} for name, path in FILES.items()]})
    else:
        console.table(("name", "file"), list(FILES.items()))


def _print_cedar(settings: Settings, actions: tuple[str, ...]) -> None:
    from toolgate.load.bundle import load  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.load.cedar.reference import as_text, notes_of, schema_of  # noqa: PLC0415 - and Cedar

    # Without the policies: whoever mends one wants to see what it may say.
    bundle = load(replace(sources_of(settings), policies=None))
    try:
        schema = schema_of(bundle, actions, _counted_by_run(settings.policies, bundle))
    except LookupError as missing:
        name = str(missing.args[0])
        hint = near(name, bundle.catalog.operations, 1)
        meant = f"; did you mean `{hint[0]}`?" if hint else ""
        message = f"`{name}` is no operation of `{bundle.environment}`{meant}"
        raise click.BadParameter(message, param_hint="--action") from None
    if console.wants_json():
        console.emit(schema)
    else:
        console.line(as_text(schema, notes_of(bundle)).rstrip().encode())


def _counted_by_run(policies: Path, bundle: Bundle) -> frozenset[str]:
    """What policies may ask of a run's spending: the budgets say that, whatever else is wrong with the policies."""
    from toolgate.load.budgets import Terms, lowered  # noqa: PLC0415 - as above
    from toolgate.load.files import Folder  # noqa: PLC0415
    from toolgate.load.policies import read_policies  # noqa: PLC0415

    source = read_policies(Folder(policies, str(policies))).budgets
    if source is None or source.file is None:
        return frozenset()
    terms = Terms(bundle.environment, tuple(bundle.catalog.operations.values()), frozenset(), frozenset())
    return lowered(source.file, terms).counted_by_run


FILES: Final = {
    "budgets": "policies/budgets.yaml",
    "cases": "policies/tests/NAME.yaml",
    "cedar": "policies/NAME.cedar",
    "plan": "POST /-/plans",
    "plans": "policies/plans.yaml",
    "toolgate": "toolgate.yaml",
    "toolspec": "toolspecs/TOOL/tool.yaml",
}


def published(name: str) -> dict[str, Any]:
    """The schema of a file: self-contained, closed, each key described."""
    made = _SCHEMAS[name]()
    body = _tidy(made, made.get("$defs", {}))
    body.pop("$defs", None)
    return {"$schema": _DIALECT, "$id": f"{_ROOT}/{name}.json", "title": FILES[name], **body}


def _settings() -> dict[str, Any]:
    from toolgate.settings import Settings  # noqa: PLC0415 - pydantic

    schema = Settings.model_json_schema(by_alias=True)
    del schema["required"]  # either of `environment` and `environments` can follow from the other
    identity = schema["$defs"]["Identity"]["properties"]
    identity["anonymous"] = {"anyOf": [_BARE_ID, {"$ref": "#/$defs/Anonymous"}]}
    return schema


def _toolspec() -> dict[str, Any]:
    from toolgate.load.toolspec import ToolFile  # noqa: PLC0415 - pydantic

    schema = ToolFile.model_json_schema(by_alias=True)
    environment = schema["$defs"]["EnvironmentEntry"]["properties"]
    listed = environment["credentials"]
    said = {"description": listed.pop("description")}
    environment["credentials"] = {**said, "anyOf": [listed["items"], listed]}  # one may stand without its list
    return schema


def _budgets() -> dict[str, Any]:
    from toolgate.load.budgets import AMOUNT_SCHEMA, BudgetsFile  # noqa: PLC0415 - pydantic

    schema = BudgetsFile.model_json_schema(by_alias=True)
    schema["$defs"]["BudgetEntry"]["additionalProperties"] = AMOUNT_SCHEMA  # the name of a cost
    return schema


def _plan() -> dict[str, Any]:
    from toolgate.core.planform import PLAN_SCHEMA  # noqa: PLC0415 - the validator; `--help` does without

    return dict(PLAN_SCHEMA)


def _plans() -> dict[str, Any]:
    from toolgate.load.plans import PlansFile  # noqa: PLC0415 - pydantic

    return PlansFile.model_json_schema(by_alias=True)


def _cases() -> dict[str, Any]:
    from toolgate.load.casefile import CaseEntry, FileEntry  # noqa: PLC0415 - pydantic

    schema, case = FileEntry.model_json_schema(by_alias=True), CaseEntry.model_json_schema(by_alias=True)
    definitions = schema["$defs"] = {**schema["$defs"], **case.pop("$defs"), "CaseEntry": case}
    case["required"], case["anyOf"] = ["note"], [{"required": ["call", "want"]}, {"required": ["matrix"]}]
    schema["properties"]["cases"]["items"] = {"$ref": "#/$defs/CaseEntry"}
    for entry in (schema, definitions["CallEntry"]):
        entry["properties"]["principal"]["anyOf"] = [{"type": "string"}, {"$ref": "#/$defs/PrincipalEntry"}]
    return schema


_SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "budgets": _budgets,
    "cases": _cases,
    "plan": _plan,
    "plans": _plans,
    "toolgate": _settings,
    "toolspec": _toolspec,
}


def _tidy(schema: Any, definitions: dict[str, Any]) -> Any:
    """References replaced by what they name, and generated titles left out."""
    match schema:
        case {"$ref": str(name), **beside}:
            return _tidy({**definitions[name.rpartition("/")[2]], **beside}, definitions)
        case dict():
            return {key: _member(key, value, definitions) for key, value in schema.items() if _says(key, value)}
        case list():
            return [_tidy(value, definitions) for value in schema]
        case _:
            return schema


def _says(key: str, value: Any) -> bool:
    """Whether a member tells a reader anything: titles repeat names, and defaults of sections those of their keys."""
    return key != "title" and not (key == "default" and (value is None or isinstance(value, dict)))


def _member(key: str, value: Any, definitions: dict[str, Any]) -> Any:
    """The names below `properties` are the file's own, and what is below `default` is data."""
    match key:
        case "properties":
            return {name: _tidy(inner, definitions) for name, inner in value.items()}
        case "default" | "const" | "enum" | "examples" | "$defs":
            return value
        case _:
            return _tidy(value, definitions)
