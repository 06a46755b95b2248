"""Ports for servers that are told theirs.

RULE: below those the kernel gives to outgoing connections, any of which could take a port between our look and its use.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from itertools import count

_PORTS = count(20_000 + os.getpid() % 100 * 100)  # beginning elsewhere in each process that runs tests


def free_port() -> int:
    """A port that nobody listens on, given out once."""
    for port in _PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError
