"""Where `toolgate init` gets a document: a file with the files it refers to, or a URL.

RULE: nothing is fetched but the URL a person typed: https or http, bounded in size and time, and a redirect never
leaves those schemes or falls from https to http.
"""

from __future__ import annotations

import posixpath
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from toolgate.core.bundle import BundleError, Problem

MAX_BYTES: Final = 64 << 20
TIMEOUT_S: Final = 30.0
_MAX_FILES: Final = 500
_CHUNK: Final = 1 << 16
_REFERENCE: Final = re.compile(rb"""\$ref["']?\s*:\s*["']?([^"'#\s,}{]+)""")


@dataclass(frozen=True, slots=True)
class Source:
    """A document as it was found: its bytes, the files beside it by relative path, and the URL it came from."""

    name: str  # what problems call it
    suffix: str  # `.json` or `.yaml`
    content: bytes
    beside: dict[str, bytes]
    url: str | None = None


def read_source(given: str) -> Source:
    """Read a file or fetch a URL. Raises BundleError or OSError with a sentence."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", given):
        return _fetched(given)
    path = Path(given)
    content = _read(path)
    beside: dict[str, bytes] = {}
    _gather(path.parent, path.name, content, beside)
    return Source(given, _suffix(path.name, content), content, beside)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _refused(str(path), f"is larger than {MAX_BYTES >> 20} MiB")
    return content


def _gather(folder: Path, name: str, content: bytes, found: dict[str, bytes]) -> None:
    """Add the files a document refers to. Those outside its folder stay where they are: `check` names them."""
    waiting = [(name, content)]
    while waiting:
        at, text = waiting.pop()
        for reference in _references(text):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(at), reference))
            if target in found or target == name or target.startswith(("../", "/")) or not (folder / target).is_file():
                continue
            if len(found) >= _MAX_FILES:
                raise _refused(name, f"refers to more than {_MAX_FILES} files")
            found[target] = _read(folder / target)
            waiting.append((target, found[target]))


def _references(content: bytes) -> Iterator[str]:
    for found in set(_REFERENCE.findall(content)):
        reference = unquote(found.decode("utf-8", "replace"))
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", reference):
            yield reference


def _suffix(name: str, content: bytes) -> str:
    if name.endswith((".json", ".yaml", ".yml")):
        return ".json" if name.endswith(".json") else ".yaml"
    return ".json" if content.lstrip()[:1] == b"{" else ".yaml"


def _fetched(url: str) -> Source:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _refused(url, "is not an http or https URL; save the document and name the file")
    if parts.username or parts.password:
        raise _refused(
            parts.hostname, "is named with a user and password in its URL; save the document and name the file"
        )
    try:
        content, final = _download(url)
    except (urllib.error.URLError, HTTPException, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, OSError) and reason.strerror:
            reason = reason.strerror.lower()
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise OSError(None, f"cannot be fetched: {reason}; save the document and name the file", url) from error
    return Source(url, _suffix(urlsplit(final).path, content), content, {}, final)


def _download(url: str) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers={"Accept": "application/json, application/yaml, */*;q=0.5"})  # noqa: S310 - the scheme was checked
    deadline = time.monotonic() + TIMEOUT_S
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT_S) as reply:
        content = b""
        while chunk := reply.read(_CHUNK):
            content += chunk
            if len(content) > MAX_BYTES:
                raise _refused(url, f"is larger than {MAX_BYTES >> 20} MiB")
            if time.monotonic() > deadline:
                raise TimeoutError(f"it took longer than {TIMEOUT_S:g} s")
        return content, reply.geturl()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(  # noqa: PLR0913, PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Any:
        target = urlsplit(urljoin(req.full_url, newurl))
        # SECURITY: urllib follows redirects to ftp: and from https to http.
        if target.scheme not in {"http", "https"} or (req.type == "https" and target.scheme != "https"):
            fp.close()
            raise urllib.error.URLError(f"it redirects to `{target.scheme}:`")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refused(name: str, message: str) -> BundleError:
    return BundleError([Problem(name, 0, "document.unreadable", message)])
