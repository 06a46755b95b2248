"""Beginning with a store, before there is an event loop: is it fit, is it ours, what was left in it.

RULE: nothing is taken for granted and nothing is made: only `toolgate ledger init` writes an epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis import Connection, SSLConnection
from redis.backoff import NoBackoff
from redis.retry import Retry

from toolgate.ledger.queue import QueuedLedger
from toolgate.ledger.redis import recovery
from toolgate.ledger.redis.address import Access, Address, address_of, arguments, epoch_key
from toolgate.ledger.redis.agreeing import LEASE, verdict
from toolgate.ledger.redis.clock import StoreClock
from toolgate.ledger.redis.complaints import by_state, complaint
from toolgate.ledger.redis.health import EVICTED, Health, evicted_key, sections
from toolgate.ledger.redis.ledger import SharedLedger
from toolgate.ledger.redis.link import Known, Link, Seams
from toolgate.ledger.redis.recovery import Leftover, Unsaid
from toolgate.ledger.redis.script import Answer, Header, Operation, answer, request, script
from toolgate.ports import LedgerError

_PATIENCE_S: Final = 2.0  # at start nobody waits for a call
_GROUP: Final = 128
_LOOKS: Final = 5


def reach(url: str, access: Access) -> Store:
    """Find a store fit to be used. Raises LedgerError, in one sentence, when it is not."""
    store = Store(url, access)
    try:
        store.judge()
        store.clock = StoreClock(store.wall_ahead_ns())
    except BaseException:
        store.close()
        raise
    return store


def share(local: QueuedLedger, store: Store, clock: Callable[[], int]) -> SharedLedger:
    """Keep a journal's state in the store from here on. Raises LedgerError when the store is empty or cannot be asked."""
    try:
        epoch = store.judge_epoch()
        leftovers = _settle_leases(store, epoch, local, clock)
        head = local.journal.head()
        marked, seq = recovery.last_mark(local.journal)
        is_known = marked == epoch
        known = Known(epoch, head.writer if head else "", seq if is_known else 0)
        link = Link(store.address, store.access, store.key, known, Seams(clock, store.clock.heed))
        unsaid = Unsaid(leftovers, recovery.untold(local.journal), is_new_epoch=not is_known)
        return SharedLedger(local, link, unsaid)
    except BaseException:
        local.abandon()
        raise
    finally:
        store.close()


class Store:
    """A store seen by a process that may wait: at start, and for the command line. Each failure is a LedgerError."""

    def __init__(self, url: str, access: Access) -> None:
        self.address = address_of(url)
        self.access = access
        self.key = epoch_key(access)
        self.clock = StoreClock(0)
        try:
            self._connection = _connection(self.address, access)
        except LedgerError as error:
            raise self.error(str(error)) from error

    def ask(self, *words: Any) -> Any:
        """One command of Redis."""
        with self._complaining():
            self._connection.send_command(*words)  # type: ignore[no-untyped-call]  # the library's
            return self._connection.read_response()

    def judge(self) -> None:
        """Raise LedgerError where it may forget by itself, or cannot be written."""
        said = b"".join([self.ask("INFO", section) for section in sections()])
        why = Health().judge(said.decode("utf-8", "replace"))
        if why is not None:
            raise self.error(why)

    def judge_epoch(self) -> str:
        """The epoch that gates go on with. Raises LedgerError where there is none, or something of it is gone."""
        epoch = self.epoch_or_error()
        if self.ask("GET", evicted_key(self.key)) == epoch.encode():
            raise self.error(EVICTED)
        return epoch

    def epoch(self) -> str | None:
        said = self.ask("GET", self.key)
        return None if said is None else said.decode("utf-8", "replace")

    def epoch_or_error(self) -> str:
        epoch = self.epoch()
        if epoch is None:
            raise self.error(by_state("empty", ours_ms=0, theirs_ms=0))
        return epoch

    def wall_ahead_ns(self) -> int:
        """How far its clock is ahead of this machine's."""
        return min((self._look_at_clock() for _ in range(_LOOKS)), key=lambda seen: seen[0])[1]

    def run(self, epoch: str, now_ms: int, operations: Sequence[Operation]) -> Answer:
        """Have operations done."""
        header = Header(epoch, 0, "", "", now_ms, self.access.skew_ms)
        with self._complaining():
            said = answer(self.ask("EVAL", script().text, 1, self.key, request(header, operations)), len(operations))
        if said.state != "done":
            raise self.error(by_state(said.state, ours_ms=now_ms, theirs_ms=said.now_ms))
        return said

    def error(self, why: str) -> LedgerError:
        return LedgerError(f"the state store `{self.address}` {why}")

    def close(self) -> None:
        self._connection.disconnect()  # type: ignore[no-untyped-call]  # the library's

    def _look_at_clock(self) -> tuple[int, int]:
        before_ns, began_ns = time.time_ns(), time.monotonic_ns()
        seconds, us = self.ask("TIME")
        took_ns = time.monotonic_ns() - began_ns
        with self._complaining():
            theirs_ns = (int(seconds) * 1_000_000 + int(us)) * 1_000
        return took_ns, theirs_ns - before_ns - took_ns // 2

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except LedgerError:
            raise
        except Exception as error:
            raise self.error(complaint(error)) from error


def _settle_leases(store: Store, epoch: str, local: QueuedLedger, clock: Callable[[], int]) -> list[Leftover]:
    """Settle what this journal's earlier writers left open; answers what only a running ledger can."""
    journal = local.journal
    prefix = store.key.removesuffix("epoch")
    owners = [said.decode("utf-8", "replace") for said in store.ask("SMEMBERS", f"{prefix}owners")]
    leftovers: list[Leftover] = []
    for owner in recovery.own(owners, journal):
        names = [said.decode("utf-8", "replace") for said in store.ask("SMEMBERS", f"{prefix}open:{owner}")]
        leases = [name for name in names if name.startswith(LEASE)]
        told = [verdict(each, store.ask("GET", f"{prefix}entry:{each}"), owner, local.agreements) for each in leases]
        verdicts = recovery.judge([name for name in names if not name.startswith(LEASE)], owner, journal)
        for some in groups([*sorted(told, key=_number_of), *verdicts.operations]):
            store.run(epoch, clock(), some)
        leftovers += verdicts.leftovers
    return leftovers


def _number_of(operation: Operation) -> int:
    """In the order in which it was done."""
    number = str(operation[1]).rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def _connection(address: Address, access: Access) -> Connection:
    given = arguments(address, access) | {"retry": Retry(NoBackoff(), 0)}
    given |= {"socket_timeout": _PATIENCE_S, "socket_connect_timeout": _PATIENCE_S}
    return SSLConnection(**given) if address.tls else Connection(**given)  # type: ignore[no-untyped-call]  # the library's


def groups(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """As many operations as the store does without making others wait."""
    for at in range(0, len(operations), _GROUP):
        yield operations[at : at + _GROUP]
