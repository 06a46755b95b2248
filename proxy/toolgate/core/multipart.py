"""Multipart forms, read strictly and written again part by part (RFC 7578).

RULE: parts keep their order, name, file name, content type and bytes; anything two readers could split differently
(a preamble, an escape in a name, a nested multipart, a transfer encoding) is `Malformed`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from toolgate.core.model import Part
from toolgate.core.wiretext import Malformed, Unwritable, echo, is_deceptive

MOST_PARTS: Final = 32
_LONGEST_HEAD: Final = 4096
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]").fullmatch
_PARAMETER: Final = re.compile(r'\s*;\s*([A-Za-z0-9!#$&+\-^_.*]+)=(?:"([^"\\\r\n]*)"|([^\s";,\\]+))')
_PLAIN_TRANSFER: Final = frozenset({"7bit", "8bit", "binary"})


def split(body: bytes, boundary: str) -> tuple[Part, ...]:
    """Split a multipart body into its parts. Raises Malformed."""
    if not _BOUNDARY(boundary):
        raise Malformed("the multipart boundary is missing or has characters it cannot have")
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MOST_PARTS + 2)
    if pieces[0] or len(pieces) == 1:
        raise Malformed("the multipart body does not begin with its boundary")
    if len(pieces) > MOST_PARTS + 2 or (len(pieces) == MOST_PARTS + 2 and not pieces[-1].startswith(b"--")):
        raise Malformed(f"the multipart body has more than {MOST_PARTS} parts")
    if pieces[-1] not in {b"--", b"--\r\n"}:
        raise Malformed("the multipart body does not end with its closing boundary")
    return tuple(_read_part(piece) for piece in pieces[1:-1])


def _read_part(piece: bytes) -> Part:
    if not piece.startswith(b"\r\n"):
        raise Malformed("a multipart boundary is followed by something else than a line break")
    head, found, content = piece[2:].partition(b"\r\n\r\n")
    if not found or len(head) > _LONGEST_HEAD:
        raise Malformed("a part of the multipart body has no headers, or too many")
    headers = _read_head(head)
    if headers.get("content-transfer-encoding", "8bit").lower() not in _PLAIN_TRANSFER:
        raise Malformed("a part has a content transfer encoding; send its bytes as they are")
    name, filename = _read_disposition(headers.get("content-disposition", ""))
    return checked(Part(name, content, headers.get("content-type"), filename))


def checked(part: Part) -> Part:
    """A part as it came, over the wire or by name. Raises Malformed for what a server could take for more than a part."""
    if part.content_type is not None and part.content_type.strip().lower().startswith("multipart/"):
        raise Malformed(f"the part {echo(part.name)} is itself multipart")
    filename = part.filename
    # SECURITY: joined to a folder, these name a file outside it.
    if filename is not None and (filename.startswith("/") or {".", ".."}.intersection(filename.split("/"))):
        raise Malformed(f"the file name {echo(filename)} begins with a slash or has dot segments")
    return part


def _read_head(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = _decode(line).partition(":")
        key = name.lower()
        if not colon or not name or name != name.strip() or key in headers or is_deceptive(value.replace("\t", " ")):
            raise Malformed(f"the part header {echo(name)} is malformed or repeated")
        headers[key] = value.strip(" \t")
    return headers


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Malformed("a part header is not UTF-8") from None


def _read_disposition(value: str) -> tuple[str, str | None]:
    kind, semicolon, _ = value.partition(";")
    if kind.strip().lower() != "form-data" or not semicolon:
        raise Malformed("a part has no `Content-Disposition: form-data` with a name")
    parameters = read_parameters(value[len(kind) :])
    if parameters is None or set(parameters) - {"name", "filename"} or "name" not in parameters:
        raise Malformed("a part's Content-Disposition must hold `name` and `filename` only, each once, without escapes")
    return parameters["name"], parameters.get("filename")


def read_parameters(text: str) -> dict[str, str] | None:
    """Read `; name=value; name="value"`; None when it is not of that form or a name repeats."""
    parameters: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None:
            return {} if not text[at:].strip(" \t") and not parameters and at == 0 else None
        name = found[1].lower()
        if name in parameters:
            return None
        parameters[name] = found[2] if found[2] is not None else found[3]
        at = found.end()
    return parameters


def join(parts: Sequence[Part]) -> tuple[bytes, str]:
    """Write parts as a multipart body; return it with its boundary. Raises Unwritable."""
    if len(parts) > MOST_PARTS:
        raise Unwritable(f"a multipart body may have at most {MOST_PARTS} parts")
    boundary = _boundary_for(parts)
    lines = [b"--%b\r\n%b\r\n%b\r\n" % (boundary.encode(), _head(part), part.content) for part in parts]
    return b"".join([*lines, b"--%b--\r\n" % boundary.encode()]), boundary


def _boundary_for(parts: Sequence[Part]) -> str:
    """Choose a boundary that no content holds: its digest, and the digest of that while one does."""
    digest = sha256()
    for part in parts:
        digest.update(part.content)
    boundary = f"toolgate-{digest.hexdigest()[:40]}"
    while any(boundary.encode() in part.content for part in parts):
        boundary = f"toolgate-{sha256(boundary.encode()).hexdigest()[:40]}"
    return boundary


def _head(part: Part) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{_quotable(part.name)}"'
    if part.filename is not None:
        disposition += f'; filename="{_quotable(part.filename)}"'
    lines = [disposition]
    if part.content_type is not None:
        lines.append("Content-Type: " + _quotable(part.content_type, allowed='"'))
    return "\r\n".join([*lines, ""]).encode()


def _quotable(text: str, allowed: str = "") -> str:
    if is_deceptive(text) or any(mark in text for mark in '"\\' if mark not in allowed):
        raise Unwritable(f"{echo(text)} cannot stand in a part's header")
    return text
