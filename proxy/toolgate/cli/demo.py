"""`toolgate demo`: plays the worked example and prints it call by call.

RULE: what is printed is what came back over HTTP; nothing is prepared.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from toolgate.cli import console
from toolgate.cli.command import COULD_NOT, NO, Command
from toolgate.cli.demo_output import Output
from toolgate.cli.options import listen_options, load_settings

if TYPE_CHECKING:
    from toolgate.demo.example import Example
    from toolgate.settings import Address, Settings

_EXAMPLES: Final = (
    "toolgate demo",
    "toolgate demo --once",
    "toolgate demo --once --json",
    "toolgate demo --listen-agent 127.0.0.1:9400 --upstream-port 9410",
)


@click.command("demo", cls=Command, examples=_EXAMPLES)
@click.option("--once", is_flag=True, help="End after the last call; exit 1 if one did not end as it must.")
@click.option("--upstream-port", type=click.IntRange(1, 65_535), help="The port of the example's own server.")
@listen_options
def command(*, once: bool, upstream_port: int | None, **listen: str | None) -> None:
    """Start the worked example, play an agent's morning through it, leave it running until Ctrl-C.

    The upstream is a small real server that reports this machine's own figures; the sidecar is a real `toolgate serve`
    before it. Everything the demo writes stands in `.toolgate/` beside the example; its journal begins anew each time.
    """
    from toolgate.demo.processes import NotStartedError, sidecar, upstream  # noqa: PLC0415 - only what runs is imported

    shipped = _shipped()
    settings = load_settings(str(shipped.settings), (), environment="prod", **listen).settings
    _refuse_taken_ports(settings, upstream_port or shipped.upstream_port)
    example = _example(shipped, upstream_port)
    listen["ledger"] = listen["ledger"] or _own_ledger(example)
    flags = ["--environment=prod", *(f"--{name.replace('_', '-')}={text}" for name, text in listen.items() if text)]
    passed = True
    try:
        with (
            _interruptible(once=once),
            upstream(example),
            sidecar(example, flags, _tcp("health", settings.listen.health)) as gate,
        ):
            passed = _play(settings, example, str(listen["ledger"]), at_end=once)
            if passed and not once:
                _wait(gate, example)
    except NotStartedError as error:
        _could_not(str(error))
    if not passed:
        raise click.exceptions.Exit(NO)


def _shipped() -> Example:
    from toolgate.demo.example import find  # noqa: PLC0415 - only what runs is imported

    example = find(Path.cwd())
    if example is None:
        _could_not("the worked example is not here; run `toolgate demo` in a checkout of toolgate")
    return example


def _example(shipped: Example, upstream_port: int | None) -> Example:
    """The example, moved where its upstream's port is another one: to a folder no other demo that runs can be using."""
    from toolgate.demo.example import moved  # noqa: PLC0415 - only what runs is imported

    if upstream_port in (None, shipped.upstream_port):
        return shipped
    return moved(shipped, shipped.home / ".toolgate" / f"demo-{upstream_port}", upstream_port)


def _refuse_taken_ports(settings: Settings, upstream_port: int) -> None:
    """Name each taken port with what moves it, before anything is started."""
    from toolgate.demo.processes import taken  # noqa: PLC0415 - only what runs is imported

    listen = settings.listen
    wanted = [
        (f"`--listen-{name}` or `listen.{name}` in toolgate.yaml", _tcp(name, address))
        for name, address in (("agent", listen.agent), ("admin", listen.admin), ("health", listen.health))
    ]
    wanted.append(("`--upstream-port`", ("127.0.0.1", upstream_port)))
    found = [f"{host}:{port} is taken; move it with {mover}" for mover, (host, port) in wanted if taken(host, port)]
    if found:
        _could_not("\n".join(found))


def _own_ledger(example: Example) -> str:
    """A journal that begins with this morning."""
    from toolgate.demo.example import forget  # noqa: PLC0415 - only what runs is imported

    forget(example)
    return f"sqlite://{example.ledger.resolve()}"


def _play(settings: Settings, example: Example, ledger: str, *, at_end: bool) -> bool:
    """Send every call of the morning; stop at the first that does not end as it must. Whether all did."""
    from toolgate.demo.agent import Agent  # noqa: PLC0415 - only what runs is imported
    from toolgate.demo.morning import morning  # noqa: PLC0415

    host, port = _tcp("agent", settings.listen.agent)
    output = Output(gate=f"http://{host}:{port}", upstream=f"http://127.0.0.1:{example.upstream_port}")
    output.begin()
    script = morning(f"{host}:{port}", example.plan)
    with contextlib.closing(Agent(host, port)) as agent, contextlib.suppress(StopIteration):
        ask = next(script)
        while output.call(ask, agent.ask(ask)):
            ask = script.send(output.last)
    health = "http://{}:{}".format(*_tcp("health", settings.listen.health))
    output.end(health=None if at_end else health, home=example.home, ledger=ledger)
    return output.passed


def _wait(gate: subprocess.Popen[bytes], example: Example) -> NoReturn:
    """Until somebody interrupts; a sidecar that ends by itself is told."""
    from toolgate.demo.processes import NotStartedError, tail  # noqa: PLC0415 - only what runs is imported

    status = gate.wait()
    raise NotStartedError(f"the sidecar ended with {status}:\n{tail(example.logs / 'demo-serve.log')}")


@contextlib.contextmanager
def _interruptible(*, once: bool) -> Iterator[None]:
    """Take SIGTERM for Ctrl-C. Either ends a demo that stays as it should end, and cuts short one that does not."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before: Callable[..., object] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if once:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _tcp(name: str, address: Address | None) -> tuple[str, int]:
    from toolgate.settings import Tcp  # noqa: PLC0415 - pydantic; `--help` does without

    if not isinstance(address, Tcp) or address.port == 0:
        _could_not(f"the demo needs `listen.{name}` on a fixed TCP port; give `--listen-{name} 127.0.0.1:PORT`")
    return ("127.0.0.1" if address.host in {"", "0.0.0.0", "::"} else address.host), address.port  # noqa: S104 - compared, not bound


def _could_not(text: str) -> NoReturn:
    console.failure(text)
    raise click.exceptions.Exit(COULD_NOT)
