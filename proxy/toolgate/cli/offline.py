"""What a running gate reads and a command line does not: the live catalogues, here given by hand or said to be unknown.

RULE: nothing is read from an upstream and nothing is guessed; what is not given is not known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from toolgate.core.bundle import Bundle, BundleError, Problem
from toolgate.load.models import did_you_mean
from toolgate.load.yaml import strict_load

if TYPE_CHECKING:
    from toolgate.core.model import Decision, Principal, Situation
    from toolgate.settings import Settings


def principal_of(
    settings: Settings, caller: str | None, roles: tuple[str, ...], claims: dict[str, str], on_behalf_of: str | None
) -> Principal:
    """Who calls, as a verified token would say it."""
    from toolgate.core.model import Principal  # noqa: PLC0415 - `--help` does without
    from toolgate.settings.identity import anonymous_of  # noqa: PLC0415 - pydantic; as above

    if caller is not None:
        return Principal(caller, roles, claims, on_behalf_of)
    if roles or claims or on_behalf_of is not None:
        told = "`--role`, `--claim` and `--on-behalf-of` describe a principal; name it with `--as corp/alice`"
        raise click.UsageError(told)
    return anonymous_of(settings)


def situation_of(given: str | None, bundle: Bundle) -> Situation:
    """Return what a file says exists: `{Type: {id: {attribute: value}}}`. Raises BundleError."""
    from toolgate.core.model import ResourceCatalogue, Situation  # noqa: PLC0415 - `--help` does without

    if given is None:
        return Situation()
    parsed = strict_load(Path(given))
    listed = parsed.value
    tools = {(live.type, live.tool) for live in bundle.live}
    tools |= {(kind, tool) for tool, files in bundle.resources.items() for kind in files}
    if not isinstance(listed, dict):
        message = "is not a mapping; write `{Metric: {node_cpu: {tier: critical}}}`"
        raise BundleError([Problem(given, 1, "resources.list", message)])
    catalogues: dict[str, dict[str, ResourceCatalogue]] = {}
    for kind, resources in listed.items():
        _check(given, parsed.line((kind,)), kind, resources, {each for each, _ in tools})
        for tool in (tool for each, tool in tools if each == kind):
            catalogues.setdefault(tool, {})[kind] = ResourceCatalogue(kind, resources)
    return Situation(catalogues)


def not_known(decision: Decision, bundle: Bundle) -> str | None:
    """Return why a call cannot be decided without a running gate, where that is so."""
    from toolgate.core.model import Refusal  # noqa: PLC0415 - `--help` does without

    if not isinstance(decision, Refusal) or decision.code.code != "environment.not_ready":
        return None
    awaited = decision.operation.awaits if decision.operation is not None else ()
    kinds = " and ".join(dict.fromkeys(kind for _, kind in awaited)) or "what exists"
    name = next((live.operation for live in bundle.live if (live.tool, live.type) in awaited), "an operation")
    return (
        f"the list of {kinds} is read from `{name}` by a running gate, so this is not known here; "
        "give it with `--resources FILE`, or ask the gate (POST /-/explain)"
    )


def _check(shown: str, line: int, kind: object, resources: object, known: set[str]) -> None:
    if kind not in known:
        message = f"no catalogue lists resources of the type `{kind}`{did_you_mean(str(kind), known)}"
        raise BundleError([Problem(shown, line, "resources.type", message)])
    if not isinstance(resources, dict) or not all(isinstance(each, dict) for each in resources.values()):
        message = f"`{kind}` is not a mapping of ids to attributes; write `{{node_cpu: {{tier: critical}}}}`"
        raise BundleError([Problem(shown, line, "resources.list", message)])
