"""`toolgate token`: mint a development token.

RULE: standard output holds the token and nothing else, so that `$(toolgate token …)` is one; whoever runs in production
gets none.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

from toolgate.auth.issuer import DEVELOPMENT_MAX_AGE_S
from toolgate.cli import console
from toolgate.cli.command import Command
from toolgate.cli.options import Claim, load_settings, settings_options
from toolgate.core.bundle import BundleError, Problem

if TYPE_CHECKING:
    from toolgate.settings import Settings

_TTL: Final = re.compile(r"([0-9]{1,6})([smh])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600}
_EXAMPLES: Final = (
    "toolgate token --sub alice",
    "toolgate token --sub alice --role digest --role oncall --claim team=sre --ttl 15m",
    "toolgate token --sub alice --act digest-bot",
    "toolgate token --sub olga --role admin --json",
)


class _Ttl(click.ParamType[int]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _TTL.fullmatch(value) if isinstance(value, str) else None
        seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
        if not 0 < seconds <= DEVELOPMENT_MAX_AGE_S:
            self.fail(f"`{value}` is no lifetime; write `90s`, `15m` or `1h`, at most `24h`", param, ctx)
        return seconds


@click.command("token", cls=Command, examples=_EXAMPLES)
@settings_options
@click.option("--sub", "subject", required=True, metavar="NAME", help="Who it is: the principal is `dev/NAME`.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role it has; may be given several times.")
@click.option("--claim", "claims", multiple=True, type=Claim(), metavar="NAME=VALUE", help="A claim policies can see.")
@click.option("--act", "actor", metavar="NAME", help="Who acts for the subject (RFC 8693): a delegated token.")
@click.option("--ttl", "ttl_s", type=_Ttl(), default="1h", show_default=True, metavar="TIME", help="How long it lives.")
def command(  # noqa: PLR0913 - each is an option of the command line
    *,
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    subject: str,
    roles: tuple[str, ...],
    claims: tuple[tuple[str, str], ...],
    actor: str | None,
    ttl_s: int,
) -> None:
    """Mint a token for development, and print it alone.

    A gate takes it with `identity.development: true`, as the principal `dev/NAME`. It is signed with a key beside the
    ledger, made at first use. Production takes no such token, and none is made there.
    """
    settings = load_settings(config, assignments, environment=environment).settings
    _require_no_production(settings)
    from toolgate.auth.development import Wanted, minted  # noqa: PLC0415 - PyJWT and cryptography; `--help` does without
    from toolgate.auth.errors import AuthError  # noqa: PLC0415 - as above
    from toolgate.settings.identity import development_key  # noqa: PLC0415 - pydantic; `--help` does without

    wanted = Wanted(subject, roles, dict(claims), actor, ttl_s)
    try:
        made = minted(development_key(settings), wanted, time.time_ns() // 1_000_000_000)
    except AuthError as error:
        raise click.UsageError(f"no gate would take it: {error.detail}") from None
    if not settings.identity.development:
        console.warn("no gate with these settings takes it: `identity.development` is not `true`")
    if console.wants_json():
        console.emit(
            {
                "token": made.token,
                "principal": made.principal.id,
                "roles": made.principal.roles,
                "expires_at": made.expires_at_s,
            }
        )
        return
    console.say(made.token)


def _require_no_production(settings: Settings) -> None:
    if settings.is_production:
        message = f"`{settings.environment}` is production, where no development token is taken, so none is made"
        raise BundleError([Problem("settings", 0, "identity.development", message)])
