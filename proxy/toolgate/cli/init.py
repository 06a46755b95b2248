"""`toolgate init`: from an OpenAPI document to a gate that can be started.

RULE: nothing that stands is overwritten unless `--force` says so, and nothing is written before everything is known.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import click

from toolgate.cli import console
from toolgate.cli.command import COULD_NOT, Command
from toolgate.core.actions import EFFECTS
from toolgate.core.bundle import BundleError, Problem
from toolgate.core.suggest import near
from toolgate.settings.sources import shortest

if TYPE_CHECKING:
    from toolgate.cli.scaffold import Draft
    from toolgate.cli.source import Source

_TOOL: Final = re.compile(r"(?!mcp$)[a-z][a-z0-9_-]{0,31}", re.ASCII)
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_FIRST_ENVIRONMENT: Final = "dev"
_EXAMPLES: Final = (
    "toolgate init --openapi openapi.yaml --tool billing",
    "toolgate init --openapi https://petstore3.swagger.io/api/v3/openapi.json --tool petstore",
    "toolgate init --openapi api.json --tool crm --upstream http://crm:8080 -e staging -e prod gate/",
)


@dataclass(frozen=True, slots=True)
class _Project:
    """The folder the files go to, and what its settings already say."""

    folder: Path
    toolspecs: Path
    policies: Path
    environments: tuple[str, ...]
    environment: str
    principal: str
    roles: tuple[str, ...]
    has_settings: bool


@click.command("init", cls=Command, examples=_EXAMPLES)
@click.option(
    "--openapi", "document", required=True, metavar="FILE|URL", help="OpenAPI 3.x or Swagger 2.0, YAML or JSON."
)
@click.option(
    "--tool", required=True, metavar="NAME", help="The tool's name, and the first part of its paths on the gate."
)
@click.option("--upstream", metavar="URL", help="Where the API is; else the document's own server.")
@click.option(
    "--environment",
    "-e",
    "environments",
    multiple=True,
    metavar="NAME",
    help="An environment it exists in; may be repeated.",
)
@click.option("--force", is_flag=True, help="Overwrite the tool's own files where they exist.")
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path))
def command(  # noqa: PLR0913 - each is an option of the command line
    *,
    document: str,
    tool: str,
    upstream: str | None,
    environments: tuple[str, ...],
    force: bool,
    folder: Path,
) -> None:
    """Write a toolspec and a starter policy for an API.

    Reads (GET) are allowed; everything else is listed in comments for you to allow. Effects are guessed from methods
    and names. Settings are written where there are none; nothing is overwritten without --force.
    """
    from toolgate.cli.drafting import make_draft  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.cli.source import read_source  # noqa: PLC0415

    _check_names(tool, environments)
    project = _project(folder, environments)
    source = read_source(document)
    draft = make_draft(source, tool=tool, upstream=upstream, environments=environments or (project.environment,))
    files = {**_files(draft, project), **_documents(draft, source, project)}
    _write(files, force=force)
    _report(draft, project, files)


def _check_names(tool: str, environments: tuple[str, ...]) -> None:
    if not _TOOL.fullmatch(tool):
        raise click.BadParameter(
            "use a name such as `metrics`: `[a-z][a-z0-9_-]{0,31}`, and not `mcp`", param_hint="--tool"
        )
    if tool in EFFECTS:
        raise click.BadParameter(f"policies call a group of actions `{tool}`; use another name", param_hint="--tool")
    for name in environments:
        if not _ENVIRONMENT.fullmatch(name):
            raise click.BadParameter("use a name such as `prod`: `[a-z][a-z0-9_-]{0,31}`", param_hint="--environment")


def _project(folder: Path, environments: tuple[str, ...]) -> _Project:
    """What the folder is already set up as, or what it will be."""
    file = folder / "toolgate.yaml"
    if not file.is_file():
        names = environments or (_FIRST_ENVIRONMENT,)
        return _Project(
            folder, folder / "toolspecs", folder / "policies", names, names[0], "agent", ("agent",), has_settings=False
        )
    from toolgate.settings import load  # noqa: PLC0415 - pydantic

    settings = load(config=file, environ={}, cwd=Path.cwd()).settings
    unknown = [name for name in environments if name not in settings.environments]
    if unknown:
        listed = ", ".join(f"`{name}`" for name in settings.environments)
        nearest = near(unknown[0], settings.environments, 1)
        meant = f"did you mean `{nearest[0]}`? If not, add" if nearest else "add"
        message = f"`environments` does not list `{unknown[0]}`; it has {listed}: {meant} it there first, widest first"
        raise BundleError([Problem(str(file), 0, "settings.invalid", message)])
    return _Project(
        folder,
        shortest(settings.toolspecs),
        shortest(settings.policies),
        settings.environments,
        settings.environment,
        settings.identity.anonymous.id,
        tuple(settings.identity.anonymous.roles),
        has_settings=True,
    )


def _documents(draft: Draft, source: Source, project: _Project) -> dict[Path, bytes]:
    """The document and the files it refers to, as they will lie in the toolspec's folder."""
    folder = project.toolspecs / draft.tool
    beside = {folder / PurePosixPath(name): content for name, content in source.beside.items()}
    return {**beside, folder / draft.document: source.content}


def _files(draft: Draft, project: _Project) -> dict[Path, bytes]:
    from toolgate.cli.scaffold import (  # noqa: PLC0415
        BUDGETS_TEXT,
        policy_text,
        scope_of,
        settings_text,
        toolspec_text,
    )

    texts = {
        project.toolspecs / draft.tool / "tool.yaml": toolspec_text(draft),
        project.policies / f"{draft.tool}.cedar": policy_text(draft, scope_of(project.principal, project.roles)),
    }
    if not project.has_settings:
        texts[project.folder / "toolgate.yaml"] = settings_text(project.environments)
        texts[project.policies / "budgets.yaml"] = BUDGETS_TEXT
    return {path: text.encode() for path, text in texts.items()}


def _write(files: Mapping[Path, bytes], *, force: bool) -> None:
    standing = [path for path in files if path.exists()]
    if standing and not force:
        named = ", ".join(f"`{path}`" for path in sorted(standing)[:3])
        console.failure(
            f"{named} already exist{'s' if len(standing) == 1 else ''}; nothing was written. Overwrite with --force"
        )
        raise click.exceptions.Exit(COULD_NOT)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _report(draft: Draft, project: _Project, files: Mapping[Path, bytes]) -> None:
    counts = {
        effect: sum(each.effect == effect for each in draft.operations) for effect in ("read", "write", "destructive")
    }
    following = _following(project)
    if console.wants_json():
        written = sorted(map(str, files))
        console.emit(
            {
                "tool": draft.tool,
                "written": written,
                "operations": {"total": len(draft.operations), **counts},
                "next": following,
            }
        )
        return
    for path in sorted(files):
        console.say(f"wrote {path}")
    said = ", ".join(f"{count:,} {effect}" for effect, count in counts.items())
    console.say(
        f"\n{console.counted(len(draft.operations), 'operation')}: {said}; allowed in {', '.join(draft.environments)}: the reads"
    )
    console.say("\nNext:")
    for line in following:
        console.say(f"  {line}")


def _following(project: _Project) -> list[str]:
    at = "" if project.folder == Path() else f" --config {shlex.quote(str(project.folder / 'toolgate.yaml'))}"
    return [f"toolgate check{at}", f"toolgate serve{at}", "curl http://127.0.0.1:8400/-/tools"]
