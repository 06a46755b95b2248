"""Opening: only a file that is ours, whole, and nobody else's becomes the journal (P09, FT07, FT08, FT21)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.ledger.world import decided, finished, kinds, ledger_filter, opened

from toolgate.core.journal import Verified
from toolgate.ledger import FileJournal
from toolgate.ledger.files import Lock
from toolgate.ports import LedgerError


def written(path: Path, count: int = 30) -> None:
    async def write() -> None:
        held = opened(path)
        for n in range(count):
            await held.record(decided(n, arguments={"text": "x" * 500}), ())
        await held.close()

    asyncio.run(write())


def refused(path: Path) -> str:
    with pytest.raises(LedgerError) as caught:
        opened(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """0600 for the journal and everything beside it, 0700 for a folder made for it."""
    path = tmp_path / "made" / "ledger.db"
    path.parent.mkdir(mode=0o700)
    before = os.umask(umask)
    try:
        held = opened(path)
        await held.record(decided(1), ())
    finally:
        os.umask(before)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    await held.close()
    assert set(modes) == {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"}
    assert {modes[name] for name in modes if not name.endswith(".lock")} == {0o600}
    assert modes["ledger.db.lock"] & 0o177 == 0


def test_a_missing_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    """`sqlite:.toolgate/ledger.db` works in an empty folder."""
    written(tmp_path / "a" / "b" / "ledger.db", 1)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    """Whoever widened the mode, the next start narrows it."""
    written(path, 1)
    path.chmod(0o666)
    written(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """Whoever can write the folder cannot make the gate write elsewhere."""
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / name).symlink_to(tmp_path / "target")
    assert "is a symbolic link" in refused(tmp_path / "ledger.db")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_a_second_name_for_the_file_is_refused(path: Path) -> None:
    """A hard link is a way to read or keep the journal under another name."""
    written(path, 1)
    (path.parent / "copy").hardlink_to(path)
    assert "has a second name" in refused(path)


def test_what_is_not_a_file_is_refused(path: Path) -> None:
    """A folder, a pipe or a device in place of the journal is not waited for."""
    os.mkfifo(path)
    assert "is not a regular file" in refused(path)


def test_a_file_of_another_user_is_refused(path: Path) -> None:
    """Only root can show this one; any other user cannot make such a file."""
    path.touch()
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)
    assert "belongs to user 12345" in refused(path)


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """A wrong path in the settings destroys nothing."""
    path.write_bytes(b"dear diary, " * 1000)
    path.chmod(0o644)
    assert "is not a SQLite file" in refused(path)
    assert path.read_bytes() == b"dear diary, " * 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    """Nor does a wrong path add tables to somebody's database."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table precious (id)")
    assert "is a database of another program" in refused(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select name from sqlite_master").fetchall() == [("precious",)]


def test_a_journal_of_a_newer_version_is_left_alone(path: Path) -> None:
    """Going back to an older gate does not damage what the newer one wrote."""
    written(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma user_version = 99")
    assert "newer version" in refused(path)
    with pytest.raises(LedgerError, match="newer version"):
        FileJournal(path).head()


def zero_page(content: bytearray) -> bytearray:
    content[4096:8192] = bytes(4096)
    return content


def flip(content: bytearray) -> bytearray:
    at = content.rindex(b'"prev"') - 3
    content[at] ^= 0x20
    return content


@pytest.mark.parametrize(
    "damage",
    [
        zero_page,
        flip,
        lambda content: content[:-4096],
        lambda content: content[: len(content) // 2],
        lambda content: content[:700],
    ],
    ids=["page 2 zeroed", "one bit of a late line", "last page gone", "second half gone", "only a header"],
)
def test_a_damaged_journal_keeps_the_gate_from_starting(path: Path, damage: Callable[[bytearray], bytearray]) -> None:
    """FT07, FT21: mid-file damage is refused with what to do, and nothing of what is left is touched."""
    written(path, 200)
    path.write_bytes(damage(bytearray(path.read_bytes())))
    left = path.read_bytes()
    assert "toolgate journal verify" in refused(path)
    assert path.read_bytes() == left


def test_an_altered_line_keeps_the_gate_from_starting(path: Path) -> None:
    """A journal that was edited while the gate was down is found by the next start."""
    written(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("update events set line = replace(line, 'permit', 'refuse') where row = 20")
    said = refused(path)
    assert "row 20: the line does not match its hash" in said


def torn(wal: Path, keep: int) -> None:
    wal.write_bytes(wal.read_bytes()[:keep])


def unclean(path: Path) -> None:
    """Leave a journal as a killed gate leaves it: everything still in the -wal file."""
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from tests.ledger.world import decided, opened\n"
        "async def main():\n"
        "    held = opened(pathlib.Path(sys.argv[1]))\n"
        "    for n in range(30): await held.record(decided(n), ())\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=False).returncode == -9


@pytest.mark.parametrize("lost", [1, 100, 4096, 20_000])
def test_a_torn_log_is_cut_back_to_its_last_whole_group(path: Path, lost: int) -> None:
    """FT07: what the power cut tore is dropped, what was whole before it stands, and the next line says it was unclean."""
    unclean(path)
    wal = Path(f"{path}-wal")
    torn(wal, wal.stat().st_size - lost)
    held = opened(path)
    started = held.journal.events(ledger_filter(kind="WriterStarted"))[-1]
    asyncio.run(held.close())
    assert isinstance(held.journal.verify(), Verified)
    assert started.event["clean"] is False
    assert 0 < kinds(held).count("Decided") <= 30


def test_a_killed_gate_loses_nothing_it_had_acknowledged(path: Path) -> None:
    """The log of a killed process is read back whole; its calls without an outcome get one that says so."""
    unclean(path)
    held = opened(path)
    asyncio.run(held.close())
    assert kinds(held).count("Decided") == 30
    unknown = [row.event for row in held.journal.events(ledger_filter()) if row.event["event"] == "Finished"]
    assert [event["outcome"] for event in unknown] == ["unknown"] * 30
    assert {event["call"] for event in unknown} == {f"call-{n}" for n in range(30)}


async def test_calls_that_finished_are_not_finished_again(path: Path) -> None:
    """Only a permit without an outcome is an orphan; a refusal never is."""
    held = opened(path)
    await held.record(decided(1), ())
    await held.append(finished(1))
    await held.record(decided(2, code="tool.unknown"), ())
    await held.record(decided(3), ())
    await held.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("delete from events where kind = 'WriterStopped'")  # as if it had been killed
    again = opened(path)
    await again.close()
    outcomes = [
        (row.event["call"], row.event["outcome"])
        for row in again.journal.events(ledger_filter())
        if "outcome" in row.event
    ]
    assert outcomes == [("call-1", "completed"), ("call-3", "unknown")]


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_a_log_without_its_journal_is_not_thrown_away(path: Path, how: str) -> None:
    """SQLite would delete the log of a journal that is gone; it may be all that is left."""
    unclean(path)
    if how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert "was removed or truncated" in refused(path)
    assert Path(f"{path}-wal").stat().st_size > 0


async def test_two_gates_cannot_share_a_journal(path: Path) -> None:
    """FT08: the second one ends at once and names the first; when the first is gone the lock is too."""
    held = opened(path)
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "import sys, pathlib; from tests.ledger.world import opened; opened(pathlib.Path(sys.argv[1]))", str(path)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert f"is in use by another gate (process {os.getpid()})" in result.stderr
    with pytest.raises(LedgerError, match="is in use by another gate"):
        Lock(path)
    await held.close()
    Lock(path).release()


def test_a_start_while_somebody_holds_the_database_says_so(path: Path) -> None:
    """FT21: half a second is waited for another program's lock, then the gate says what is in its way."""
    written(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin exclusive")
        assert "another program holds its lock" in refused(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The message names the folder and the reason."""
    (tmp_path / "file").touch()
    assert "cannot be made: " in refused(tmp_path / "file" / "ledger.db")


def test_a_failed_start_leaves_nothing_locked(path: Path) -> None:
    """Whoever repairs the file can start again at once."""
    path.write_bytes(b"no database" * 100)
    refused(path)
    path.unlink()
    written(path, 1)
