"""The journal's files: made for nobody else, locked, and watched while they are in use.

RULE: nothing is followed and nothing is trusted. A symlink, a hard link, a foreign owner or a file of another kind is
refused, not repaired (SAFETY P09).

SECURITY: the database is never opened here while SQLite has it open: closing any descriptor of a file drops all of the
process's POSIX locks on it. Watching is `stat` by name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from toolgate.ports import LedgerError

_PRIVATE: Final = 0o600
_SUFFIXES: Final = ("", "-wal", "-shm")
_MAGIC: Final = b"SQLite format 3\0"


def prepare(path: Path) -> None:
    """Make the journal's file for this user alone, or make sure that the one there is fit to be written."""
    _make_folder(path.parent)
    for suffix in _SUFFIXES:
        _check(Path(f"{path}{suffix}"))
    wal = Path(f"{path}-wal")
    if _size(path) == 0 and _size(wal) > 0:
        raise LedgerError(
            f"`{path}` is empty or missing, but `{wal.name}` beside it is not: the journal was removed or truncated;"
            " restore it, or move both away to begin a new one"
        )
    _make_file(path)


def check_after_open(path: Path) -> None:
    """Look again once SQLite has the files open: whoever swapped one in between is found."""
    for suffix in _SUFFIXES:
        _check(Path(f"{path}{suffix}"))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"the folder `{folder}` of the ledger cannot be made: {_reason(error)}") from error


def _make_file(path: Path) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, _PRIVATE)
    except OSError as error:
        raise LedgerError(f"the ledger `{path}` cannot be opened: {_reason(error)}") from error
    try:
        if os.read(descriptor, len(_MAGIC)) not in (b"", _MAGIC):
            raise not_a_ledger(path)  # before anything of it is changed, its mode included
        os.fchmod(descriptor, _PRIVATE)  # whatever the umask, or whoever widened it
        _sync_folder(path.parent)
    except OSError as error:
        raise LedgerError(f"the ledger `{path}` cannot be made private to this user: {_reason(error)}") from error
    finally:
        os.close(descriptor)


def not_a_ledger(path: Path) -> LedgerError:
    return LedgerError(f"`{path}` is not a SQLite file; choose another path for the ledger, or move the file away")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)  # a new file's name survives a power cut too
    finally:
        os.close(descriptor)


def _check(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"the ledger `{path}` cannot be looked at: {_reason(error)}") from error
    if stat.S_ISLNK(found.st_mode):
        raise LedgerError(f"the ledger `{path}` is a symbolic link; name the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise LedgerError(f"the ledger `{path}` is not a regular file")
    if found.st_uid != os.geteuid():
        raise LedgerError(f"the ledger `{path}` belongs to user {found.st_uid}, not to the gate's own ({os.geteuid()})")
    if found.st_nlink > 1:
        raise LedgerError(f"the ledger `{path}` has a second name (a hard link); remove that one first")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Lock:
    """One gate per journal: an advisory lock on `<journal>.lock`, gone with the process that holds it."""

    def __init__(self, journal: Path) -> None:
        path = Path(f"{journal}.lock")
        _make_folder(path.parent)
        _check(path)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise LedgerError(f"the lock `{path}` cannot be opened: {_reason(error)}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise LedgerError(
                f"the ledger `{journal}` is in use by another gate (process {holder or 'unknown'});"
                " each needs a ledger of its own"
            ) from error
        with contextlib.suppress(OSError):  # a full disk must not keep the gate from starting over this note
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)


class Watch:
    """Notices when a file of the journal is removed, replaced or truncated under the writer: three `stat` calls a group.

    Nothing is made anew in place of what was there: a journal that could be made to forget by deleting a file would
    prove nothing, and its balances would begin again at zero. Writing goes on when the same files are back.
    """

    __slots__ = ("_names", "_seen")

    def __init__(self, path: Path) -> None:
        self._names = tuple(f"{path}{suffix}" for suffix in ("", "-wal", ".lock"))
        self._seen: list[os.stat_result] = []
        self.look()

    def look(self) -> None:
        """Remember the files as they are, after they were made smaller by the writer itself."""
        try:
            self._seen = [os.stat(name) for name in self._names]  # noqa: PTH116 (on the path of a call: Path costs 3 µs)
        except OSError as error:
            raise self._gone(error.filename) from error

    def check(self) -> None:
        """Raise LedgerError when a file is not the one remembered, or smaller than it was."""
        now: list[os.stat_result] = []
        for name, seen in zip(self._names, self._seen, strict=True):
            try:
                found = os.stat(name)  # noqa: PTH116 (as above)
            except OSError as error:
                raise self._gone(name) from error
            if found.st_ino != seen.st_ino or found.st_dev != seen.st_dev:
                raise self._gone(name)
            if found.st_size < seen.st_size:
                raise LedgerError(
                    f"the journal's file `{name}` was truncated by someone else while in use;"
                    " stop the gate, look at what is left with `toolgate journal verify`, and start it again"
                )
            now.append(found)
        self._seen = now

    def _gone(self, name: str) -> LedgerError:
        return LedgerError(
            f"the journal's file `{name}` was removed or replaced while in use; put the same file back,"
            " or restart the gate to begin from what is there"
        )


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
