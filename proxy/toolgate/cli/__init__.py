"""The command line.

RULE: a command says what is so and exits: 0 done, 1 the answer is no, 2 usage or configuration, 3 could not do it,
4 tests failed, 70 a defect. No command shows a traceback unless TOOLGATE_DEBUG=1 asks for it.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final

import click

from toolgate.cli.importing import unswept
from toolgate.core.suggest import near

# In the order of use. Each stands in the module of its name, as `command`, and is imported when it is asked for.
COMMANDS: Final = {
    "init": "Write a toolspec and a starter policy for an API.",
    "check": "Load everything and print every problem at once.",
    "serve": "Run the gate.",
    "demo": "Play the worked example and print it call by call.",
    "explain": "Decide one call without sending it.",
    "test": "Run the cases of the policies folder.",
    "diff": "Say what changes between two configurations.",
    "plan": "Check, show, compare and draw plans.",
    "approvals": "See what agents ask of people, and answer it.",
    "token": "Mint a token for development.",
    "journal": "Read and verify the journal.",
    "runs": "Show what an agent did, step by step.",
    "budgets": "Show what is spent, by whom, and what is left.",
    "freeze": "Stop a run, a principal, a tool or everything.",
    "thaw": "Let what was frozen or stopped go on.",
    "freezes": "List what is frozen.",
    "ledger": "Look after the store that gates share.",
    "settings": "Print every setting and where it came from.",
    "schema": "Print the JSON Schema of a file.",
    "version": "Print the version.",
}


class _Commands(click.Group):
    """Finds a command by importing its module: neither `serve` nor `--help` pays for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        with unswept():
            found = import_module(f"toolgate.cli.{cmd_name}").command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            meant = near(args[0], COMMANDS, 1)
            hint = f"did you mean `{meant[0]}`?" if meant else "`toolgate --help` lists the commands"
            ctx.fail(f"`{args[0]}` is not a command; {hint}")
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if not value or ctx.resilient_parsing:
        return
    from toolgate.release import installed_version  # noqa: PLC0415 - reads the distribution's metadata; other commands do without

    click.echo(f"toolgate {installed_version()}")
    ctx.exit()


@click.group(
    "toolgate",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 could not do it, 4 tests failed, 70 a defect of toolgate.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def main(ctx: click.Context) -> None:
    """IAM for tools: decides every call an agent makes to an API, before it is sent.

    Start with `toolgate init --openapi FILE --tool NAME`, then `toolgate check`, then `toolgate serve`.
    """
    # SECURITY: whatever else is installed, nothing hooks itself into what judges settings and files (nor is looked for).
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ.get("NO_COLOR"):
        ctx.color = False
