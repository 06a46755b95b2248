"""Credentials as templates: literal words and references to secrets, never a secret itself.

RULE: no value is read here and none is echoed: what stands in a toolspec goes through reviews, logs and the revision.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from toolgate.core.catalog import Secret

_REFERENCE: Final = re.compile(r"\$\{([^{}]*)\}")
_NAME: Final = re.compile(r"(file|env):(.+)", re.DOTALL)
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LIKE_A_SECRET: Final = re.compile(r"[A-Za-z0-9+/=_.-]{20,}")  # an auth scheme or a user name is shorter
_PRINTABLE: Final = re.compile(r"[ -~]*")
_FORMS: Final = "`${file:/path}` or `${env:NAME}`"
_NO_FORM: Final = "is neither `${file:/path}` nor `${env:NAME}`"


def parse_secret_template(text: str, folder: Path) -> tuple[str | Secret, ...]:
    """Return the parts of `Bearer ${file:…}`; relative files are relative to `folder`. Raises ValueError, without the text."""
    parts: list[str | Secret] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        parts += [text[end : match.start()]] if match.start() > end else []
        parts.append(_secret(match[1], folder))
        end = match.end()
    parts += [text[end:]] if end < len(text) else []
    _check_literals([part for part in parts if isinstance(part, str)])
    if not any(isinstance(part, Secret) for part in parts):
        raise ValueError(f"holds its value inline; keep it outside and name it as {_FORMS}")
    return tuple(parts)


def _secret(reference: str, folder: Path) -> Secret:
    match = _NAME.fullmatch(reference)
    if match is None:
        raise ValueError(f"has a reference that {_NO_FORM}")
    source, name = match[1], match[2]
    if source == "file":
        # not resolved: a mounted secret is replaced by moving the symbolic link it is read through
        return Secret("file", os.path.normpath(folder.absolute() / name))
    if not _ENV.fullmatch(name):
        raise ValueError(
            f"names the environment variable `{name}`, which no shell can set; use letters, digits and `_`"
        )
    return Secret("env", name)


def _check_literals(texts: list[str]) -> None:
    for text in texts:
        if "${" in text:
            raise ValueError(f"has a `${{` without its `}}`; write {_FORMS}")
        if not _PRINTABLE.fullmatch(text):
            raise ValueError("has characters outside printable ASCII beside its reference")
        if _LIKE_A_SECRET.search(text):
            raise ValueError(f"holds what looks like a secret inline; keep it outside and name it as {_FORMS}")
