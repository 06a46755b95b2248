"""Where a tool's upstream is in one environment, and the credentials the gate adds on the way.

RULE: everything about the way up is fixed here; no byte of a call changes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from toolgate.core.addresses import denied, is_address
from toolgate.core.bundle import BundleError, Problem
from toolgate.core.catalog import Credential, Target
from toolgate.load.credentials import parse_secret_template
from toolgate.load.openapi import server_url
from toolgate.load.tools import ToolSpec, View
from toolgate.load.toolspec import CredentialEntry
from toolgate.load.upstream_url import parse_upstream
from toolgate.load.yaml import Steps


def target_of(spec: ToolSpec, view: View) -> Target:
    """Return the upstream of a tool in one environment. Raises BundleError with every problem."""
    problems: list[Problem] = []
    steps = ("environments", view.environment)
    target = _parsed(spec, view, steps, problems)
    credentials = tuple(_credentials(spec, view, steps, problems))
    if credentials and target is not None and view.entry.upstream is None:
        # SECURITY: else a changed vendor's document would take the credential to another host.
        message = (
            f"`environments.{view.environment}` adds credentials, and only the document says where they go; "
            f"pin it with `upstream: {target.url}`"
        )
        problems.append(spec.problem(steps, "upstream.unpinned", message))
    if problems or target is None:
        raise BundleError(problems)
    ca_file = view.entry.ca_file
    # not resolved: a mounted certificate is replaced by moving the symbolic link it is read through
    absolute = os.path.normpath(spec.folder.absolute() / ca_file) if ca_file is not None else None
    return replace(target, credentials=credentials, ca_file=absolute)


def _parsed(spec: ToolSpec, view: View, steps: Steps, problems: list[Problem]) -> Target | None:
    url = view.entry.upstream or server_url(view.document)
    if url is None:
        message = (
            f"`environments.{view.environment}` has no `upstream`, and `{view.document.shown}` names no server with "
            "an absolute URL; add `upstream: https://…`"
        )
        problems.append(spec.problem(steps, "upstream.missing", message))
        return None
    try:
        return parse_upstream(url) if view.entry.upstream else _from_document(url)
    except ValueError as error:
        place = f"`environments.{view.environment}.upstream`" if view.entry.upstream else "the document's server URL"
        problems.append(spec.problem((*steps, "upstream"), "upstream.url", f"{place} {error}"))
        return None


def _from_document(url: str) -> Target:
    """SECURITY: a vendor's document does not send calls to what only this host should reach; an operator may."""
    target = parse_upstream(url)
    if is_address(target.host) and denied(target.host):
        raise ValueError(
            "names an address that no document may choose (link-local, metadata); if it is meant, say so with `upstream`"
        )
    return target


def _credentials(spec: ToolSpec, view: View, steps: Steps, problems: list[Problem]) -> Iterator[Credential]:
    seen: set[tuple[str, str]] = set()
    for at, entry in enumerate(view.entry.credentials):
        here = (*steps, "credentials", at)
        location = "query" if entry.query is not None else "header"
        name = entry.query or entry.header or "Authorization"
        place = (location, name if location == "query" else name.lower())
        if place in seen:
            problems.append(spec.problem(here, "credentials.repeated", f"`{name}` is set by two credentials; keep one"))
            continue
        seen.add(place)
        try:
            yield _credential(entry, name, spec)
        except ValueError as error:
            problems.append(spec.problem(here, "credentials.value", f"the credential for `{name}` {error}"))


def _credential(entry: CredentialEntry, name: str, spec: ToolSpec) -> Credential:
    value = parse_secret_template(entry.basic or entry.value or "", spec.folder)
    if entry.query is not None:
        return Credential("query", name, value)
    return Credential("header", name, value, basic=entry.basic is not None)
