"""`toolgate schema`: the JSON Schemas of our YAML files, for editors and for review.

RULE: a schema is made from the models that judge the file, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from toolgate.cli import console
from toolgate.cli.command import Command

_ROOT: Final = "https://toolgate.dev/schemas/v1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_BARE_ID: Final = {"type": "string", "description": "The principal's id; short for `{id: …}`."}
_EXAMPLES: Final = ("toolgate schema", "toolgate schema toolspec > toolspec.schema.json", "toolgate schema toolgate")


@click.command("schema", cls=Command, examples=_EXAMPLES)
@click.argument("file", required=False, type=click.Choice(["toolgate", "toolspec"]))
def command(file: str | None) -> None:
    """Print the JSON Schema of a file.

    `toolgate` is toolgate.yaml, `toolspec` is a tool.yaml. Without FILE, list them.
    """
    if file is not None:
        console.emit(published(file))
    elif console.wants_json():
        console.emit({"schemas": [{"name": name, "file": path} for name, path in FILES.items()]})
    else:
        console.table(("name", "file"), list(FILES.items()))


FILES: Final = {"toolgate": "toolgate.yaml", "toolspec": "toolspecs/TOOL/tool.yaml"}


def published(name: str) -> dict[str, Any]:
    """The schema of a file: self-contained, closed, each key described."""
    made = _SCHEMAS[name]()
    body = _tidy(made, made.get("$defs", {}))
    del body["$defs"]
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


_SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {"toolgate": _settings, "toolspec": _toolspec}


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
