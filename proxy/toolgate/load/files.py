"""The files a bundle is made of: read once, confined to their folder, remembered for the revision.

RULE: every byte that counts is read here, so the revision covers what was loaded and nothing else is loaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from toolgate.core.bundle import BundleError, Problem

MAX_BYTES: Final = 64 << 20
MAX_FILES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Named:
    """A file, and where it is named: a problem that it is not there is shown there."""

    path: Path
    asked_by: str = ""
    line: int = 0


@dataclass(slots=True)
class Folder:
    """A configuration folder and what was read of it. `shown` is how problems name it."""

    root: Path
    shown: str
    limit: int = MAX_BYTES
    _digests: dict[str, str] = field(default_factory=dict)
    _real_root: Path | None = None

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file of this folder. Raises BundleError."""
        return self.read_named(Named(path))

    def read_named(self, named: Named) -> bytes:
        """Return the bytes of a file of this folder. Raises BundleError, placed where the file is named."""
        path, line = named.path, named.line
        where = named.asked_by or self.name(path)
        self._confine(path, where, line)
        if len(self._digests) >= MAX_FILES:
            raise BundleError([Problem(where, line, "file.too_many", f"needs more than {MAX_FILES} files")])
        try:
            with path.open("rb") as file:
                content = file.read(self.limit + 1)
        except OSError as error:
            reason = (error.strerror or "it cannot be opened").lower()
            message = f"`{self.relative(path)}` cannot be read: {reason}"
            raise BundleError([Problem(where, line, "file.unreadable", message)]) from error
        if len(content) > self.limit:
            message = f"`{self.relative(path)}` is larger than {self.limit >> 20} MiB"
            raise BundleError([Problem(where, line, "file.too_large", message)])
        self._digests[self.relative(path)] = hashlib.sha256(content).hexdigest()
        return content

    def relative(self, path: Path) -> str:
        """Return a path as it is named below this folder, `..` removed by name alone."""
        parts: list[str] = []
        for part in path.parts[len(self.root.parts) :] if path.is_relative_to(self.root) else path.parts:
            if part == ".." and parts:
                parts.pop()
            elif part != ".":
                parts.append(part)
        return "/".join(parts)

    def name(self, path: Path) -> str:
        """Return what problems call this file."""
        return f"{self.shown.rstrip('/')}/{self.relative(path)}"

    def digests(self) -> list[tuple[str, str]]:
        """Return the name and digest of every file that was read, in the order of their names."""
        return sorted(self._digests.items())

    def was_read(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._digests)

    def _confine(self, path: Path, where: str, line: int) -> None:
        # SECURITY: compared after symbolic links are followed; a ConfigMap's own links stay below its mount.
        try:
            if self._real_root is None:
                self._real_root = self.root.resolve()
            is_inside = path.resolve().is_relative_to(self._real_root)
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL in a name
            message = f"`{self.relative(path)!r}` names no file".replace("'", "")
            raise BundleError([Problem(where, line, "file.unreadable", message)]) from error
        if not is_inside:
            message = f"`{self.relative(path)}` leaves the folder `{self.shown}`; keep every file it needs inside"
            raise BundleError([Problem(where, line, "file.outside", message)])
