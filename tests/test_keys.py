"""The mask key: given, or made once beside the ledger for this user alone."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolgate.keys import mask_file, mask_secret, read_or_make
from toolgate.ports import LedgerError

SECRET = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex(),
        SECRET.hex().upper(),
        base64.b64encode(SECRET).decode(),
        base64.urlsafe_b64encode(SECRET).decode().rstrip("="),
        f"  {base64.b64encode(SECRET).decode()}\n",
    ],
)
def test_a_given_key_is_read_in_the_usual_spellings(text: str) -> None:
    """Hexadecimal or base64, with or without padding."""
    assert mask_secret(text, None) == SECRET


@pytest.mark.parametrize(
    "text", ["", "hunter2", "x" * 42, "Ä" * 44, base64.b64encode(b"short").decode(), "a" * 41 + "!!"]
)
def test_a_weak_or_mangled_key_is_refused_and_not_shown(text: str) -> None:
    """32 random bytes or nothing; the message never holds the key."""
    with pytest.raises(LedgerError, match=r"`keys\.mask` is not a key") as caught:
        mask_secret(text or " ", None)
    assert not text or text not in str(caught.value)


def test_a_key_is_made_once_and_read_ever_after(tmp_path: Path) -> None:
    """Beside the ledger, 0600, and the same at every start."""
    ledger = tmp_path / "state" / "ledger.db"
    first = mask_secret(None, ledger)
    assert mask_secret(None, ledger) == first
    assert len(first) == 32
    assert stat.S_IMODE(mask_file(ledger).stat().st_mode) == 0o600
    assert [entry.name for entry in ledger.parent.iterdir()] == ["ledger.db.mask-key"]


def test_a_ledger_in_memory_has_a_key_for_this_process_only() -> None:
    """Nothing is written for `memory:`."""
    assert mask_secret(None, None) != mask_secret(None, None)


def test_starts_at_the_same_time_agree_on_one_key(tmp_path: Path) -> None:
    """Whoever is first makes it; the others read it."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: read_or_make(tmp_path / "key", os.urandom), range(32)))
    assert len(set(keys)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A key that is no secret any more is not used silently."""
    path = tmp_path / "key"
    read_or_make(path, os.urandom)
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="can be read by others; run `chmod 600`"):
        read_or_make(path, os.urandom)


def test_links_pipes_and_empty_files_are_no_keys(tmp_path: Path) -> None:
    """Nothing is followed, waited for or overwritten."""
    (tmp_path / "target").write_text(SECRET.hex())
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "empty").touch(0o600)
    for name, says in (("link", "cannot be read"), ("pipe", "is not a regular file"), ("empty", "is not a key")):
        with pytest.raises(LedgerError, match=says):
            read_or_make(tmp_path / name, os.urandom)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The operator learns which file and why."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"the key file `.*/file/key` cannot be"):
        read_or_make(tmp_path / "file" / "key", os.urandom)
