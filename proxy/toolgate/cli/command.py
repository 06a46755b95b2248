"""What every command shares: examples in its help, `--json`, and how it ends when it cannot do what was asked.

RULE: whoever reads the output is an operator or a script: one sentence and an exit code, never a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import click

from toolgate.cli import console
from toolgate.core.bundle import BundleError
from toolgate.ports import LedgerError, UpstreamError

NO: Final = 1  # the answer is no
CONFIGURATION: Final = 2
COULD_NOT: Final = 3
TESTS_FAILED: Final = 4
DEFECT: Final = 70
INTERRUPTED: Final = 130


class Command(click.Command):
    """A command with examples in its help, `--json`, and typed endings."""

    def __init__(self, *args: Any, examples: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(_json_option())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except BrokenPipeError:
            _leave_pipe()
        except BundleError as broken:
            console.problems(broken.problems)
            ctx.exit(CONFIGURATION)
        except (LedgerError, UpstreamError, OSError) as error:
            console.failure(_sentence(error))
            ctx.exit(COULD_NOT)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the outermost line: a defect is told, never thrown at the operator
            _tell_defect(ctx, error)


def _json_option() -> click.Option:
    return click.Option(
        ["--json", "as_json"],
        is_flag=True,
        expose_value=False,
        callback=lambda ctx, _param, chosen: ctx.meta.__setitem__(console.JSON, chosen),
        is_eager=True,
        help="Print JSON instead of text.",
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        named = f"`{error.filename}`: " if error.filename else ""
        return f"{named}{error.strerror.lower()}"
    return str(error) or "it ended without saying why"


def _tell_defect(ctx: click.Context, error: Exception) -> NoReturn:
    if os.environ.get("TOOLGATE_DEBUG") == "1":
        traceback.print_exception(error)
    said = " ".join(str(error).split())[:200]
    console.failure(
        f"this is a defect of toolgate, in `{ctx.command_path}`: {type(error).__name__}{': ' if said else ''}{said}; "
        "please report it with the output of the same command under TOOLGATE_DEBUG=1"
    )
    ctx.exit(DEFECT)


def _leave_pipe() -> NoReturn:
    """The reader has seen enough (`| head`). Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(0)
