"""Reloading: every change ends in a reload after it, storms end in few, nothing ends the watching."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from toolgate.reload import Reloader, watch

DEADLINE_S = 10.0


class Seen:
    """Counts what happened, and waits for it."""

    def __init__(self) -> None:
        self.count = 0
        self.defects: list[str] = []
        self._news = asyncio.Event()

    def note(self) -> None:
        self.count += 1
        self._news.set()

    def defect(self, where: str, error: Exception) -> None:
        self.defects.append(f"{where}: {error}")
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def watching(*folders: Path) -> AsyncIterator[Seen]:
    seen = Seen()
    async with running(watch(folders, seen.note, debounce_ms=20)):
        await settle()
        yield seen


def has_defects(seen: Seen, count: int) -> bool:
    return len(seen.defects) == count


async def settle() -> None:
    """Let the watch stand: both of its tasks run to their first wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def touched(seen: Seen, act: Callable[[], object]) -> None:
    """Act, and wait until it was seen."""
    before = seen.count
    act()
    await seen.until(lambda: seen.count > before)


async def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    """Also in a folder below, and a new one, and one that goes."""
    (tmp_path / "specs" / "a").mkdir(parents=True)
    file = tmp_path / "specs" / "a" / "tool.yaml"
    async with watching(tmp_path / "specs") as seen:
        await touched(seen, lambda: file.write_text("tool: a\n"))
        await touched(seen, lambda: file.write_text("tool: b\n"))
        await touched(seen, file.unlink)


async def test_what_changed_before_the_watch_stood_is_seen(tmp_path: Path) -> None:
    """Between reading the folders and watching them somebody may save a file."""
    (tmp_path / "a").mkdir()
    for since_ns, expected in ((time.time_ns() + 3_600_000_000_000, 0), (0, 1)):
        seen = Seen()
        (tmp_path / "a" / "tool.yaml").write_text("x")
        async with running(watch([tmp_path], seen.note, since_ns=since_ns, debounce_ms=20)):
            await settle()

        assert seen.count == expected


async def test_hidden_names_do_not_count(tmp_path: Path) -> None:
    """Editors' swap files and a ConfigMap's own folders change without meaning anything."""
    (tmp_path / ".git").mkdir()
    async with watching(tmp_path) as seen:
        (tmp_path / ".tool.yaml.swp").write_text("x")
        (tmp_path / ".git" / "index").write_text("x")
        await touched(seen, lambda: (tmp_path / "tool.yaml").write_text("x"))
        await seen.until(lambda: seen.count >= 1)

    assert seen.count <= 2  # the visible file alone: created, perhaps written


async def test_a_configmap_swap_is_seen(tmp_path: Path) -> None:
    """Kubernetes writes a new hidden folder and swaps one symbolic link; no file that is watched changes."""
    mount = tmp_path / "mount"
    for version in ("..1", "..2"):
        (mount / version).mkdir(parents=True)
        (mount / version / "tool.yaml").write_text(version)
    (mount / "..data").symlink_to("..1")
    (mount / "tool.yaml").symlink_to("..data/tool.yaml")

    def swap() -> None:
        (mount / "..data_tmp").symlink_to("..2")
        (mount / "..data_tmp").replace(mount / "..data")

    async with watching(mount) as seen:
        await touched(seen, swap)
        assert (mount / "tool.yaml").read_text() == "..2"


async def test_a_folder_that_comes_later_is_watched(tmp_path: Path) -> None:
    """A missing policies folder is no reason not to see it appear, and then what is put into it."""
    folder = tmp_path / "conf" / "policies"
    async with watching(folder) as seen:
        await touched(seen, lambda: folder.mkdir(parents=True))
        await settle()
        await touched(seen, lambda: (folder / "a.cedar").write_text("x"))


async def test_a_replaced_folder_is_watched_again(tmp_path: Path) -> None:
    """A checkout or an rsync replaces the folder itself; a watch on the old one would be blind for ever."""
    specs, other = tmp_path / "specs", tmp_path / "other"
    for folder in (specs, other):
        folder.mkdir()
        (folder / "tool.yaml").write_text("x")

    def replace() -> None:
        shutil.rmtree(specs)
        other.rename(specs)

    async with watching(specs) as seen:
        await touched(seen, replace)
        await settle()
        await touched(seen, lambda: (specs / "tool.yaml").write_text("y"))


async def test_a_folder_that_stands_elsewhere_is_watched_again(tmp_path: Path) -> None:
    """Replaced with what it stands in, or as a link that now leads to another: the old one tells nothing of either."""
    for release in ("old", "new"):
        (tmp_path / release / "specs").mkdir(parents=True)
    current = tmp_path / "current"
    current.symlink_to("old")
    inside, linked = current / "specs", tmp_path / "linked"
    linked.symlink_to("old/specs")

    def relink(link: Path) -> None:
        (tmp_path / "next").symlink_to(f"new/{'specs' if link is linked else ''}")
        (tmp_path / "next").replace(link)

    def exchange() -> None:
        (tmp_path / "new").rename(tmp_path / "newest")
        (tmp_path / "old").rename(tmp_path / "new")

    for folder, act in ((inside, partial(relink, current)), (linked, partial(relink, linked)), (inside, exchange)):
        async with watching(folder) as seen:
            await touched(seen, act)
            await touched(seen, lambda at=folder: (at / "tool.yaml").write_text(str(at)))


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="what is watched is read from Linux")
async def test_nothing_beside_the_folders_wakes_the_gate(tmp_path: Path) -> None:
    """A log beside them has a line for each call: the folders themselves are watched, not the place where they stand."""
    specs = tmp_path / "specs"
    specs.mkdir()
    async with watching(specs, tmp_path / "policies") as seen:
        assert [is_watched(folder) for folder in (specs, tmp_path)] == [True, False]
        await touched(seen, (tmp_path / "policies").mkdir)
        assert [is_watched(folder) for folder in (specs, tmp_path / "policies", tmp_path)] == [True, True, False]


def is_watched(folder: Path) -> bool:
    """Whether the kernel tells this process of it."""
    told = [file.read_text() for file in Path("/proc/self/fdinfo").iterdir() if file.exists()]
    return any(re.search(rf"^inotify wd:\S+ ino:{folder.stat().st_ino:x} ", each, re.MULTILINE) for each in told)


async def test_asks_during_a_reload_end_in_one_more() -> None:
    """A hundred signals while one reload runs are one reload after it: the last change is never missed."""
    seen, release = Seen(), asyncio.Event()

    async def reload() -> None:
        seen.note()
        await release.wait()

    reloader = Reloader(reload, defect=seen.defect, interval_s=0.01)
    async with running(reloader.run()):
        reloader.ask()
        await seen.until(lambda: seen.count == 1)
        for _ in range(100):
            reloader.ask()
        release.set()
        await seen.until(lambda: seen.count == 2)
        await asyncio.sleep(0.05)

    assert seen.count == 2


async def test_reloads_keep_their_distance() -> None:
    """At most one per interval, however often it is asked."""
    seen, times = Seen(), []
    loop = asyncio.get_running_loop()

    async def reload() -> None:
        times.append(loop.time())
        seen.note()

    reloader = Reloader(reload, defect=seen.defect, interval_s=0.1)
    async with running(reloader.run()):
        while seen.count < 3:
            reloader.ask()
            await asyncio.sleep(0.005)

    assert all(later - earlier >= 0.09 for earlier, later in pairwise(times))


async def test_a_reload_that_breaks_is_told_and_the_next_is_heard() -> None:
    """A defect while reloading must not end reloading."""
    seen = Seen()

    async def reload() -> None:
        seen.note()
        raise RuntimeError("no")

    reloader = Reloader(reload, defect=seen.defect, interval_s=0.0)
    async with running(reloader.run()):
        for expected in (1, 2):
            reloader.ask()
            await seen.until(partial(has_defects, seen, expected))

    assert seen.defects == ["reloading the configuration: no"] * 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
async def test_sighup_asks() -> None:
    """The handler is `ask` itself: it may be called at any time, in any number."""
    seen = Seen()

    async def reload() -> None:
        seen.note()

    reloader = Reloader(reload, defect=seen.defect, interval_s=0.0)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    try:
        async with running(reloader.run()):
            os.kill(os.getpid(), signal.SIGHUP)
            await seen.until(lambda: seen.count == 1)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def test_where_the_kernel_tells_nothing_files_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mounts of other machines send no news: whoever starts the gate there asks for looking instead."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    (tmp_path / "tool.yaml").write_text("a")
    os.utime(tmp_path / "tool.yaml", (0, 0))  # they are compared by whole seconds
    async with watching(tmp_path) as seen:
        (tmp_path / "tool.yaml").write_text("abc")
        await seen.until(lambda: seen.count > 0)
