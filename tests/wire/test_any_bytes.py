"""Totality on the wire: whatever bytes come, each answer is one a parser that is not ours can read, with a known code."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.attacks import PASSED, REFUSED
from tests.wire.door import bounded, heard, opened

from toolgate.core.codes import CODES

SEEDS = [attack.sent for attack in (*REFUSED, *PASSED) if len(attack.sent) < 400] + [
    b"POST /t/x HTTP/1.1\r\n{H}Content-Length: 5\r\nContent-Type: application/json\r\n\r\n[1,2]",
    b"GET /-/tools?format=openai HTTP/1.1\r\n{H}Accept: */*\r\n\r\n",
    b"HEAD /t/x HTTP/1.1\r\n{H}\r\n",
]
# Ends what was begun with something that is no request, so that nothing waits for a deadline but a body.
END = b"\r\n\r\n\x00\r\n\r\n"


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Requests, attacks among them, cut, joined, and with bytes changed."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("insert", "delete", "replace", "cut"))):
            case "insert":
                data[at:at] = draw(st.binary(max_size=6))
            case "delete":
                del data[at : at + draw(st.integers(1, 8))]
            case "replace":
                data[at : at + 1] = draw(st.sampled_from((b"\r", b"\n", b"\0", b" ", b":", b"%", b"/", b"\xff", b"1")))
            case "cut":
                del data[at:]
    return bytes(data)


async def answered(sent: bytes) -> None:
    async with opened(bounded(header_timeout_s=0.1, body_timeout_s=0.1, linger_s=0.1)) as door:
        received = await door.say(sent + END)
        methods = ["HEAD" if not body_expected(part) else "GET" for part in received.split(b"HTTP/1.1 ")[1:]]
        for answer in heard(received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), *methods):
            assert b"Traceback" not in answer.body
            if answer.headers.get("content-type") == "application/problem+json" and answer.body:
                assert CODES[json.loads(answer.body)["code"]].status == answer.status
            else:
                assert answer.status in {200, *(code.status for code in CODES.values())}
        assert door.counts.defects == []


def body_expected(part: bytes) -> bool:
    """Whether an answer brought its body (the answer to a HEAD does not)."""
    _, _, body = part.partition(b"\r\n\r\n")
    return bool(body)


@settings(max_examples=150)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\r\n" * 50)
async def test_any_bytes(sent: bytes) -> None:
    """Random bytes get a typed answer or a closed connection."""
    await answered(sent)


@settings(max_examples=300)
@given(mutated())
async def test_broken_requests(sent: bytes) -> None:
    """So do requests with a few bytes wrong."""
    await answered(sent)
