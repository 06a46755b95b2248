"""`toolgate demo` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.e2e.world import ROOT
from tests.support.ports import free_port

_HEAD = [sys.executable, "-m", "toolgate.cli", "demo"]


def _ports() -> list[str]:
    listen = [f"--listen-{name}=127.0.0.1:{free_port()}" for name in ("agent", "admin", "health")]
    return [*listen, f"--upstream-port={free_port()}"]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOOLGATE_")}
    return {**kept, "PYTHONPATH": str(ROOT / "proxy"), "NO_COLOR": "1"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the demo needs of a checkout, in a folder of its own: what it writes is nobody else's."""
    home = tmp_path / "checkout"
    for name in ("examples", "toolspecs", "policies"):
        shutil.copytree(ROOT / name, home / name)
    shutil.copy(ROOT / "toolgate.yaml", home)
    return home


def _begin(home: Path, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*_HEAD, *arguments], cwd=home, env=_environment(), stdout=pipe, stderr=pipe, text=True)


def _demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _ended(_begin(home, *arguments))


def _ended(demo: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with demo:
        try:
            out, errors = demo.communicate(timeout=60)
        finally:
            demo.kill()
    return subprocess.CompletedProcess(demo.args, demo.returncode, out, errors)


def _until(last: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines to the last one expected, or all there are when the process ends before it."""
    for line in lines:
        yield line
        if line == last:
            return


def test_once_plays_the_morning_and_ends_with_0(checkout: Path) -> None:
    """Every call of the morning ends as it must; one JSON line for each, and the sum."""
    done = _demo(checkout, "--once", "--json", *_ports())
    assert done.returncode == 0, done.stdout + done.stderr
    *calls, total = [json.loads(line) for line in done.stdout.splitlines()]
    assert [call["problem"] for call in calls] == [None] * len(calls)
    assert total["passed"] is True
    codes = [call["answer"]["body"]["code"] for call in calls if call["answer"]["status"] >= 400]
    assert codes == [
        "policy.denied",
        "tool.disallowed",
        "environment.resource_not_found",
        "arguments.invalid",
        "tool.unknown",
        "request.framing",
        "policy.denied",
        "environment.resource_omitted",
        "plan.required",
        "plan.rejected",
        "plan.out_of_order",
        "plan.arguments_changed",
        "plan.replan_limit",
        "budget.exhausted",
    ]


def test_every_morning_is_a_new_one(checkout: Path) -> None:
    """What an earlier play has done counts for nothing in the next: data must be read again before it is published."""
    ports = _ports()
    done = [_demo(checkout, "--once", *ports) for _ in range(2)]
    assert [each.returncode for each in done] == [0, 0], [each.stdout + each.stderr for each in done]


def test_two_at_once_are_in_nobodys_way(checkout: Path) -> None:
    """Demos on other ports write into other folders: neither takes the other's toolspecs, or the lock of its journal."""
    both = [_begin(checkout, "--once", *_ports()) for _ in range(2)]
    done = [_ended(demo) for demo in both]
    assert [each.returncode for each in done] == [0, 0], [each.stdout + each.stderr for each in done]


def test_a_person_reads_what_was_asked_what_came_back_and_the_hint(checkout: Path) -> None:
    """The text names each call, the error by its title, and the way forward."""
    done = _demo(checkout, "--once", *_ports())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "POST /metrics/metrics/v2/cluster" in done.stdout
    assert "403 DisallowedToolError (tool.disallowed)" in done.stdout
    assert "Call `metrics.queryCluster` at POST /metrics/metrics/v1/cluster instead." in done.stdout
    assert "Switch to baseline metrics." in done.stdout
    assert "422 MetricOmitted (environment.resource_omitted)" in done.stdout
    assert "is blocked: Critical metric; removal prohibited" in done.stdout
    assert "by      `critical-metrics-stay`" in done.stdout
    assert "Summary cannot be generated before data availability" in done.stdout
    assert "409 OutOfOrderStep (plan.out_of_order)" in done.stdout
    assert "403 PlanRegenerationLimitError (plan.replan_limit)" in done.stdout
    assert "exceeded max retries (2)" in done.stdout
    assert "403 BudgetExceeded (budget.exhausted)" in done.stdout
    assert "all as expected" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_taken_port_is_named_with_what_moves_it(checkout: Path) -> None:
    """Nothing is started and nothing written; the address, the flag and the setting stand in the sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _demo(checkout, "--once", *_ports(), f"--listen-agent={address}")
    assert done.returncode == 3
    assert not (checkout / ".toolgate").exists()
    assert f"{address} is taken; move it with `--listen-agent` or `listen.agent` in toolgate.yaml\n" in done.stderr


def test_it_stays_until_ctrl_c_and_ends_with_0(checkout: Path) -> None:
    """After the morning it invites to more; Ctrl-C ends sidecar and upstream, cleanly."""
    ports = _ports()
    health = ports[2].removeprefix("--listen-health=")
    with _begin(checkout, *ports) as demo:
        assert demo.stdout
        said = list(_until(f"  curl -s http://{health}/metrics\n", demo.stdout))
        assert any("It stays until Ctrl-C" in line for line in said)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=20) == 0, demo.stderr.read() if demo.stderr else ""
    for port in (int(flag.rpartition(":")[2]) for flag in ports[:3]):
        with socket.create_server(("127.0.0.1", port)) as free_again:
            assert free_again


def test_elsewhere_it_says_where_the_example_is(tmp_path: Path) -> None:
    """Outside a checkout the example of the installed checkout is used; its files stay where they are."""
    command = [*_HEAD, "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, env=_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert list(tmp_path.iterdir()) == []
