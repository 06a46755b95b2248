"""The journal's disk breaks under a running gate: nothing is sent, everybody is told, and it goes on by itself (FT13, FT15, FT18, FT19)."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.books import assert_every_permit_ended_once
from tests.support.scenes import Scene, served
from tests.support.waiting import until

Break = Callable[[], None]
DISK = 1 << 20


@contextmanager
def no_room_to_grow(home: Path) -> Iterator[tuple[Scene, Break, Break]]:
    """RLIMIT_FSIZE: the kernel refuses, or shortens, a write; works for any user."""
    with served(home, journal={"stdout": False}) as scene:
        pid, limit = scene.gate.process.pid, resource.RLIMIT_FSIZE
        _, hard = resource.prlimit(pid, limit)
        yield (
            scene,
            lambda: resource.prlimit(pid, limit, (4096, hard)) and None,
            lambda: resource.prlimit(pid, limit, (hard, hard)) and None,
        )


@contextmanager
def full_disk(home: Path) -> Iterator[tuple[Scene, Break, Break]]:
    """A real full file system: a small tmpfs that only the gate sees, filled through `/proc/PID/root`."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting needs root; the other fault covers it here")
    state = home / "state"
    state.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={DISK} tmpfs {state} && exec "$@"'
    with served(home, under=("unshare", "-m", "sh", "-c", mount, "sh")) as scene:
        inside = Path(f"/proc/{scene.gate.process.pid}/root{state}")
        scene.gate.readable = lambda: _copied(inside, home / "copied")
        filler = inside / "filler"

        def fill() -> None:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(b"x" * 4096):
                    pass

        yield scene, fill, filler.unlink


@contextmanager
def journal_removed(home: Path) -> Iterator[tuple[Scene, Break, Break]]:
    """The file is moved away under the gate, and comes back."""
    with served(home) as scene:
        ledger = scene.gate.ledger
        aside = ledger.with_name("aside")
        yield scene, lambda: ledger.rename(aside) and None, lambda: aside.rename(ledger) and None


@contextmanager
def folder_removed(home: Path) -> Iterator[tuple[Scene, Break, Break]]:
    with served(home) as scene:
        state = scene.gate.ledger.parent
        aside = state.with_name("aside")
        yield scene, lambda: state.rename(aside) and None, lambda: aside.rename(state) and None


def _copied(inside: Path, copy: Path) -> Path:
    """What cannot be read in place: SQLite resolves `/proc/PID/root` to our own root. Whole only while nobody writes."""
    copy.mkdir(exist_ok=True)
    for name in ("ledger.db", "ledger.db-wal"):
        shutil.copyfile(inside / name, copy / name)
    return copy / "ledger.db"


FAULTS = {fault.__name__: fault for fault in (no_room_to_grow, full_disk, journal_removed, folder_removed)}


def refused(scene: Scene, item: str) -> bool:
    """Whether a call is refused for want of a journal, with nothing sent."""
    heard = scene.gate.put(item)
    if heard.status == 200:
        return False
    problem = heard.json
    assert (heard.status, problem["code"]) == (503, "gateway.unavailable")
    assert (problem["sent"], problem["retryable"]) == ("no", True)
    assert problem["detail"].startswith("the call cannot be recorded: ")
    return True


@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_journal_nothing_is_sent_and_it_goes_on_by_itself(tmp_path: Path, fault: str) -> None:
    """Refused with `gateway.unavailable`, not ready, nothing sent; once the disk is back so is the gate, without a restart."""
    with ExitStack() as stack:
        scene, shrink, restore = stack.enter_context(FAULTS[fault](tmp_path / "home"))
        gate = scene.gate
        assert gate.put("plain-before").status == 200

        shrink()
        refusals = iter(range(1000))
        until(lambda: refused(scene, f"plain-try{next(refusals)}"), "a call is refused")
        seen = scene.seen
        assert all(refused(scene, f"plain-no{number}") for number in range(20))
        assert scene.seen == seen
        assert gate.call("DELETE", "/store/items/no-1").json["sent"] == "no"
        not_ready = gate.ready()
        assert not_ready.status == 503
        assert "journal" in not_ready.json["reason"]

        restore()
        until(lambda: gate.ready().status == 200, "the gate is ready again")
        assert gate.put("plain-after").status == 200
        scene.assert_books_agree()
        [recovered] = gate.events("JournalRecovered")
        assert recovered["refused"] >= 20
        gate.finished(2)
        assert_every_permit_ended_once(gate)
        assert gate.stop() == 0


def test_a_journal_that_was_removed_keeps_the_gate_from_starting_as_if_nothing_was(tmp_path: Path) -> None:
    """What is left beside a removed journal is not thrown away, and the operator is told what to do; exit 3."""
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        assert gate.put("plain-before").status == 200
        gate.kill()
        gate.ledger.unlink()

        gate.spawn()

        assert gate.process.wait(15) == 3
        assert "restore it, or move both away" in gate.errors


def test_a_stop_without_a_journal_says_what_was_lost(tmp_path: Path) -> None:
    """SIGTERM while the journal is broken ends in time, and not with exit 0: something could not be written."""
    with served(tmp_path / "home") as scene:
        gate = scene.gate
        assert gate.put("plain-before").status == 200
        gate.ledger.rename(gate.ledger.with_name("aside"))
        until(lambda: refused(scene, "plain-no"), "a call is refused")

        assert gate.stop() == 3

        assert "the last events could not be written" in gate.errors
