"""`toolgate thaw`: take back what was frozen, or a run that was stopped."""

from __future__ import annotations

from typing import Any

import click

from toolgate.cli.command import Command
from toolgate.cli.switching import switch_options, throw

_EXAMPLES = (
    'toolgate thaw --run run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA --why "the loop is fixed"',
    'toolgate thaw --everything --why "incident 4711 is over"',
)


@click.command("thaw", cls=Command, examples=_EXAMPLES)
@switch_options
def command(**options: Any) -> None:
    """Let a run, a principal, a tool or everything go on.

    A run that the gate stopped (`run.stopped`) goes on too; what it has spent stays spent.
    """
    throw("thaw", options)
