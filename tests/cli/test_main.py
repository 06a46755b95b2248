"""What holds for every command: help with examples, exit codes, no tracebacks, JSON when asked."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from toolgate.cli import COMMANDS, console, main
from toolgate.cli.command import Command
from toolgate.core.bundle import BundleError, Problem
from toolgate.ports import LedgerError

ROOT = Path(__file__).resolve().parents[2]
Toolgate = Callable[..., click.testing.Result]
Process = Callable[..., subprocess.CompletedProcess[str]]


def commands() -> Iterator[tuple[str, Command]]:
    """Every command there is, by its words."""
    for name in COMMANDS:
        found = main.get_command(click.Context(main), name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", command) for inner, command in found.commands.items())  # type: ignore[misc]
        else:
            yield name, found  # type: ignore[misc]


@pytest.mark.parametrize(("words", "command"), list(commands()), ids=lambda each: each if isinstance(each, str) else "")
def test_every_command_has_help_with_examples_and_json(words: str, command: Command) -> None:
    """`--help` explains, shows commands one can type, and offers `--json`."""
    shown = CliRunner().invoke(main, [*words.split(), "--help"], prog_name="toolgate")

    assert shown.exit_code == 0
    assert "Examples:" in shown.output
    assert "--json" in shown.output
    assert command.help
    assert [example for example in command.examples if not example.startswith(f"toolgate {words}")] == []


@pytest.mark.parametrize(("words", "command"), list(commands()), ids=lambda each: each if isinstance(each, str) else "")
def test_every_example_can_be_typed(words: str, command: Command) -> None:
    """Each option and argument in an example is one the command takes."""
    for example in command.examples:
        typed = shlex.split(example.partition(" | ")[0].partition(" > ")[0])[1 + len(words.split()) :]
        command.make_context(words, typed, resilient_parsing=False).close()


def test_help_lists_the_commands_without_importing_them(toolgate: Toolgate) -> None:
    """The table in the help agrees with the commands."""
    shown = toolgate("--help")

    assert shown.exit_code == 0
    assert [name for name in COMMANDS if f"  {name} " not in shown.output] == []


def test_a_misspelt_command_names_the_near_one(toolgate: Toolgate) -> None:
    """Usage errors end with 2."""
    shown = toolgate("chekc")

    assert shown.exit_code == 2
    assert "`chekc` is not a command; did you mean `check`?" in shown.output


def ended(error: Exception | None, *words: str, **environ: str) -> click.testing.Result:
    def work() -> None:
        if error is not None:
            raise error
        console.emit({"done": True})

    command = Command("work", callback=work, examples=["toolgate work"])
    return CliRunner().invoke(command, words, env={"TOOLGATE_DEBUG": "", **environ}, prog_name="toolgate work")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (
            BundleError([Problem("a.yaml", 3, "x.y", "no"), Problem("b", 0, "x.z", "why")]),
            2,
            "a.yaml:3: x.y: no\nb: x.z: why\n2 problems\n",
        ),
        (LedgerError("the disk is full"), 3, "toolgate: the disk is full\n"),
        (PermissionError(13, "Permission denied", "x.yaml"), 3, "toolgate: `x.yaml`: permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["done", "configuration", "ledger", "system", "interrupted"],
)
def test_endings(error: Exception | None, code: int, said: str) -> None:
    """0 done, 2 configuration, 3 could not do it, 130 interrupted; one sentence each."""
    shown = ended(error)

    assert (shown.exit_code, shown.stderr) == (code, said)


def test_a_defect_is_70_and_a_traceback_only_on_request() -> None:
    """The operator gets one line that says what to report, whatever the error holds."""
    shown, debugged = ended(ZeroDivisionError("a\nb")), ended(ZeroDivisionError("a"), TOOLGATE_DEBUG="1")

    assert shown.exit_code == debugged.exit_code == 70
    assert shown.stderr == (
        "toolgate: this is a defect of toolgate, in `toolgate work`: ZeroDivisionError: a b; "
        "please report it with the output of the same command under TOOLGATE_DEBUG=1\n"
    )
    assert "Traceback" in debugged.stderr


def test_errors_are_json_too() -> None:
    """A program reads what went wrong from standard output."""
    broken = ended(BundleError([Problem("a.yaml", 3, "x.y", "no")]), "--json")

    assert broken.exit_code == 2
    assert '"problems"' in broken.stdout
    assert '"line": 3' in broken.stdout


def test_control_characters_are_shown_and_not_obeyed() -> None:
    """What agents and vendors wrote must not steer a terminal."""
    assert console.printable("a\x1b[2Jb\u202e\n") == "a\\x1b[2Jb\\u202e\\n"
    assert "\x1b[2J" not in ended(BundleError([Problem("p", 0, "c", "\x1b[2J")])).stderr


def test_version_as_a_process(process: Process) -> None:
    """`python -m toolgate.cli` is the command."""
    shown = process("version")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("toolgate ")


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    """`toolgate … | head` ends quietly."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "proxy")}
    script = f"set -o pipefail; {sys.executable} -m toolgate.cli settings --reference --json | true"
    shown = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environ, capture_output=True, timeout=60, check=False
    )

    assert (shown.returncode, shown.stderr) == (0, b"")


def test_the_version_is_also_an_option() -> None:
    """What people type first."""
    shown = CliRunner().invoke(main, ["--version"], prog_name="toolgate")

    assert shown.exit_code == 0
    assert CliRunner().invoke(main, ["version"], prog_name="toolgate").output.startswith(shown.output.rstrip())
    assert shown.output.startswith("toolgate ")
