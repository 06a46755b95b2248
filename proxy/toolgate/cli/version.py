"""`toolgate version`."""

from __future__ import annotations

import platform

import click

from toolgate.cli import console
from toolgate.cli.command import Command
from toolgate.release import installed_version


@click.command("version", cls=Command, examples=("toolgate version", "toolgate version --json"))
def command() -> None:
    """Print the version of toolgate and of the Python it runs on."""
    found = {"toolgate": installed_version(), "python": platform.python_version()}
    console.emit(found) if console.wants_json() else console.say(
        f"toolgate {found['toolgate']} (Python {found['python']})"
    )
