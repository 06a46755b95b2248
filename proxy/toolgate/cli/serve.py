"""`toolgate serve`: run the gate in the foreground until SIGTERM or Ctrl-C.

RULE: standard output is the journal's; everything said at the start goes to standard error, as text on a terminal and
as one JSON line elsewhere, so that a log collector can read the whole stream.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from toolgate.cli import console
from toolgate.cli.command import Command
from toolgate.cli.console import counted
from toolgate.cli.importing import unswept
from toolgate.cli.options import listen_options, load_settings, settings_options
from toolgate.cli.project import load_project, without_tools
from toolgate.release import installed_version
from toolgate.settings.sources import shortest

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.settings import Loaded, Settings

_EXAMPLES: Final = (
    "toolgate serve",
    "toolgate serve --config gate/toolgate.yaml --environment staging",
    "toolgate serve --listen-agent 127.0.0.1:9000 --set journal.stdout=false",
    "toolgate serve --check",
)


@click.command("serve", cls=Command, examples=_EXAMPLES)
@settings_options
@listen_options
@click.option("--check", is_flag=True, help="Load everything, print what would run, and end without listening.")
def command(
    *, config: str | None, environment: str | None, assignments: tuple[str, ...], check: bool, **listen: str | None
) -> None:
    """Run the gate.

    SIGTERM and Ctrl-C finish what is in flight and end; SIGHUP, and any change in the toolspecs and policies folders,
    reload. A configuration with problems does not start, and a reload with problems leaves what is running.
    """
    loaded = load_settings(config, assignments, environment=environment, **listen)
    if check:
        _read_secrets(loaded.settings)
        facts = _facts(loaded, load_project(loaded.settings), _configured(loaded.settings))
        console.emit(facts) if console.wants_json() else _say(facts, console.say)
        return
    with unswept():
        from toolgate import app  # noqa: PLC0415 - everything; `--help` does without

    app.serve(loaded.settings, lambda it: _announce(loaded, it.gateway.bundle, it.addresses))


def _read_secrets(settings: Settings) -> None:
    """See that the secrets the settings name can be used, as a start would. Raises BundleError and LedgerError."""
    from toolgate.keys import mask_secret, run_secret, secret_text  # noqa: PLC0415 - `--help` does without
    from toolgate.settings.webhook import hook_of  # noqa: PLC0415 - as above

    hook_of(settings)
    for name, read in (("mask", mask_secret), ("run", run_secret)):
        given = getattr(settings.keys, name)
        if given is not None:
            read(secret_text(given, f"keys.{name}"), None)
    for number, issuer in enumerate(settings.identity.issuers):
        if issuer.secret is not None:
            secret_text(issuer.secret, f"identity.issuers[{number}].secret")
    if settings.redis.password is not None:
        secret_text(settings.redis.password, "redis.password")


def _configured(settings: Settings) -> dict[str, str]:
    listen = settings.listen
    named = {"agent": listen.agent, "admin": listen.admin, "health": listen.health}
    return {name: str(address) for name, address in named.items() if address is not None}


def _announce(loaded: Loaded, bundle: Bundle, addresses: dict[str, str]) -> None:
    """Say what runs, on standard error: to a person, or in the form of the operations log."""
    facts, log = _facts(loaded, bundle, addresses), loaded.settings.log
    if not console.wants_json() and (log.format == "text" or (log.format == "auto" and sys.stderr.isatty())):
        _say(facts, console.note)
        return
    from toolgate.log import open_log  # noqa: PLC0415 - structlog; `--help` does without

    open_log(log.level, "json").info("gate_started", **facts)


def _facts(loaded: Loaded, bundle: Bundle, addresses: dict[str, str]) -> dict[str, Any]:
    settings = loaded.settings
    here = [tool for tool in bundle.tools.values() if settings.environment in tool.environments]
    return {
        "version": installed_version(),
        "environment": settings.environment,
        "revision": bundle.revision,
        "settings": str(shortest(loaded.file)) if loaded.file else None,
        "listeners": {name: _url(name, address, settings) for name, address in addresses.items()},
        "ledger": settings.ledger,
        "tools": len(here),
        "operations": len(bundle.catalog.operations),
        "allowed": len(bundle.catalog.allowed),
        "mode": bundle.mode,
        "policy": _policy(bundle),
        "warnings": [*loaded.warnings, *([] if here else [without_tools(settings.environment)])],
    }


def _policy(bundle: Bundle) -> str:
    statements = len(bundle.policies.statements)
    if not statements:
        return "no statements: every call is refused; write one in the policies folder"
    return counted(statements, "statement")


def _url(name: str, address: str, settings: Settings) -> str:
    """What to connect to, as one writes it."""
    if address.startswith("unix:"):
        return address
    return f"{'https' if getattr(settings.listen.tls, name) else 'http'}://{address}"


def _say(facts: dict[str, Any], say: Callable[[str], None]) -> None:
    name = console.paint(f"toolgate {facts['version']}", "bold")
    say(f"{name} in {console.paint(facts['environment'], 'cyan')} ({facts['settings'] or 'no settings file'})")
    for listener, url in facts["listeners"].items():
        say(f"  {listener:<8} {url}")
    say(f"  ledger   {facts['ledger']}")
    say(
        f"  tools    {counted(facts['tools'], 'tool')}, {facts['allowed']:,} of {counted(facts['operations'], 'operation')} allowed"
    )
    say(f"  policy   {facts['policy']}")
    for warning in facts["warnings"]:
        console.warn(warning)
