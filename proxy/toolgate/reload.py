"""Noticing that the configuration changed: folders are watched, SIGHUP asks, and both end in one reload at a time.

RULE: folders are watched, never files: editors and ConfigMaps replace files, and a watch on a replaced file is blind.
A reload reads everything anew, so however many changes came, one reload after the last of them is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from watchfiles import Change
from watchfiles._rust_notify import RustNotify

_CONFIGMAP_SWAP: Final = "..data"  # the symbolic link Kubernetes swaps when a ConfigMap or Secret changes
_DEBOUNCE_MS: Final = 300
_STEP_MS: Final = 50
_UNTIL_TOLD_MS: Final = 0
_NO: Final = frozenset({"false", "disable", "disabled"})  # what watchfiles takes for no
_RETRY_S: Final = 1.0
_CLOCK_STEP_NS: Final = 20_000_000  # inodes are stamped with the time of the last tick, up to 10 ms ago


class Reloader:
    """Runs `reload` when asked: never two at once, at most one per `interval_s`, and always one after the last ask."""

    def __init__(
        self,
        reload: Callable[[], Awaitable[object]],
        *,
        defect: Callable[[str, Exception], None],
        interval_s: float = 1.0,
    ) -> None:
        self._reload = reload
        self._defect = defect
        self._interval_s = interval_s
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for a reload: the SIGHUP handler, and what `watch` calls. A storm of asks is one ask."""
        self._asked.set()

    async def run(self) -> None:
        """Serve asks until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._reload()
            except Exception as error:  # noqa: BLE001  # INVARIANT: a failed reload leaves what serves, and the next ask is heard
                self._defect("reloading the configuration", error)
            await asyncio.sleep(self._interval_s)


async def watch(
    folders: Iterable[Path],
    changed: Callable[[], None],
    *,
    since_ns: int | None = None,
    debounce_ms: int = _DEBOUNCE_MS,
) -> None:
    """Call `changed` after every change in the folders, until cancelled.

    A folder may be missing, removed or replaced (a checkout, a mount), by itself or with what it stands in.
    With `since_ns`, the wall clock's time before the folders were read, a change before the watch stood counts too.
    """
    wanted = tuple(folder.absolute() for folder in folders)

    def armed_first() -> None:
        if since_ns is not None and any(_changed_at_ns(folder) > since_ns - _CLOCK_STEP_NS for folder in wanted):
            changed()

    await _watch_until_moved(wanted, changed, debounce_ms, armed=armed_first)
    while True:
        await asyncio.sleep(debounce_ms / 1000)  # a checkout removes before it writes
        # What happened between two watches was seen by neither, so it counts as a change once the next one stands.
        await _watch_until_moved(wanted, changed, debounce_ms, armed=changed)


async def _watch_until_moved(
    folders: tuple[Path, ...], changed: Callable[[], None], debounce_ms: int, *, armed: Callable[[], None]
) -> None:
    """End once a folder itself came, went or was replaced."""
    standing = _Standing(folders)
    present = [folder for folder in folders if folder.is_dir()]
    shown, removals = _shown_in(present), {(Change.deleted, str(folder)) for folder in present}
    try:
        with _opened(present) as watcher:
            armed()
            while (found := await _found(watcher, standing, debounce_ms)) and removals.isdisjoint(found):
                if any(shown(path) for _, path in found):
                    changed()
    except (FileNotFoundError, PermissionError):
        await asyncio.sleep(_RETRY_S)


class _Standing:
    """Where the folders stood; the watching thread asks at each step whether that is over.

    Folders above are not watched for it: each line of a log that is written there would wake the gate. A folder that was
    removed and made anew may look the same, so its removal is heeded too.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._stood = self._stand()
        self.is_left = False  # nobody watches any more

    def is_set(self) -> bool:
        return self.is_left or self._stand() != self._stood

    def _stand(self) -> list[tuple[int, int] | None]:
        return [_identity(folder) for folder in self._folders]


def _opened(folders: Iterable[Path]) -> RustNotify:
    """A watch that stands when this returns.

    It is what `watchfiles.awatch` asks, by way of anyio: that would be 20 ms more to start, and a megabyte.
    """
    return RustNotify(
        [str(folder) for folder in folders],
        debug=False,
        force_polling=_must_poll(),
        poll_delay_ms=_DEBOUNCE_MS,
        recursive=True,
        ignore_permission_denied=False,
    )


def _must_poll() -> bool:
    """Where the kernel tells nothing: under WSL, and on mounts of which whoever started this process knows it."""
    said = os.environ.get("WATCHFILES_FORCE_POLLING", "")
    return said.lower() not in _NO if said else "microsoft-standard" in os.uname().release.lower()


async def _found(watcher: RustNotify, standing: _Standing, debounce_ms: int) -> AbstractSet[tuple[int, str]]:
    """Wait for changes; none once the folders stand elsewhere."""
    asked = asyncio.get_running_loop().run_in_executor(
        None, watcher.watch, debounce_ms, _STEP_MS, _UNTIL_TOLD_MS, standing
    )
    try:
        found = await asyncio.shield(asked)
    except asyncio.CancelledError:
        standing.is_left = True  # the thread looks at it at each step, and the watch is closed only after it has ended
        await asyncio.wait([asked])
        raise
    return found if isinstance(found, set) else frozenset()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _shown_in(folders: list[Path]) -> Callable[[str], bool]:
    """Whether a path counts: nothing under a name that starts with a dot, but for the ConfigMap's swap."""
    roots = tuple({root for folder in folders for root in (folder, folder.resolve())})

    def counts(path: str) -> bool:
        inside = next((Path(path).relative_to(root) for root in roots if Path(path).is_relative_to(root)), Path(path))
        return all(not part.startswith(".") or part == _CONFIGMAP_SWAP for part in inside.parts)

    return counts


def _changed_at_ns(folder: Path) -> int:
    """When anything in the folder last changed, by the inode's own time, which nobody can set."""
    newest = 0
    for root, names, files in os.walk(folder, onerror=None):
        names[:] = [name for name in names if not name.startswith(".")]
        counting = (name for name in files if not name.startswith("."))
        for name in (".", _CONFIGMAP_SWAP, *counting):
            with contextlib.suppress(OSError):
                newest = max(newest, os.lstat(f"{root}/{name}").st_ctime_ns)
    return newest
