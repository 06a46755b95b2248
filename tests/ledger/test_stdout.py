"""Journal lines on standard output: whole lines, and never a reason to wait."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from toolgate.ledger.stdout import LineStream


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A small pipe: what a log collector reads from."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4 * 4096)
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * 500) for n in range(first, first + count))


def drain(reader: int) -> bytes:
    os.set_blocking(reader, False)
    got = b""
    try:
        while chunk := os.read(reader, 65536):
            got += chunk
    except BlockingIOError:
        pass
    return got


def test_a_reader_that_reads_gets_everything(pipe: tuple[int, int]) -> None:
    """More than the pipe holds passes through it when somebody reads."""
    reader, writer = pipe
    got: list[bytes] = []

    def read() -> None:
        while chunk := os.read(reader, 1000):
            got.append(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    stream = LineStream(writer)
    stream(lines(0, 200))
    stream.close()
    os.close(writer)
    thread.join(10)
    assert b"".join(got) == lines(0, 200)
    assert stream.dropped == 0


def test_a_reader_that_does_not_read_stops_nothing(pipe: tuple[int, int]) -> None:
    """What finds no room is dropped in whole lines and counted; the count is told as soon as there is room."""
    reader, writer = pipe
    stream = LineStream(writer)
    for batch in range(20):
        stream(lines(batch * 10, 10))
    kept = drain(reader)
    stream(lines(900, 1))
    kept += drain(reader)
    got = [orjson.loads(line) for line in kept.splitlines()]
    dropped = [line["count"] for line in got if line.get("event") == "LinesDropped"]
    numbers = [line["n"] for line in got if "n" in line]
    assert numbers == [*range(len(numbers) - 1), 900]
    assert dropped == [stream.dropped]
    assert len(numbers) - 1 + stream.dropped == 200


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    """A broken pipe drops lines; the journal goes on."""
    reader, writer = pipe
    os.close(reader)
    stream = LineStream(writer)
    stream(lines(0, 3))
    stream(lines(3, 3))
    assert stream.dropped >= 5


def test_the_descriptor_stays_blocking_for_its_other_holders(pipe: tuple[int, int]) -> None:
    """Standard output is shared: its flags are not ours to change."""
    _, writer = pipe
    LineStream(writer)(lines(0, 1))
    assert os.get_blocking(writer)


def test_a_file_gets_every_line_at_its_end(tmp_path: Path) -> None:
    """A file takes a batch in one write, after whatever its other holders wrote."""
    with (tmp_path / "out").open("wb") as out:
        stream = LineStream(out.fileno())
        stream(lines(0, 2_000))
        os.write(out.fileno(), b'{"n":"ours"}\n')
        stream(lines(2_000, 3))
    got = [orjson.loads(line)["n"] for line in (tmp_path / "out").read_bytes().splitlines()]

    assert got == [*range(2_000), "ours", *range(2_000, 2_003)]
