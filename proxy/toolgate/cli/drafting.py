"""What `toolgate init` learns from a document: its operations, where the API is, how it is authenticated to.

RULE: the document is read by the gate's own loader, so that what is written here is what the gate will load.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import click

from toolgate.cli.guess import Listed, guess
from toolgate.cli.scaffold import Draft
from toolgate.cli.source import Source
from toolgate.core.bundle import BundleError, Problem
from toolgate.load.documents import Document, load_document
from toolgate.load.files import Folder
from toolgate.load.openapi import operations_of, server_url
from toolgate.load.upstream_url import parse_upstream


def make_draft(source: Source, *, tool: str, upstream: str | None, environments: tuple[str, ...]) -> Draft:
    """Read the document and guess. Raises BundleError with every problem of the document."""
    name = Path(source.name).name if source.beside else f"openapi{source.suffix}"
    document = _read_document(source, name if source.url else Path(source.name).name)  # problems name the file as given
    listed = operations_of(document).declared
    if not listed:
        message = "declares no operations; there is nothing to call"
        raise BundleError([Problem(source.name, 0, "document.empty", message)])
    return Draft(
        tool=tool,
        document=name,
        upstream=_upstream(upstream, document, source),
        environments=environments,
        operations=tuple(guess(Listed(each.id, each.method, each.effect)) for each in listed),
        credentials=_credentials(document.value, tool),
    )


def _read_document(source: Source, name: str) -> Document:
    """Parse the document with what it refers to, exactly as the gate will."""
    with tempfile.TemporaryDirectory(prefix="toolgate-init-") as staging:
        root = Path(staging)
        for path, content in {**source.beside, name: source.content}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        return load_document(Folder(root, str(Path(source.name).parent)), root / name)


def _upstream(given: str | None, document: Document, source: Source) -> str:
    found = given or server_url(document) or _relative_server(document.value, source.url)
    if not found:
        raise click.UsageError(f"`{source.name}` names no server: say where the API is with `--upstream URL`")
    try:
        parse_upstream(found)
    except ValueError as error:
        named = "--upstream" if given else f"the server of `{source.name}`"
        raise click.UsageError(f"{named} {error}; write `--upstream URL`") from error
    return found


def _relative_server(value: Mapping[str, Any], url: str | None) -> str | None:
    """A server path such as `/api/v3` is relative to where the document was fetched."""
    servers = value.get("servers")
    first = servers[0] if isinstance(servers, list) and servers else {}
    path = first.get("url", "/") if isinstance(first, dict) else "/"
    return urljoin(url, path).rstrip("/") if url and isinstance(path, str) and "{" not in path else None


def _credentials(value: Mapping[str, Any], tool: str) -> str:
    """How the document says it wants to be authenticated to, as a line to uncomment."""
    secret = f"${{file:/var/run/secrets/{tool}/token}}"
    components = value.get("components")
    schemes = value.get("securityDefinitions") or (
        components.get("securitySchemes") if isinstance(components, dict) else None
    )
    for scheme in (schemes if isinstance(schemes, dict) else {}).values():
        match scheme:
            case {"type": "apiKey", "in": "header" | "query" as place, "name": str(name)} if name.isprintable():
                return f'{{{place}: {_quoted(name)}, value: "{secret}"}}'
            case {"type": "basic"} | {"type": "http", "scheme": "basic"}:
                return f'{{basic: "user:{secret}"}}'
            case _:
                continue
    return f'{{header: Authorization, value: "Bearer {secret}"}}'


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) else '"' + re.sub(r'["\\]', "", name) + '"'
