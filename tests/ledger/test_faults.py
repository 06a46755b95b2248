"""A broken disk: refuse, say why, count nothing as written, and go on by itself when it works again (FT13 to FT21)."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.scenes import Said, command, run
from tests.ledger.world import decided, effect, finished, kinds, ledger_filter, opened, take, taken

from toolgate.core.journal import Verified
from toolgate.ledger import FileJournal, QueuedLedger
from toolgate.ports import LedgerError

PATIENCE_S = 10.0


async def refusal(held: QueuedLedger, number: int) -> str:
    """The sentence a record is refused with."""
    with pytest.raises(LedgerError) as caught:
        await held.record(decided(number), [take(1, 100)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def until_ready(held: QueuedLedger) -> None:
    limit_s = time.monotonic() + PATIENCE_S
    while held.ready() is not None:
        assert time.monotonic() < limit_s, held.ready()
        await asyncio.sleep(0.01)


def move(here: str | Path, there: str | Path) -> None:
    Path(here).replace(there)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def assert_went_on(said: Said, path: Path) -> None:
    """Refused while there was no room, ready again by itself, and the journal says what happened in between."""
    assert (said.code, said.lines[-2:]) == (0, ["ready: None", "closed"]), said.errors
    assert said.after("refused: ")[0].startswith(f"the journal `{path}` cannot be written: ")
    assert said.after("not ready: ") == said.after("refused: ")
    rows = [row.event for row in FileJournal(path).events(ledger_filter())]
    calls = [event["call"] for event in rows if event["event"] == "Decided"]
    recovered = [event for event in rows if event["event"] == "JournalRecovered"]
    assert isinstance(FileJournal(path).verify(FileJournal(path).head()), Verified)
    assert said.acknowledged <= set(calls)
    assert len(calls) == len(set(calls))
    assert recovered[0]["refused"] >= 1
    assert recovered[0]["why"] == said.after("refused: ")[0]
    assert [event["call"] for event in rows if event["event"] == "Finished"] == ["call-0"]  # nobody waited; not lost


def test_no_room_for_the_file_to_grow(path: Path) -> None:
    """FT13, FT15: at RLIMIT_FSIZE the kernel refuses (or shortens) a write; works on any machine."""
    said = run(command("room", path, 200_000))
    assert_went_on(said, path)


def test_a_full_disk(tmp_path: Path) -> None:
    """FT13: a real full file system (a small tmpfs in a mount namespace of its own)."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting needs root; test_no_room_for_the_file_to_grow covers it here")
    path = tmp_path / "small" / "ledger.db"
    path.parent.mkdir()
    mount = f"mount -t tmpfs -o size=512k tmpfs {path.parent}"
    keep = f"cp -a {path.parent} {tmp_path}/kept"
    words = " ".join(command("fill", path, path.parent / "filler"))
    said = run(["unshare", "-m", "sh", "-c", f"{mount} && {words} && {keep}"])
    assert said.after("refused: ") == [f"the journal `{path}` cannot be written: the disk is full"], said.errors
    shutil.copytree(tmp_path / "kept", path.parent, dirs_exist_ok=True)
    assert_went_on(said, path)


async def test_another_program_holding_the_database(path: Path) -> None:
    """FT21: after half a second calls are refused at once; when the lock is gone the gate goes on by itself."""
    held = opened(path)
    await held.record(decided(1), [take(1, 100)])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin exclusive")
        assert "another program holds its lock" in await refusal(held, 2)
        at_once = time.monotonic()
        await refusal(held, 3)
        assert time.monotonic() - at_once < 0.4  # it did not wait for the lock again
        assert "another program holds its lock" in str(held.ready())
        db.execute("rollback")
    await until_ready(held)
    await held.record(decided(4), [take(1, 100)])
    await held.close()
    calls = [row.event["call"] for row in held.journal.events(ledger_filter(kind="Decided"))]
    assert calls == ["call-1", "call-4"]
    assert [row.event["refused"] for row in held.journal.events(ledger_filter(kind="JournalRecovered"))] == [2]
    assert taken(held, "calls") == {"calls": 2}


async def test_a_charge_of_a_record_that_failed_is_released(path: Path) -> None:
    """Nothing counts as taken that is not written: a disk that was broken does not eat the budget."""
    held = opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin exclusive")
        for n in range(5):
            await refusal(held, n)
    await until_ready(held)
    assert taken(held, "calls") == {"calls": 0}
    assert await held.record(decided(9), [take(100, 100)]) is None
    await held.close()


@pytest.mark.parametrize("suffix", ["", "-wal", ".lock"])
async def test_a_file_removed_while_in_use(path: Path, suffix: str) -> None:
    """FT18, FT19: nothing is written into a file nobody can open any more, and nothing new is made in its place."""
    held = opened(path)
    await held.record(decided(1), ())
    aside = path.with_name("aside")
    move(f"{path}{suffix}", aside)
    said = await refusal(held, 2)
    assert f"`{path}{suffix}` was removed or replaced while in use" in said
    assert held.ready() == said
    assert f"{path.name}{suffix}" not in names(path.parent)
    move(aside, f"{path}{suffix}")
    await until_ready(held)
    await held.record(decided(3), ())
    await held.close()
    assert isinstance(held.journal.verify(), Verified)
    assert "JournalRecovered" in kinds(held)


async def test_a_file_replaced_by_a_copy(path: Path) -> None:
    """FT19: a restored backup or a planted file under the same name is not written to."""
    held = opened(path)
    await held.record(decided(1), ())
    shutil.copy(path, f"{path}.copy")
    move(f"{path}.copy", path)
    assert "was removed or replaced" in await refusal(held, 2)
    with pytest.raises(LedgerError, match="the last events could not be written"):
        await held.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_file_truncated_while_in_use(path: Path, suffix: str) -> None:
    """FT19: `: > ledger.db` is noticed before the next record, not at the next start."""
    held = opened(path)
    for n in range(50):
        await held.record(decided(n, text="x" * 2000), ())
    os.truncate(f"{path}{suffix}", 100)
    assert "was truncated by someone else" in await refusal(held, 99)
    with pytest.raises(LedgerError, match="the last events could not be written"):
        await held.close()


async def test_a_folder_removed_while_in_use(tmp_path: Path) -> None:
    """FT18: the whole state folder goes away."""
    held = opened(tmp_path / "state" / "ledger.db")
    await held.record(decided(1), ())
    shutil.rmtree(tmp_path / "state")
    assert "was removed or replaced" in await refusal(held, 2)
    with pytest.raises(LedgerError, match="the last events could not be written"):
        await held.close()


async def test_what_nobody_waits_for_is_kept_while_there_is_room(path: Path) -> None:
    """The outcome of a call that was sent is written when the journal works again, in its order."""
    held = opened(path)
    await held.record(decided(1), ())
    aside = path.with_name("aside")
    move(path, aside)
    await refusal(held, 2)
    for n in range(200):
        await held.append(finished(n))
    move(aside, path)
    await until_ready(held)
    await held.close()
    calls = [row.event["call"] for row in held.journal.events(ledger_filter(kind="Finished"))]
    assert calls == [f"call-{n}" for n in range(200)]


async def test_a_read_only_file_system_at_start(tmp_path: Path) -> None:
    """FT18: a journal that cannot be written keeps the gate from starting."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:  # noqa: ASYNC221
        pytest.skip("mounting needs root")
    folder = tmp_path / "state"
    folder.mkdir()
    held = opened(folder / "ledger.db")
    await held.close()
    mount = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"
    words = " ".join(command("flush", folder / "ledger.db"))
    said = await asyncio.to_thread(run, ["unshare", "-m", "sh", "-c", f"{mount} && {words}"])
    assert said.code != 0
    assert "read-only file system" in said.errors


def test_a_flush_that_fails_once_is_not_believed_the_second_time(path: Path) -> None:
    """FT16 (fsyncgate): after EIO the log is copied into the database and flushed anew before anything counts again."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: a failing fdatasync cannot be shown on this machine")
    inject = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=20",
    ]
    if subprocess.run([*inject, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace here: a failing fdatasync cannot be shown on this machine")
    said = run([*inject, *command("flush", path)])
    assert (said.code, said.lines[-1]) == (0, "closed"), said.errors
    refused = said.after("refused ")
    assert len(refused) == 1
    assert "a flush to disk failed" in refused[0]
    rows = [row.event for row in FileJournal(path).events(ledger_filter())]
    assert isinstance(FileJournal(path).verify(), Verified)
    assert said.acknowledged <= {event.get("call") for event in rows}
    assert [event["refused"] for event in rows if event["event"] == "JournalRecovered"] == [1]


async def test_a_defect_in_the_writer_refuses_and_does_not_hang(path: Path) -> None:
    """FT11: an exception nobody foresaw is a refusal like any other, and says no secrets."""
    armed = False

    def at(point: str) -> None:
        if armed and point == "linked":
            raise ZeroDivisionError("secret")

    held = opened(path, at=at)
    await held.record(effect(1), ())
    armed = True
    assert await refusal(held, 2) == "the journal's writer met a defect: ZeroDivisionError"
    armed = False
    await until_ready(held)
    await held.record(effect(3), ())
    await held.close()
    assert isinstance(held.journal.verify(), Verified)
