"""`toolgate freeze`: the kill switch."""

from __future__ import annotations

from typing import Any

import click

from toolgate.cli.command import Command
from toolgate.cli.switching import switch_options, throw

_EXAMPLES = (
    'toolgate freeze --run run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA --why "it deletes what it should list"',
    'toolgate freeze --tool metrics --why "the upstream is being restored"',
    'toolgate freeze --everything --why "incident 4711" --admin unix:/run/toolgate/admin.sock',
)


@click.command("freeze", cls=Command, examples=_EXAMPLES)
@switch_options
def command(**options: Any) -> None:
    """Stop a run, a principal, a tool or everything, at once.

    The running gate is asked; it refuses every call from then on, also after a restart, until `toolgate thaw`.
    What is in flight already was sent. `toolgate freezes` lists what is frozen.
    """
    throw("freeze", options)
