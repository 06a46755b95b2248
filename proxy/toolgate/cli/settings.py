"""`toolgate settings`: what holds, and where each value came from.

RULE: secrets are shown as the references they are written as, never read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from toolgate.cli import console
from toolgate.cli.command import Command
from toolgate.cli.options import load_settings, settings_options

if TYPE_CHECKING:
    from toolgate.settings import Loaded

_EXAMPLES = (
    "toolgate settings",
    "toolgate settings --config prod/toolgate.yaml --json",
    "toolgate settings --reference > docs/settings.md",
)


@click.command("settings", cls=Command, examples=_EXAMPLES)
@settings_options
@click.option("--reference", is_flag=True, help="Print the documentation of every setting instead, as Markdown.")
def command(config: str | None, environment: str | None, assignments: tuple[str, ...], reference: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """Print every setting, its value and where it came from.

    A flag beats a variable (`listen.agent` is TOOLGATE_LISTEN__AGENT), a variable beats the file, the file beats the
    default.
    """
    if reference:
        from toolgate.settings.reference import as_markdown, as_rows  # noqa: PLC0415 - pydantic

        console.emit(as_rows()) if console.wants_json() else console.say(as_markdown().rstrip("\n"))
        return
    _show(load_settings(config, assignments, environment=environment))


def _show(loaded: Loaded) -> None:
    from toolgate.settings import keys  # noqa: PLC0415 - pydantic

    rows = [(key.name, key.shown(key.value(loaded.settings)), str(loaded.origin(key.name))) for key in keys().values()]
    if console.wants_json():
        console.emit({name: {"value": value, "from": origin} for name, value, origin in rows})
        return
    console.table(("setting", "value", "from"), rows, styles=("cyan", None, "dim"))
    for warning in loaded.warnings:
        console.warn(warning)
