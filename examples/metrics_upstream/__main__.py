"""`python -m examples.metrics_upstream`: serve until SIGTERM or Ctrl-C.

RULE: the token is in its file before the port is open, so whoever sees the port open can read it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from aiohttp import web
from examples.metrics_upstream.history import History
from examples.metrics_upstream.readings import Metric, host_metrics
from examples.metrics_upstream.server import Api

# What the dev environment promises and production does not have (yet).
_PLACEHOLDERS = ("node_iops_predicted_capacity", "node_network_saturation_score")
_CANNOT_LISTEN = 3


def main() -> int:
    options = _options()
    token = secrets.token_urlsafe(32)
    write_token(options.token_file, token)
    metrics = (*host_metrics(), *_placeholders(options.environment))
    api = Api(History(metrics, _now_s), token=token, environment=options.environment, clock=_now_s)
    return asyncio.run(_serve(api.application(_pauses_s(options.sample_every_s)), options.host, options.port))


def write_token(path: Path, token: str) -> None:
    """Write the token so that it is never readable by others and never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - pathlib opens no descriptors
        file.write(token + "\n")
    aside.replace(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.metrics_upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8410)
    parser.add_argument("--environment", choices=("dev", "staging", "prod"), default="prod")
    parser.add_argument("--token-file", type=Path, default=Path(".toolgate/metrics-token"))
    parser.add_argument("--sample-every-s", type=float, default=1.0)
    return parser.parse_args()


def _placeholders(environment: str) -> tuple[Metric, ...]:
    if environment != "dev":
        return ()
    return tuple(Metric(name, "placeholder", "score", lambda: 0.0) for name in _PLACEHOLDERS)


def _pauses_s(every_s: float) -> Iterator[float]:
    """Quick at first, so that there is something to look at soon after the start."""
    return chain(repeat(min(0.2, every_s), 25), repeat(every_s))


def _now_s() -> float:
    return time.time_ns() / 1e9


async def _serve(app: web.Application, host: str, port: int) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror}; move it with --port", file=sys.stderr)
        return _CANNOT_LISTEN
    else:
        bound = runner.addresses[0][1]
        print(f"metrics upstream listening on http://{host}:{bound}", flush=True)
        await stop.wait()
        return 0
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
