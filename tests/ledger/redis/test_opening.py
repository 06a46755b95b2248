"""Getting in: TLS, users and passwords, and what may stand in a URL."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import trustme
from tests.ledger.redis.stores import PATIENT_S, access_of, kept, made_ready, reached, settled
from tests.ledger.world import START_MS, Clock, decided, finished, opened, take
from tests.support.redis_server import RedisServer

from toolgate.core import runs as told
from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Charge, Freeze, Pace, Place, Rolling, Settlement
from toolgate.ledger.chain import Tip
from toolgate.ledger.redis.address import Access, address_of
from toolgate.ledger.redis.opening import reach, share
from toolgate.ledger.redis.script import script
from toolgate.ledger.redis.upkeep import begin, migrate, status
from toolgate.ledger.store import Recovered
from toolgate.ledger.taken import PLAIN, Change
from toolgate.ports import LedgerError

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "redis.md").read_text(encoding="utf-8")
COMMANDS = PAGE.partition("```text\n")[2].partition("```")[0].split()


@pytest.fixture
def guarded(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server whose user `gate` may do what docs/redis.md says, with a password."""
    rules = ["on", ">open sesame", "resetkeys", "~{guarded}:*", "-@all", *COMMANDS]
    redis_server.ask("ACL", "SETUSER", "gate", *rules)
    yield redis_server
    redis_server.ask("ACL", "DELUSER", "gate")


async def test_a_user_with_a_password_and_no_more_rights_than_needed(guarded: RedisServer) -> None:
    """The commands docs/redis.md lists are enough, and a wrong password is told as one."""
    url = guarded.url.replace("redis://", "redis://gate@")
    access = replace(access_of(f"#guarded@{PATIENT_S}"), password=lambda: "open sesame")
    store = reach(url, access)
    begin(store, "first", 0)
    store.close()
    clock = Clock()
    held = share(opened("memory:", clock=clock), reach(url, access), clock)
    place, window = Place("c:p", 5), Charge("w", 1, 5, Rolling(START_MS // 60_000))
    guards = [take(1, 5), window, Pace("r:p", 1_000, 5), place]
    assert await held.record(decided(1), guards) is None
    await held.finish(finished(1), Settlement((take(1, 5),), (window,), (place,)))
    await held.append(decided(2, code="policy.denied"), [take(1, 5, "denied")])
    for action in ("freeze", "thaw"):
        await held.record(told.switched(action, "run", "run_1", Freeze("ann", "why", START_MS)), ())
    await held.append(told.stopped("run_1", "ann", "why", "loop.repeated_refusal", START_MS))
    held.balances()
    await settled(held)
    assert held.ready() is None
    await held.close()
    assert kept(f"{guarded.url}#guarded") == {"calls": 0, "w": 2, "denied": 1}
    store = reach(url, access)
    found = status(store)
    assert (found.unfit, found.open_calls, found.balances) == (None, 0, 3)
    recovered = Recovered(Tip(), changes=(Change("old", PLAIN, 4),), arrivals={"r:p": 1})
    assert migrate(store, recovered, ["w_1"], START_MS) == 1
    store.close()
    with pytest.raises(LedgerError, match=r"does not take the user and password \(`redis.password`\)"):
        reach(url, replace(access, password=lambda: "wrong"))
    with pytest.raises(LedgerError, match="does not let the user do what the gate needs"):
        reach(url, replace(access, prefix="other")).epoch()


def test_the_commands_of_the_page_are_those_that_are_used() -> None:
    """What a user may do (docs/redis.md) is what the script and the gate ask for, and no more."""
    folder = files("toolgate.ledger.redis")
    asked = set(re.findall(r"redis\.call\('([A-Z]+)'", script().text))
    for file in folder.iterdir():
        if file.name.endswith(".py"):
            asked |= set(re.findall(r'(?:ask|_command|_say)\((?:connection, )?"([A-Z]+)"', file.read_text("utf-8")))
    asked.add("SELECT")  # where the address names a database
    assert asked == {command.removeprefix("+").upper() for command in COMMANDS}


def test_a_charge_below_zero_makes_no_room_in_the_script(redis_server: RedisServer) -> None:
    """Also where a gate did not see to that: its arithmetic is that of the decision."""
    url = made_ready(redis_server.url)
    store = reached(url)
    less, more = '["charge", "t:b", -3, 5, 0, -1, 0]', '["charge", "t:b", 6, 5, 0, -1, 0]'
    told = [["take", f"c{n}", [], f"[{said}]", 0, 60_000, 0, 0, ""] for n, said in enumerate((f"{less}, {more}", less))]
    answer = store.run(str(store.epoch()), store.clock.wall_ns() // 1_000_000, told)
    assert [["short", ["0", "0"]], ["taken", ["0"]]] == answer.results
    store.close()
    assert {"t:b": 0} == kept(url)


def test_a_password_that_cannot_be_read_is_named_by_its_setting() -> None:
    """And nothing of it is shown."""

    def unreadable() -> str:
        raise BundleError([Problem("settings", 0, "keys.unreadable", "no")])

    with pytest.raises(LedgerError, match=r"wants a password that cannot be read \(`redis.password`\)"):
        reach("redis://127.0.0.1:1/0", Access(password=unreadable))
    with pytest.raises(LedgerError, match="names an empty one"):
        reach("redis://127.0.0.1:1/0", Access(password=lambda: ""))


@contextmanager
def tls_before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port where TLS ends, before Redis: as a server built with it answers."""
    loop = asyncio.new_event_loop()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
        finally:
            sink.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    running = threading.Thread(target=loop.run_forever)
    running.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(ended(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        running.join()
        loop.close()


async def ended(server: asyncio.Server) -> None:
    """Nothing of it runs any more."""
    server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_tls_is_verified(redis_server: RedisServer, tmp_path: Path) -> None:
    """`rediss:`: the certificate must be vouched for and the host's own; both ends of it, where a client's is asked for."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "other.pem")
    client = authority.issue_cert("gate@example.test")
    client.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    client.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ready = made_ready(redis_server.url, PATIENT_S)
    files = {"cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    access = replace(access_of(ready), ca_file=tmp_path / "ca.pem", **files)
    with tls_before(redis_server.port, context) as port:
        clock = Clock()
        url = f"rediss://127.0.0.1:{port}/0"
        held = share(opened("memory:", clock=clock), reach(url, access), clock)
        assert await held.record(decided(1), [take(1, 5)]) is None
        await held.close()
        for wrong in (
            (url, replace(access, ca_file=tmp_path / "other.pem")),
            (url, replace(access, cert=None, key=None)),
            (url.replace("127.0.0.1", "localhost"), access),
        ):
            with pytest.raises(LedgerError, match="cannot be reached"):
                reach(*wrong)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hunter2@h/0", "holds a password"),
        ("redis://h/x", "is not understood"),
        ("redis://h:99999/0", "is not understood"),
        ("redis://", "is not understood"),
        ("redis://h/0?password=hunter2", "holds options"),
        ("redis://a:1,b:2/0", "is not understood"),
        ("redis+sentinel://h/main", "is not understood"),
        ("sqlite:x", "is not understood"),
    ],
)
def test_a_url_that_is_none_says_what_to_write(url: str, says: str) -> None:
    """And repeats nothing that may be a secret."""
    with pytest.raises(LedgerError, match=says) as refused:
        address_of(url)
    assert "hunter2" not in str(refused.value)


def test_addresses_are_shown_without_the_user() -> None:
    """As a person writes them."""
    assert str(address_of("rediss://gate@[::1]:6380/2")) == "rediss://[::1]:6380/2"
    assert str(address_of("redis://cache")) == "redis://cache:6379/0"
