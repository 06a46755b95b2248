"""How commands print: text for people, JSON for programs, colour only on a terminal.

RULE: results go to standard output, everything said about the work to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import orjson

from toolgate.core.bundle import Problem

JSON: Final = "toolgate.json"  # in click's context: whether `--json` was given


def wants_json() -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(JSON))


def say(text: str = "", *, style: str | None = None) -> None:
    click.echo(paint(text, style) if style else text)


def note(text: str) -> None:
    """Say something about the work, beside its result."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    click.echo(f"{paint('warning', 'yellow')}: {text}", err=True)


def failure(text: str) -> None:
    if wants_json():
        emit({"error": text})
    click.echo(f"{paint('toolgate', 'red')}: {text}", err=True)


def problems(found: Sequence[Problem], *, to_stderr: bool = True) -> None:
    """Print every problem as `path:line: code: message`, then how many there are."""
    if wants_json():
        emit({"problems": [_located(problem) for problem in found]})
        return
    for problem in found:
        said = printable(problem.message)
        click.echo(f"{paint(printable(problem.place), 'bold')}: {paint(problem.code, 'red')}: {said}", err=to_stderr)
    note(counted(len(found), "problem"))


def _located(problem: Problem) -> dict[str, Any]:
    place = {"column": problem.column} if problem.column else {}
    return {"path": problem.path, "line": problem.line, **place, "code": problem.code, "message": problem.message}


def counted(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def emit(value: Any) -> None:
    """Print one JSON document."""
    line(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str))


def line(encoded: bytes) -> None:
    """Print one line of JSON exactly as it is."""
    click.echo(encoded)


def paint(text: str, style: str) -> str:
    """Text in a colour, or `bold` or `dim`; `echo` takes it away again where nobody sees it."""
    match style:
        case "bold":
            return click.style(text, bold=True)
        case "dim":
            return click.style(text, dim=True)
        case colour:
            return click.style(text, fg=colour)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str | None] = ()) -> None:
    """Print aligned columns: as wide as a terminal there, unwrapped anywhere else."""
    from rich.console import Console  # noqa: PLC0415 - 15 ms that most commands do not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column, style in zip(columns, [*styles, *[None] * len(columns)], strict=False):
        shown.add_column(column, style=style, overflow="fold")
    for row in rows:
        # SECURITY: cells hold what agents wrote; a control character could rewrite the terminal.
        shown.add_row(*(Text(printable(cell)) for cell in row))
    console.print(shown)


def printable(text: str) -> str:
    """Text with every character that could steer a terminal written as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
