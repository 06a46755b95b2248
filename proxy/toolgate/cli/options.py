"""The options by which a command finds its settings.

RULE: a flag is a setting's key in another spelling: what it says goes through the same checks and is named in problems.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from toolgate.settings import Loaded

_F = TypeVar("_F", bound=Callable[..., Any])
# Flag → the setting it sets.
_FLAGS: Final = {
    "environment": ("--environment", "environment"),
    "listen_agent": ("--listen-agent", "listen.agent"),
    "listen_admin": ("--listen-admin", "listen.admin"),
    "listen_health": ("--listen-health", "listen.health"),
    "ledger": ("--ledger", "ledger"),
}


def settings_options(command: _F) -> _F:
    """Add `--config`, `--environment` and `--set`."""
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set any setting, such as `limits.in_flight=8`.",
        ),
        click.option("--environment", "-e", metavar="NAME", help="The environment, instead of the settings' own."),
        click.option(
            "--config", "-c", metavar="FILE", help="The settings file; else $TOOLGATE_CONFIG, else ./toolgate.yaml."
        ),
    ):
        command = option(command)
    return command


def listen_options(command: _F) -> _F:
    """Add the flags `serve` has for what is changed most."""
    for option in (
        click.option("--ledger", metavar="URL", help="Where the journal is: `sqlite:PATH` or `memory:`."),
        click.option(
            "--listen-health", metavar="ADDRESS", help="Probes and metrics: `host:port`, `unix:path` or `off`."
        ),
        click.option(
            "--listen-admin", metavar="ADDRESS", help="The admin listener: `host:port`, `unix:path` or `off`."
        ),
        click.option("--listen-agent", metavar="ADDRESS", help="Where agents call: `host:port` or `unix:path`."),
    ):
        command = option(command)
    return command


def load_settings(config: str | None, assignments: tuple[str, ...], **given: str | None) -> Loaded:
    """Load the settings the options name. Raises BundleError with every problem."""
    from toolgate.settings import load  # noqa: PLC0415 - pydantic; `--help` does without

    return load(
        config=Path(config) if config else None,
        flags={**_assigned(assignments), **_flagged(given)},
        environ=os.environ,
        cwd=Path.cwd(),
    )


def _assigned(assignments: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    flags = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise click.BadParameter("write `--set KEY=VALUE`, such as `--set limits.in_flight=8`", param_hint="--set")
        flags[key] = (f"--set {key}", text)
    return flags


def _flagged(given: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
    return {_FLAGS[name][1]: (_FLAGS[name][0], text) for name, text in given.items() if text is not None}


class Moment(click.ParamType[int]):
    """A time as RFC 3339 writes it, in milliseconds since 1970."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from toolgate.load.casefile import moment_ms  # noqa: PLC0415 - pydantic; `--help` does without

        try:
            return moment_ms(value)
        except ValueError as error:
            self.fail(f"`{value}` {error}", param, ctx)


class Claim(click.ParamType[tuple[str, str]]):
    name = "claim"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"`{value}` is no claim; write `NAME=VALUE`, such as `team=sre`", param, ctx)
        return name, text
