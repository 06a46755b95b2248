"""Verification: whatever is done to the file afterwards is found (P05, INV6)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.world import decided, finished, opened, take

from toolgate.core.journal import Body, Broken, Head, Verified, encode, timestamp
from toolgate.core.model import Event
from toolgate.ledger import FileJournal
from toolgate.ledger.chain import Tip, check, extend, parse

HALF = 20


async def two_writers(path: Path) -> None:
    """A journal of two starts of the gate, with charges, refusals and outcomes."""
    for writer in range(2):
        held = opened(path)
        for n in range(writer * HALF, (writer + 1) * HALF):
            await held.record(decided(n, code="tool.unknown" if n % 5 == 0 else None), [take(1, 10**6)])
            await held.append(finished(n))
        await held.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    asyncio.run(two_writers(path))
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "ledger.db"))


def altered(path: Path, *statements: str) -> Verified | Broken:
    """Do it to the file, as somebody with the file in hand would, and verify."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return FileJournal(path).verify()


def test_an_untouched_journal_verifies(copy: Path) -> None:
    """Every row of both writers, and the head is the last line."""
    found = FileJournal(copy).verify()
    assert isinstance(found, Verified)
    assert (found.rows, found.pruned, found.head) == (2 * (2 * HALF + 2), 0, FileJournal(copy).head())


@pytest.mark.parametrize(
    ("done", "row", "why"),
    [
        ("update events set line = replace(line, 'completed', 'refused') where row = 9", 9, "does not match its hash"),
        ("update events set hash = zeroblob(32) where row = 9", 9, "does not match its hash"),
        ("update events set line = 'x', hash = zeroblob(32) where row = 9", 9, "does not match its hash"),
        ("update events set code = null where row = 2", 2, "columns beside the line do not agree"),
        ("update events set call = 'another' where row = 9", 9, "columns beside the line do not agree"),
        ("update events set run = 'another' where row = 9", 9, "columns beside the line do not agree"),
        ("update events set kind = 'Finished' where row = 2", 2, "columns beside the line do not agree"),
        ("update events set operation = 'x' where row = 2", 2, "columns beside the line do not agree"),
        ("update events set principal = 'x' where row = 2", 2, "columns beside the line do not agree"),
        ("update events set code = cast(x'fffe' as text) where row = 2", 2, "the file is damaged"),
        ("update events set hash = 'text' where row = 2", 2, "does not match its hash"),
        ("update events set at_ms = 'soon' where row = 2", 2, "columns beside the line do not agree"),
        ("update events set at_ms = at_ms + 1 where row = 2", 2, "columns beside the line do not agree"),
        ("delete from events where row = 9", 10, "row 9 is missing"),
        ("delete from events where row = 1", 2, "no `JournalPruned` accounts for them"),
        ("delete from events where row between 2 and 41", 42, "row 2 is missing"),
        ("update events set row = 1000 where row = 9", 10, "row 9 is missing"),
    ],
)  # fmt: skip
def test_each_kind_of_tampering_is_found_where_it_was_done(copy: Path, done: str, row: int, why: str) -> None:
    """Edit, delete, move, hide from queries: the first bad row is named, and why."""
    found = altered(copy, done)
    assert isinstance(found, Broken)
    assert (found.row, why in found.why) == (row, True)


def test_two_rows_changing_places_is_found(copy: Path) -> None:
    """Reordering breaks the chain at the first of the two."""
    found = altered(
        copy,
        "update events set row = -9 where row = 9",
        "update events set row = 9 where row = 11",
        "update events set row = 11 where row = -9",
    )
    assert isinstance(found, Broken)
    assert found.row == 9


def test_a_row_put_in_between_is_found(copy: Path) -> None:
    """An event that was never written cannot be slipped in, even with all rows renumbered."""
    found = altered(
        copy,
        "update events set row = -row where row > 9",
        "update events set row = 1 - row where row < 0",
        "insert into events select 10, at_ms, kind, call, run, principal, operation, code, hash, line, null from events where row = 9",
    )
    assert isinstance(found, Broken)
    assert (found.row, "does not follow" in found.why) == (10, True)


def test_a_missing_row_with_the_others_moved_up_is_found(copy: Path) -> None:
    """Renumbering hides no gap."""
    found = altered(copy, "delete from events where row = 9", "update events set row = row - 1 where row > 9")
    assert isinstance(found, Broken)
    assert found.row == 9


@pytest.mark.parametrize("left", [83, 50, 43, 42, 1])
def test_a_cut_tail_is_found_with_a_head(copy: Path, left: int) -> None:
    """Truncation leaves a chain that holds; the head that was printed is not in it."""
    head = FileJournal(copy).head()
    assert isinstance(altered(copy, f"delete from events where row > {left}"), Verified)
    found = FileJournal(copy).verify(head)
    assert isinstance(found, Broken)
    assert "is not in the journal" in found.why


def test_cutting_a_whole_writers_tail_is_found_without_a_head(copy: Path) -> None:
    """The next writer named the head it found: removing the end of the first one leaves a hole."""
    found = altered(copy, "delete from events where row in (41, 42)", "update events set row = row - 2 where row > 42")
    assert isinstance(found, Broken)
    assert found.row == 41


def test_every_head_along_the_way_is_in_the_journal(copy: Path) -> None:
    """An old head still proves everything up to it."""
    with closing(sqlite3.connect(copy)) as db:
        rows = db.execute("select hash, line ->> '$.writer', line ->> '$.seq' from events").fetchall()
    for digest, writer, seq in rows[::7]:
        assert isinstance(FileJournal(copy).verify(Head(writer, seq, digest.hex())), Verified)
    assert isinstance(FileJournal(copy).verify(Head(rows[3][1], rows[3][2], "0" * 64)), Broken)


def test_a_forged_account_of_pruning_does_not_help(copy: Path) -> None:
    """A `JournalPruned` counts only when it names the very hash the first row follows, inside the chain."""
    found = altered(copy, "delete from events where row <= 10")
    assert isinstance(found, Broken)
    assert (found.row, "no `JournalPruned`" in found.why) == (11, True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(1, 84), data=st.data())
def test_any_changed_byte_of_any_line_is_found(original: Path, tmp_path: Path, row: int, data: st.DataObject) -> None:
    """INV6: one byte anywhere."""
    path = Path(shutil.copy(original, tmp_path / "ledger.db"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        line = bytearray(db.execute("select cast(line as blob) from events where row = ?", (row,)).fetchone()[0])
        line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
        db.execute("update events set line = ? where row = ?", (bytes(line), row))
    found = FileJournal(path).verify()
    assert isinstance(found, Broken)
    assert found.row == row


@pytest.mark.parametrize("seed", range(40))
def test_damage_to_the_file_is_an_answer_and_never_an_exception(copy: Path, seed: int) -> None:
    """Whatever the bytes are, `verify` says Broken or, where no row was hit, Verified."""
    noise = random.Random(seed)
    content = bytearray(copy.read_bytes())
    start = noise.randrange(100, len(content) - 600)
    content[start : start + 512] = noise.randbytes(512)
    copy.write_bytes(content)
    assert isinstance(FileJournal(copy).verify(), Verified | Broken)


def test_a_forged_line_with_its_right_hash_is_an_answer(copy: Path) -> None:
    """Whoever recomputes the hash of nonsense is told that it is nonsense."""
    nonsense = (
        b"",
        b"[]",
        b"{}",
        b'{"event":1}',
        b"\xff\xfe",
        b'{"event":"x","writer":"w","seq":true,"at_ms":1,"prev":""}',
    )
    _, rows = extend(Tip(writer="w"), bodies(3))
    for line in nonsense:
        forged = (*rows[1][:8], hashlib.sha256(line).digest(), line)
        assert isinstance(check([rows[0], forged, rows[2]]), Broken)


def test_each_line_says_its_own_time() -> None:
    """Rows of one group are of different times, and of the same."""
    times_ms = [-1, 0, 0, 1_763_827_200_123, 1_763_827_200_124, 1_763_827_200_123]
    _, rows = extend(Tip(writer="w"), [encode(Event("Filler", at_ms, {})) for at_ms in times_ms])
    assert [timestamp(at_ms) for at_ms in times_ms] == [parse(row[9])["at"] for row in rows]


def bodies(count: int) -> list[Body]:
    return [encode(decided(n, arguments={"body": {"text": "x" * 300}})) for n in range(count)]


def test_verification_holds_one_row_at_a_time() -> None:
    """FT56: a journal of ten million rows is verified in constant memory."""
    _, rows = extend(Tip(writer="w"), bodies(20_000))
    stream = (rows.pop(0) for _ in range(len(rows)))
    tracemalloc.start()
    found = check(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, Verified)
    assert peak < 1 << 18
