"""`toolgate explain`: decide one call as the gate would, and say why. Nothing is sent, recorded or charged.

RULE: the decision and its reasons come out of the engine that serves; nothing is decided here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from toolgate.cli import console
from toolgate.cli.command import COULD_NOT, NO, Command
from toolgate.cli.offline import not_known, principal_of, situation_of
from toolgate.cli.options import Claim, Moment, load_settings, settings_options
from toolgate.cli.project import load_project

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.core.explanation import Explanation, Stage
    from toolgate.core.model import Asked, Refusal

_CALL_ID: Final = "explain"
_HELD: Final = {True: ("holds", "green"), False: ("does not hold", "dim"), None: ("cannot tell", "yellow")}
_STYLES: Final = {"passed": "green", "refused": "red"}
_EXAMPLES: Final = (
    "toolgate explain metrics.listMetrics",
    'toolgate explain metrics.removeMetric --args \'{"name": "node_cpu"}\'',
    "toolgate explain metrics.queryCluster --args @arguments.json -e staging",
    'toolgate explain -X POST /metrics/metrics/v1/cluster -d \'{"cluster": "eu-1", "metric": "node_cpu"}\'',
    'toolgate explain metrics.removeMetric --args \'{"name": "node_cpu"}\' --resources known.yaml',
    "toolgate explain metrics.listMetrics --as corp/alice --role digest --claim team=sre --on-behalf-of bob",
    "toolgate explain metrics.listMetrics --now 2026-11-22T17:30:00Z",
)


@click.command("explain", cls=Command, examples=_EXAMPLES)
@settings_options
@click.argument("operation", required=False, metavar="[TOOL.ID]")
@click.option(
    "--args", "arguments", metavar="JSON|@FILE", help="The arguments object: parameters by name, the body as `body`."
)
@click.option(
    "-X", "request", nargs=2, metavar="METHOD PATH", help="Explain this request instead, as an agent would send it."
)
@click.option("-d", "--data", metavar="BODY|@FILE", help="The request's body.")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the request; may be repeated."
)
@click.option(
    "--resources",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="What live catalogues list, which only a running gate reads: `{Metric: {node_cpu: {tier: critical}}}`.",
)
@click.option("--as", "caller", metavar="PRINCIPAL", help="Who calls; otherwise who calls without a token.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of `--as`; may be given several times.")
@click.option("--claim", "claims", multiple=True, type=Claim(), metavar="NAME=VALUE", help="A claim of `--as`.")
@click.option("--on-behalf-of", metavar="SUBJECT", help="Whom `--as` acts for (the `act` of a token).")
@click.option(
    "--now", "now_ms", metavar="TIME", type=Moment(), help="When the call comes, such as `2026-11-22T17:30:00Z`."
)
@click.option(
    "--completed",
    multiple=True,
    metavar="TOOL.ID",
    help="An operation the run has completed before this call; may be given several times.",
)
def command(  # noqa: PLR0913 - each is an option of the command line
    *,
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    operation: str | None,
    arguments: str | None,
    request: tuple[str, str] | None,
    data: str | None,
    headers: tuple[str, ...],
    resources: str | None,
    caller: str | None,
    roles: tuple[str, ...],
    claims: tuple[tuple[str, str], ...],
    on_behalf_of: str | None,
    now_ms: int | None,
    completed: tuple[str, ...],
) -> None:
    """Decide one call without sending it, and print each stage with its reason.

    Exits with 0 when the call would be permitted, 1 when it would be refused, 3 when that is not known without a gate.
    """
    if (operation is None) == (request is None):
        raise click.UsageError(
            "name an operation (`toolgate explain metrics.listMetrics`) or a request (`-X GET /metrics/metrics`)"
        )
    asked = _request(*request, data, headers) if request else _named(str(operation), arguments)
    settings = load_settings(config, assignments, environment=environment).settings
    bundle = load_project(settings)
    from toolgate.core.explanation import explain  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.core.model import Call, Facts, Permit, RunFacts  # noqa: PLC0415

    principal = principal_of(settings, caller, roles, dict(claims), on_behalf_of)
    _judge_completed(completed, bundle)
    call = Call(_CALL_ID, time.time_ns() // 1_000_000 if now_ms is None else now_ms, principal, asked)
    run = RunFacts(completed=frozenset(completed))
    facts = Facts(run=run, situation=situation_of(resources, bundle))
    explanation = explain(call, facts, bundle)
    why = not_known(explanation.decision, bundle)
    if why is not None:
        console.failure(why)
        raise click.exceptions.Exit(COULD_NOT)
    _show(explanation, bundle)
    if not isinstance(explanation.decision, Permit):
        raise click.exceptions.Exit(NO)


def _judge_completed(completed: tuple[str, ...], bundle: Bundle) -> None:
    """A misspelt operation would never have been completed, and the answer would be about another run."""
    known = {*bundle.catalog.operations, *(each.key for each in bundle.catalog.elsewhere)}
    from toolgate.load.models import did_you_mean  # noqa: PLC0415 - pydantic; `--help` does without

    for name in completed:
        if name not in known:
            meant = did_you_mean(name, sorted(known))
            raise click.BadParameter(f"there is no operation `{name}`{meant}", param_hint="--completed")


def _named(operation: str, arguments: str | None) -> Asked:
    from toolgate.core.model import Named  # noqa: PLC0415 - `--help` does without

    text = _text(arguments or "{}")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"is not JSON: {error.msg}", param_hint="--args") from error
    if not isinstance(value, dict):
        raise click.BadParameter('is not an object; write `{"name": …}`', param_hint="--args")
    return Named(operation, value)


def _request(method: str, target: str, data: str | None, headers: tuple[str, ...]) -> Asked:
    from toolgate.core.model import Wire  # noqa: PLC0415 - `--help` does without

    if not target.isascii():
        raise click.BadParameter("has characters beyond ASCII; percent-encode them", param_hint="-X")
    path, _, query = _path_of(target).partition("?")
    body = _text(data) if data is not None else b""
    given = dict(_header(header) for header in headers)
    typed = {"content-type": "application/json", **given} if body else given
    return Wire(method.upper(), path, query, typed, body)


def _path_of(target: str) -> str:
    """The path and query, also of a whole URL: the gate's address is no part of a decision."""
    if target.lower().startswith(("http://", "https://")):
        return "/" + target.partition("://")[2].partition("/")[2]
    return target


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter("write `NAME: VALUE`", param_hint="--header")
    return name.strip().lower(), value.strip()


def _text(given: str) -> bytes:
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        console.failure(f"`{given[1:]}`: {(error.strerror or 'it cannot be read').lower()}")
        raise click.exceptions.Exit(COULD_NOT) from error


def _show(explanation: Explanation, bundle: Bundle) -> None:
    from toolgate.core.model import Permit, Refusal  # noqa: PLC0415 - `--help` does without
    from toolgate.listeners.problem import stages_json  # noqa: PLC0415

    decision = explanation.decision
    if console.wants_json():
        console.emit({"decision": _decision_json(decision, bundle), "stages": stages_json(explanation)})
        return
    console.say(console.paint(f"in `{bundle.environment}`, nothing is sent", "dim"))
    for stage in explanation.stages:
        said = console.printable(f"  {stage.reason}") if stage.reason else ""
        console.say(f"  {stage.stage:<12} {console.paint(stage.result, _STYLES.get(stage.result, 'dim'))}{said}")
        _say_statements(stage, bundle)
    match decision:
        case Permit(valid=valid):
            target = valid.operation.target
            sent = f"{valid.request.method} {target.url if target else ''}{valid.request.target}"
            console.say(
                f"{console.paint('permitted', 'green')}: {valid.operation.key} would be sent as {console.printable(sent)}"
            )
        case Refusal():
            _say_refusal(decision)


def _say_statements(stage: Stage, bundle: Bundle) -> None:
    """What was evaluated, and which permit would hold but for one condition."""
    for statement, effect, holds in stage.applied:
        told, style = _HELD[holds]
        trial = " (audit)" if bundle.policies.statements[statement].audit else ""
        console.say(f"    {console.paint(f'{told:<13}', style)} {effect} `{statement}`{trial}")
    for near in stage.near_misses:
        hint = f"; {near.hint}" if near.hint else ""
        console.say(
            console.printable(f"    nearly: `{near.statement}` would permit it, but for `{near.condition}`{hint}")
        )


def _say_refusal(refusal: Refusal) -> None:
    for violation in refusal.violations:
        console.say(console.printable(f"    {violation.path or '/'}: {violation.message}"))
    title = refusal.title or refusal.code.title
    console.say(f"{console.paint('refused', 'red')}: {refusal.code.code} ({title})")
    console.say(f"hint: {console.printable(refusal.recovery.hint)}")


def _decision_json(decision: Any, bundle: Bundle) -> dict[str, Any]:
    from toolgate.core.model import Refusal  # noqa: PLC0415 - `--help` does without
    from toolgate.listeners.problem import refusal_json  # noqa: PLC0415

    return refusal_json(decision, _CALL_ID, bundle) if isinstance(decision, Refusal) else {"permit": True}
