"""`toolgate version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from toolgate.cli import console
from toolgate.cli.command import Command


@click.command("version", cls=Command, examples=("toolgate version", "toolgate version --json"))
def command() -> None:
    """Print the version of toolgate and of the Python it runs on."""
    found = {"toolgate": installed(), "python": platform.python_version()}
    console.emit(found) if console.wants_json() else console.say(
        f"toolgate {found['toolgate']} (Python {found['python']})"
    )


def installed() -> str:
    """The installed distribution's version."""
    try:
        return version("toolgate")
    except PackageNotFoundError:
        return "0+source"
